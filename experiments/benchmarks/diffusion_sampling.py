"""Decoding speed of masked diffusion: thresholds and caches against the reference algorithm.

    python experiments/benchmarks/diffusion_sampling.py [--run RUN] [--output FOLDER]

`vanilla` is LLaDA's algorithm as published: one token per step, the whole sequence through the
model at every step, no stop at the end token (its own logits are for the current block only, which
the reference does not even spare). Everything else also stops at the end token; `early stop` shows
what that alone gives.

With `--run`, the directory of a masked-diffusion run on a maze world, every way of decoding answers
the same held-out mazes; the exact judge counts the right ones, and a two-sided exact sign test over
the mazes on which it and vanilla differ says whether they differ significantly. Without it, only
cost is measured, on random weights: no confidence means anything there, so a threshold is stood in
for by four tokens per step.

Rounds alternate between the contestants, so that what else the machine does hits all alike; medians
over rounds of the time, and of its ratio to vanilla within a round, are reported. Tokens per second
count tokens up to and with the end token. Writes NAME.json and NAME.png.
Hardware: any. Wall time on two cores: most of it is vanilla; about ten minutes as it stands.
"""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from diffusion_contests import Benchmark, Contest, cost_contests, run_contest
from rich.console import Console
from rich.table import Table

from jaxreason.evaluation.style import LIGHT, png, styled
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.types import Completions

Row = dict[str, Any]


def compete(contest: Contest, batch: int, rounds: int, judged: bool, console: Console) -> list[Row]:
    """Measure all contestants of one table at one batch size; judge their answers if asked."""
    samplers = {}
    for name, changes in contest.methods.items():
        config = TextDiffusionConfig(length=contest.length, block=contest.block, **changes)
        samplers[name] = diffusion_text(contest.model, config, **contest.ids)  # type: ignore[arg-type]
    prompts = jax.tree.map(jnp.asarray, contest.prompts)
    count = len(contest.prompts["lengths"])
    key = jax.random.key(0)

    def decode(name: str, first: int) -> Completions:
        at = np.arange(first, first + batch) % count  # the last batch is filled up
        return samplers[name](contest.params, {k: v[at] for k, v in prompts.items()}, key)

    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    timed: dict[str, Completions] = {}
    for name in samplers:
        start = time.perf_counter()
        timed[name] = jax.device_get(decode(name, 0))
        console.print(f"  {name}: compiled and run once in {time.perf_counter() - start:.1f} s")
    for _ in range(rounds):
        for name in samplers:
            start = time.perf_counter()
            jax.block_until_ready(decode(name, 0))
            seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, times in seconds.items():
        pairs = zip(seconds["vanilla"], times, strict=True)
        rows.append(
            {
                "contest": contest.name,
                "length": contest.length,
                "block": contest.block,
                "batch": batch,
                "method": name,
                "seconds": times,
                "tokens_per_second": float(timed[name].lengths.sum()) / statistics.median(times),
                "ratio_to_vanilla": statistics.median(slow / fast for slow, fast in pairs),
                "steps_per_row": float(np.mean(np.asarray(timed[name].steps))),
            }
        )
    if contest.judge is not None and judged:
        add_verdicts(contest, decode, rows, batch, count)
    return rows


def add_verdicts(
    contest: Contest, decode: Callable, rows: list[Row], batch: int, count: int
) -> None:
    """How many answers are right, and whether that differs from vanilla."""
    assert contest.judge is not None
    right, answers = {}, {}
    for row in rows:
        name = row["method"]
        parts = [jax.device_get(decode(name, first)) for first in range(0, count, batch)]
        whole = jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)
        right[name], answers[name] = contest.judge(whole), whole.tokens
        better = int(np.sum(right[name] & ~right["vanilla"]))
        worse = int(np.sum(~right[name] & right["vanilla"]))
        same = np.all(answers[name] == answers["vanilla"], axis=1)
        row |= {
            "mazes": count,
            "right": int(right[name].sum()),
            "same_answer_as_vanilla": float(same.mean()),
            "right_only_here": better,
            "right_only_vanilla": worse,
            "sign_test_p": sign_test(better, worse),
        }


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p of so uneven a split of a fair coin's throws."""
    throws, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(throws, k) for k in range(fewer + 1)) / 2**throws
    return min(1.0, 2 * tail)


def show(rows: list[Row], console: Console) -> None:
    """One table of one contest and batch size."""
    first = rows[0]
    judged = "right" in first
    title = f"{first['contest']}: length {first['length']}, batch {first['batch']}"
    head = ["", "tokens/s", "against vanilla", "steps per row"]
    table = Table(*head, *(["right", "same answer", "p"] if judged else []), title=title)
    for row in rows:
        cells = [row["method"], f"{row['tokens_per_second']:,.0f}"]
        cells += [f"{row['ratio_to_vanilla']:.1f}", f"{row['steps_per_row']:.1f}"]
        if judged:
            cells += [f"{row['right']}/{row['mazes']}", f"{row['same_answer_as_vanilla']:.0%}"]
            cells += [f"{row['sign_test_p']:.2f}"]
        table.add_row(*cells)
    console.print(table)


def draw(rows: list[Row]) -> bytes:
    """Ratios to vanilla, one panel per contest, one colour per batch size."""
    contests = list(dict.fromkeys(row["contest"] for row in rows))
    batches = sorted({row["batch"] for row in rows})
    colours = [*list(LIGHT.regimes.values())[1:], LIGHT.other]
    with styled(LIGHT) as figure_class:
        figure = figure_class(figsize=(8, 2.3 * len(contests)), layout="constrained")
        for axes, contest in zip(
            np.ravel(figure.subplots(len(contests), squeeze=False)), contests, strict=True
        ):
            own = [row for row in rows if row["contest"] == contest]
            methods = list(dict.fromkeys(row["method"] for row in own))
            height = 0.8 / len(batches)
            for place, batch in enumerate(batches):
                values = [row["ratio_to_vanilla"] for row in own if row["batch"] == batch]
                at = np.arange(len(methods)) + (place - (len(batches) - 1) / 2) * height
                bars = axes.barh(
                    at, values, height, color=colours[place % len(colours)], label=f"batch {batch}"
                )
                axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=7.5)
            axes.set_yticks(range(len(methods)), methods)
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
            axes.set_title(contest)
        axes.set_xlabel("times as fast as vanilla")
        figure.axes[0].legend(loc="lower right")
        return png(figure)


def main(settings: Benchmark) -> None:
    """Measure, print the tables, write the JSON file and the figure."""
    console = Console()
    contests = [run_contest(settings)] if settings.run else []
    rows: list[Row] = []
    for contest in [*contests, *cost_contests(settings)]:
        for batch in settings.batches:
            console.print(f"{contest.name}, length {contest.length}, batch {batch}")
            judged = batch == max(settings.batches)  # a row does not depend on the others
            found = compete(contest, batch, settings.rounds, judged, console)
            rows += found
            show(found, console)
    settings.output.mkdir(parents=True, exist_ok=True)
    report = {
        "settings": {**asdict(settings), "run": Path(settings.run).name, "output": None},
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.processor(),
            "device": jax.devices()[0].device_kind,
        },
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    (settings.output / f"{settings.name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (settings.output / f"{settings.name}.png").write_bytes(draw(rows))


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
