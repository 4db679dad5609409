"""Cost of update masks: time against plain AdamW, and bytes of compact optimizer state.

Command: `python experiments/benchmarks/masks.py --output masks.json`
Three tables. The time of a whole training step of a small transformer and of the optimizer's
update alone, plain and masked: contestants take turns within a round, so that what else the
machine does hits all alike, and the median of the ratios within the rounds is reported, for the
clock and for the processor's time. The bytes of the optimizer state as it is allocated, by number
of parameters and density; the bound beside it is 12 bytes (two moments and an index) times the
density for each parameter. Runs on a GPU as it is.
Hardware: any; wall time on two cores: about five minutes when nothing runs beside.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

from jaxreason.masks import (
    compact,
    freeze_outside,
    mask_gradients,
    pack,
    random_mask,
    to_indices,
    track_updates,
)
from jaxreason.models import Transformer, TransformerConfig, count_parameters, preset
from jaxreason.objectives import next_token
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.state import TrainState
from jaxreason.training.step import make_step

Run = Callable[[], Any]
"""One step; waits for it."""

PLAIN = "AdamW"


@dataclass(frozen=True)
class Benchmark:
    """What to measure.

    Attributes:
        model: preset whose training step is timed.
        vocabulary: number of words.
        batch: rows.
        length: tokens per row.
        density: share of active entries in the timed masks.
        sizes: numbers of parameters, roughly, for the update alone and the bytes.
        time_up_to: the update is timed at sizes up to this one.
        densities: shares of active entries for the bytes.
        rounds: times each contestant is measured.
        steps: training steps per measurement; updates alone are repeated five times as often.
        contestants: names to time besides plain AdamW; all if empty.
        output: JSON file to write.
    """

    model: str = "maze_tiny"
    vocabulary: int = 200
    batch: int = 16
    length: int = 192
    density: float = 0.05
    sizes: tuple[int, ...] = (1_000_000, 10_000_000, 100_000_000)
    time_up_to: int = 10_000_000
    densities: tuple[float, ...] = (0.01, 0.05, 0.2)
    rounds: int = 9
    steps: int = 2
    contestants: tuple[str, ...] = ()
    output: Path | None = None


def optimizers(mask: Any) -> dict[str, optax.GradientTransformation]:
    """Plain AdamW and its masked forms."""
    packed, indices = jax.tree.map(pack, mask), jax.tree.map(to_indices, mask)

    def adamw() -> optax.GradientTransformation:
        return optax.adamw(1e-4, b2=0.95, weight_decay=0.01)

    return {
        PLAIN: adamw(),
        f"{PLAIN} again": adamw(),
        "freeze_outside, bool": freeze_outside(adamw(), mask),
        "freeze_outside, packed": freeze_outside(adamw(), packed),
        "mask_gradients, bool": optax.chain(mask_gradients(mask), adamw()),
        "mask_gradients, packed": optax.chain(mask_gradients(packed), adamw()),
        "compact": compact(adamw(), indices),
        "track_updates": optax.chain(adamw(), track_updates()),
    }


def chosen(settings: Benchmark, mask: Any) -> dict[str, optax.GradientTransformation]:
    """The contestants asked for, plain AdamW first."""
    every = optimizers(mask)
    names = settings.contestants or tuple(every)
    return {name: every[name] for name in every if name == PLAIN or name in names}


def training_steps(settings: Benchmark) -> dict[str, Run]:
    """A training step of the model under each optimizer, on one fixed batch."""
    config = preset(settings.model, settings.vocabulary)
    model = Transformer(config)
    params = jax.jit(model.init)(jax.random.key(0))
    mask = random_mask(jax.random.key(1), params, settings.density)
    shape = (settings.batch, settings.length)
    tokens = np.random.default_rng(0).integers(0, settings.vocabulary, shape)
    batch = {
        "tokens": jnp.asarray(tokens, jnp.int32),
        "targets_mask": jnp.ones(shape, bool),
        "segments": jnp.ones(shape, jnp.int32),
        "positions": jnp.broadcast_to(jnp.arange(shape[1], dtype=jnp.int32), shape),
    }

    def runner(optimizer: optax.GradientTransformation) -> Run:
        step = make_step(next_token(model), optimizer)
        counters = [jnp.zeros((), jnp.int32) for _ in range(3)]
        mine = jax.tree.map(jnp.array, params)
        moments = optimizer.init(mine)
        state = [TrainState(counters[0], mine, moments, jax.random.key(2), *counters[1:])]

        def run() -> Any:
            state[0], metrics = step(state[0], batch)
            return jax.block_until_ready(metrics)

        return run

    return {name: runner(optimizer) for name, optimizer in chosen(settings, mask).items()}


def parameters(size: int) -> Any:
    """Parameters shaped like a transformer's, about `size` of them."""
    width = max(round((size / 96) ** 0.5 / 16), 1) * 16
    heads = width // 16
    shape = TransformerConfig(
        vocabulary_size=64,
        layers=8,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_size=16,
        mlp_width=round(width * 8 / 3),
    )
    return jax.jit(Transformer(shape).init)(jax.random.key(0))


def updates_alone(settings: Benchmark, params: Any) -> dict[str, Run]:
    """The update of each optimizer, gradients at hand."""
    mask = random_mask(jax.random.key(1), params, settings.density)
    gradients = jax.tree.map(lambda leaf: leaf * 1e-3, params)

    def runner(optimizer: optax.GradientTransformation) -> Run:
        def update(params: Any, moments: Any, gradients: Any) -> Any:
            updates, moments = optimizer.update(gradients, moments, params)
            return optax.apply_updates(params, updates), moments

        mine = jax.tree.map(jnp.array, params)
        moments = optimizer.init(mine)
        compiled = jax.jit(update, donate_argnums=(0, 1)).lower(mine, moments, gradients).compile()
        state = [(mine, moments)]

        def run() -> Any:
            state[0] = jax.block_until_ready(compiled(*state[0], gradients))

        return run

    return {name: runner(optimizer) for name, optimizer in chosen(settings, mask).items()}


def take_turns(runs: dict[str, Run], rounds: int, repeats: int) -> list[dict[str, Any]]:
    """Time every contestant in every round; ratios are to plain AdamW in the same round."""
    for run in runs.values():
        run()
    clock: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        # Another order in every round: nobody always follows the same neighbour.
        for name in np.random.default_rng(number).permutation(names):
            start, processor_start = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                runs[name]()
            clock[name].append((time.perf_counter() - start) / repeats)
            processor[name].append((time.process_time() - processor_start) / repeats)
    rows = []
    for name in names:
        row: dict[str, Any] = {"name": name, "seconds": statistics.median(clock[name])}
        row["processor_seconds"] = statistics.median(processor[name])
        for kind, times in (("", clock), ("processor_", processor)):
            ratios = [own / plain for own, plain in zip(times[name], times[PLAIN], strict=True)]
            row[f"{kind}ratio"] = statistics.median(ratios)
            row[f"{kind}ratio_quartiles"] = np.quantile(ratios, [0.25, 0.75]).tolist()
        rows.append(row)
    return rows


def state_bytes(settings: Benchmark, params: Any) -> list[dict[str, Any]]:
    """Bytes of the optimizer state: dense, and compact at each density."""

    def measure(optimizer: optax.GradientTransformation) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(optimizer.init(params)))

    size = count_parameters(params)
    dense = measure(optax.adamw(1e-4))
    first = {"parameters": size, "density": 1.0, "what": PLAIN, "bytes": dense}
    rows: list[dict[str, Any]] = [first]
    for density in settings.densities:
        mask = random_mask(jax.random.key(1), params, density, exact=True)
        found = measure(compact(optax.adamw(1e-4), jax.tree.map(to_indices, mask)))
        rows.append({"parameters": size, "density": density, "what": "compact", "bytes": found})
        rows[-1]["bytes_over_bound"] = found / (12 * density * size)
    for row in rows:
        row["bytes_per_parameter"] = row["bytes"] / size
    return rows


def show_times(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """One table of ratios."""
    table = Table("", "ms", "ratio", "quartiles", "processor ratio", title=title)
    for row in rows:
        low, high = row["ratio_quartiles"]
        cells = (f"{1e3 * row['seconds']:.2f}", f"{row['ratio']:.3f}", f"{low:.3f}-{high:.3f}")
        table.add_row(row["name"], *cells, f"{row['processor_ratio']:.3f}")
    console.print(table)


def main(settings: Benchmark) -> None:
    """Measure, print the tables, write the JSON file."""
    console = Console()
    keep_freed_memory()
    report: dict[str, Any] = {
        "settings": {**asdict(settings), "output": None},
        "machine": {"cpus": os.cpu_count(), "device": jax.devices()[0].device_kind},
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "note": "other work ran beside; contestants took turns, so take the ratios",
        "load_average": os.getloadavg(),
    }
    steps = take_turns(training_steps(settings), settings.rounds, settings.steps)
    show_times(console, f"training step, {settings.model}", steps)
    report["training_step"] = steps
    report["update_alone"], report["state_bytes"] = [], []
    table = Table("parameters", "density", "optimizer", "bytes per parameter", "over 12 x density")
    for size in settings.sizes:
        params = parameters(size)
        count = count_parameters(params)
        if size <= settings.time_up_to:
            rows = take_turns(updates_alone(settings, params), settings.rounds, 5 * settings.steps)
            show_times(console, f"update alone, {count:,} parameters", rows)
            report["update_alone"].append({"parameters": count, "rows": rows})
        for row in state_bytes(settings, params):
            bound = f"{row['bytes_over_bound']:.4f}" if "bytes_over_bound" in row else ""
            shown = (f"{count:,}", f"{row['density']:.0%}", row["what"])
            table.add_row(*shown, f"{row['bytes_per_parameter']:.4f}", bound)
            report["state_bytes"].append(row)
    console.print(table)
    if settings.output:
        settings.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
