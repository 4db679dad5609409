"""Share of a run's time that training waits for data, from the run's own clock.

    python experiments/benchmarks/one.py data_wait [--quick]

The maze experiments of this repository as they are, for some steps after those that compile:
examples made on the fly, examples prepared beforehand, and the mixed tasks of masked diffusion. The
share is `data` over `data` + `step` of the rows of metrics.jsonl. On an accelerator steps are
shorter, and `data_pipeline` says how many tokens a second one thread can deliver.
Hardware: any; about a minute on two cores.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite import FOLDER, Peer, Row

from jaxreason.data import prepare
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.metrics import read_metrics
from jaxreason.training.runs import load_experiment

EXPERIMENTS = FOLDER.parent
WARM, LIMIT = 2, 2.0


def short(experiment: Any, steps: int) -> Any:
    """The experiment for `WARM` rows and one of the rest, nothing evaluated or saved between."""
    train = replace(
        experiment.train, steps=WARM + steps, log_every=1, evaluate_every=0, save_every=0
    )
    return replace(experiment, train=train)


def waiting(experiment: Any, steps: int) -> tuple[float, float]:
    """Share of the time spent waiting for data, and seconds per step, after the warm rows."""
    with tempfile.TemporaryDirectory() as folder:
        short(experiment, steps).run(Path(folder) / "run", progress=False)
        rows = [row["time"] for row in read_metrics(Path(folder) / "run/metrics.jsonl")]
    spent = {part: rows[-1][part] - rows[WARM - 1][part] for part in ("data", "step")}
    total = sum(spent.values())
    return spent["data"] / total, total / steps


def prepared(experiment: Any, folder: str) -> Any:
    """The experiment with its training examples read from files."""
    data = replace(experiment.data, count=2_000)
    prepare(data, folder, validation=0, test=0)
    return replace(experiment, data=data, prepared=folder)


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    del peer  # the goal is a share
    keep_freed_memory()
    steps = 15 if quick else 200
    tiny = load_experiment(EXPERIMENTS / "maze" / "tiny.py")
    stage1 = load_experiment(EXPERIMENTS / "mmada" / "stage1.py")
    with tempfile.TemporaryDirectory() as folder:
        cases: dict[str, Callable[[], Any]] = {
            "maze/tiny.py, mazes made on the fly": lambda: tiny,
            "maze/tiny.py, mazes prepared": lambda: prepared(tiny, f"{folder}/mazes"),
            "mmada/stage1.py, six tasks mixed": lambda: stage1,
        }
        rows = []
        for case, make in cases.items():
            share, seconds = waiting(make(), steps)
            note = f"{1e3 * seconds:.0f} ms per step"
            label = f"waiting for data, {case}"
            rows.append(
                Row("data_wait", label, 100 * share, "% of step time", at_most=LIMIT, note=note)
            )
    return rows
