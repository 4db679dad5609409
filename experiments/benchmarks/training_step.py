"""Training tokens per second against transformers' Qwen2 in torch, on the same shapes in one run.

Command: `python experiments/benchmarks/training_step.py --output training_step.json`
Needs torch and transformers (extra `oracle`) for the comparison; without them only our own rows
are measured. Both sides start from the same weights, see the same tokens, compute the same loss
in float32 and update with AdamW; the losses of the first step are printed side by side. Rounds
alternate between the contestants, so that what else the machine does hits all alike; medians of
the rounds, and of the ratios within a round, are reported. On a busy machine threads that wait for
each other lose far more than their share, and the ratio says little: compare the processor time.
Hardware: any CPU; wall time on two cores: a few minutes, most of it compilation.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from peer_models import qwen2_settings
from rich.console import Console
from rich.table import Table

from jaxreason.models import Transformer, TransformerConfig, count_parameters, preset
from jaxreason.models.llama import to_llama
from jaxreason.objectives import next_token
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.types import Params

Step = Callable[[], float]
"""One update on the fixed batch; waits for it and returns the loss before it."""

OURS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: (changes of the model configuration, options of the XLA compiler)
    "jaxreason": ({"unroll": 4}, {}),
    "jaxreason, layers scanned": ({"unroll": 1}, {}),
    "jaxreason, one thread per matmul": (
        {"unroll": 4},
        {"xla_cpu_multi_thread_eigen": False},
    ),
    "jaxreason, matrix products by Eigen": (
        {"unroll": 4},
        {"xla_cpu_experimental_ynn_fusion_type": ""},
    ),
    "jaxreason, fast math": ({"unroll": 4}, {"xla_cpu_enable_fast_math": True}),
    "jaxreason, bfloat16": ({"unroll": 4, "dtype": "bfloat16"}, {}),
}


@dataclass(frozen=True)
class Benchmark:
    """What to measure.

    Attributes:
        model: preset name.
        vocabulary: number of words.
        batch: rows.
        length: tokens per row.
        rounds: times each contestant is measured.
        steps: updates per measurement.
        threads: threads torch uses; XLA uses all cores.
        compiled: also measure torch.compile (needs a C++ compiler).
        ours: rows of `OURS` to measure; all if empty.
        output: JSON file to write.
    """

    model: str = "maze_tiny"
    vocabulary: int = 200
    batch: int = 16
    length: int = 192
    rounds: int = 7
    steps: int = 3
    threads: int = 2
    compiled: bool = True
    ours: tuple[str, ...] = ()
    output: Path | None = None


def jax_step(
    config: TransformerConfig, params: Params, tokens: np.ndarray, options: dict[str, Any]
) -> Step:
    """Our update, compiled with the given XLA options."""
    objective, optimizer = (
        next_token(Transformer(config)),
        optax.adamw(1e-4, b2=0.95, weight_decay=0.01),
    )
    shape = tokens.shape
    batch = {
        "tokens": jnp.asarray(tokens, jnp.int32),
        "targets_mask": jnp.ones(shape, bool),
        "segments": jnp.ones(shape, jnp.int32),
        "positions": jnp.broadcast_to(jnp.arange(shape[1]), shape),
    }

    def update(params: Any, moments: Any, batch: Any) -> tuple[Any, Any, jax.Array]:
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, _), gradients = gradient(params, batch, jax.random.key(0))
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    params = jax.tree.map(jnp.array, params)
    moments = optimizer.init(params)
    lowered = jax.jit(update, donate_argnums=(0, 1)).lower(params, moments, batch)
    compiled = lowered.compile(compiler_options=options)
    state = [params, moments]

    def step() -> float:
        state[0], state[1], loss = compiled(state[0], state[1], batch)
        return float(loss)

    return step


def torch_step(config: TransformerConfig, params: Params, tokens: np.ndarray, how: str) -> Step:
    """The same update in torch: `how` is "eager" or "compiled"."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = Qwen2ForCausalLM(Qwen2Config(**qwen2_settings(config), use_cache=False))
    weights = to_llama(jax.tree.map(np.asarray, params), config)
    state = {name: torch.tensor(np.ascontiguousarray(array)) for name, array in weights.items()}
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    if not config.qkv_bias:
        # Qwen2 always adds these; zeros leave the function ours, for a cost of a few thousandths.
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    batch = torch.tensor(tokens)
    forward = torch.compile(model) if how == "compiled" else model

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def contestants(settings: Benchmark, console: Console) -> dict[str, Step]:
    """Every row of the table, ready to step; torch only where it is installed."""
    base = preset(settings.model, settings.vocabulary, norm_epsilon=1e-6)
    params = jax.jit(Transformer(base).init)(jax.random.key(0))
    console.print(f"{settings.model}: {count_parameters(params):,} parameters")
    shape = (settings.batch, settings.length)
    tokens = np.random.default_rng(0).integers(0, settings.vocabulary, shape)
    steps: dict[str, Step] = {}
    for name in settings.ours or OURS:
        changes, options = OURS[name]
        changes = {**changes, "unroll": min(changes.get("unroll", 1), base.layers)}
        steps[name] = jax_step(replace(base, **changes), params, tokens, options)
    try:
        import torch
        import transformers
    except ImportError as error:
        console.print(f"no comparison: {error}; install the extra `oracle`")
        return steps
    torch.set_num_threads(settings.threads)
    transformers.logging.set_verbosity_error()
    for how in ("eager", "compiled") if settings.compiled else ("eager",):
        steps[f"torch {how}"] = torch_step(base, params, tokens, how)
    return steps


def main(settings: Benchmark) -> None:
    """Measure, print the table, write the JSON file."""
    console = Console()
    keep_freed_memory()  # for all contestants: torch's blocks come from the same malloc
    steps = contestants(settings, console)
    losses = {}
    for name, step in steps.items():
        start = time.perf_counter()
        losses[name] = step()
        console.print(f"{name}: first step {time.perf_counter() - start:.1f} s")
    per_step = settings.batch * settings.length
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(settings.rounds):
        for name, step in steps.items():
            start, processor_start = time.perf_counter(), time.process_time()
            for _ in range(settings.steps):
                step()
            spent = time.process_time() - processor_start
            processor[name].append(spent / settings.steps)
            speeds[name].append(settings.steps * per_step / (time.perf_counter() - start))
    rivals = [name for name in steps if name.startswith("torch")]
    best = max(rivals, key=lambda name: statistics.median(speeds[name])) if rivals else None
    rows = []
    table = Table("", "loss", "CPU s/step", "tokens/s", f"against {best}" if best else "")
    for name, values in speeds.items():
        speed = statistics.median(values)
        against = zip(values, speeds[best], strict=True) if best else ()
        ratio = statistics.median([ours / theirs for ours, theirs in against]) if best else None
        rows.append({"name": name, "first_loss": losses[name], "tokens_per_second": speed})
        rows[-1] |= {"ratio_to_best_torch": ratio, "rounds": values}
        rows[-1] |= {"processor_seconds_per_step": (seconds := min(processor[name]))}
        shown = f"{ratio:.2f}" if ratio is not None else ""
        table.add_row(name, f"{losses[name]:.5f}", f"{seconds:.3f}", f"{speed:,.0f}", shown)
    console.print(table)
    if settings.output:
        report: dict[str, Any] = {
            "settings": {**asdict(settings), "output": None},
            "machine": {"cpus": os.cpu_count(), "processor": platform.processor()},
            "versions": {"jax": jax.__version__, "python": platform.python_version()},
            "rows": rows,
        }
        if rivals:
            import torch
            import transformers

            report["versions"] |= {
                "torch": str(torch.__version__),
                "transformers": transformers.__version__,
            }
        settings.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
