"""What the studies of UniGRPO share: runs that are trained once, spreads, files of results."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.errors import InputError
from jaxreason.evaluation.environment import environment
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.cache import enable_compilation_cache
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.files import flatten
from jaxreason.training.loop import TrainResult
from jaxreason.training.metrics import read_metrics
from jaxreason.training.runs import load_experiment, read_config

HERE = Path(__file__).parent
MISSING = object()
TASKS = {"draw_solution": "unigrpo_image.py", "plan": "unigrpo_text.py"}
"""Task to the experiment that is varied."""

TASK_NAMES = {"draw_solution": "solutions drawn", "plan": "plans in words"}


@dataclass(frozen=True)
class Study:
    """Where runs lie and how many there are.

    Attributes:
        root: folder of the runs.
        results: folder of JSON, table and figure.
        tasks: of `TASKS`.
        seeds: one run each.
        steps: rollouts per run; 0 for the experiment's own.
        held_out: mazes judged; 0 for the experiment's own.
    """

    root: Path = Path("runs/mmada/unigrpo")
    results: Path = HERE / "results"
    tasks: tuple[str, ...] = tuple(TASKS)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 0
    held_out: int = 0

    @property
    def base(self) -> Path:
        """The run all others start from."""
        return self.root.parent / "unigrpo_base"

    def prepare(self) -> None:
        """Train the base if it is missing."""
        self.ensure(self.base, load_experiment(HERE / "unigrpo_base.py"))

    def reinforcement(
        self, task: str, seed: int, **changes: Any
    ) -> DiffusionReinforcementExperiment:
        """The experiment of a task with another seed, and other `overrides`."""
        template = load_experiment(HERE / TASKS[task])
        steps = self.steps or template.train.steps
        train = replace(template.train, seed=seed, steps=steps, evaluate_every=steps)
        overrides = {**template.overrides, **changes.pop("overrides", {})}
        return replace(
            template,
            base=str(self.base),
            train=train,
            held_out=self.held_out or template.held_out,
            overrides=overrides,
            **changes,
        )

    def ensure(self, path: Path, experiment: Any) -> Path:
        """The run of an experiment, trained now if it is not finished.

        Raises:
            InputError: a finished run there is of another experiment.
        """
        if (path / "summary.json").is_file():
            check_same(path, experiment)
        else:
            print(f"{path}: training", flush=True)
            result: TrainResult = experiment.run(path)
            del result
        return path


def check_same(run: Path, experiment: Any) -> None:
    """That a finished run is of this experiment: every field, and the algorithm if it was stored.

    Raises:
        InputError: names the fields that differ.
    """
    wanted = json.loads(json.dumps(experiment.as_json()))
    stored = read_config(run)
    if "algorithm" in stored:
        wanted["algorithm"] = json.loads(json.dumps(asdict(experiment.algorithm())))
    before = flatten({name: value for name, value in stored.items() if name != "origin"})
    after = flatten(wanted)
    differing = [
        f"{name} ({before.get(name, 'absent')!r} there, {after.get(name, 'absent')!r} wanted)"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, MISSING) != after.get(name, MISSING)
    ]
    if differing:
        raise InputError(
            f"run {run} is finished, but of another experiment: {', '.join(differing)}; give "
            "another --root, or move the run away"
        )


def evaluations(run: Path) -> list[Mapping[str, float]]:
    """What was measured on held-out mazes, before the first step and after the last."""
    return [row["evaluation"] for row in read_metrics(run / "metrics.jsonl") if "evaluation" in row]


def training_curve(run: Path, name: str) -> tuple[list[int], list[float]]:
    """Steps, and a metric of the rollouts averaged since the step before."""
    rows = [row for row in read_metrics(run / "metrics.jsonl") if name in row]
    return [row["step"] for row in rows], [row[name] for row in rows]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean over runs and its standard error, which is None for a single run."""
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
    return {
        "mean": float(np.mean(values)),
        "standard_error": None if error is None else float(error),
        "values": [float(value) for value in values],
    }


def cell(found: Mapping[str, Any], digits: int = 1) -> str:
    """Mean and standard error in per cent."""
    text = f"{100 * found['mean']:.{digits}f}"
    if found["standard_error"] is None:
        return text
    return f"{text} ± {100 * found['standard_error']:.{digits}f}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def publish(study: Study, name: str, document: dict[str, Any], text: str, picture: bytes) -> None:
    """Print the table, and write it, the figure and the numbers."""
    study.results.mkdir(parents=True, exist_ok=True)
    print(text)
    (study.results / f"{name}.md").write_text(text)
    (study.results / f"{name}.png").write_bytes(picture)
    whole = {**document, "environment": environment()}
    (study.results / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")


def from_command_line(description: str | None) -> Study:
    """The study the options ask for."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=Study.root)
    parser.add_argument("--results", type=Path, default=Study.results)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(Study.tasks))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(Study.seeds))
    parser.add_argument("--steps", type=int, default=0, help="rollouts per run")
    parser.add_argument("--held-out", type=int, default=0, help="mazes judged")
    given = parser.parse_args()
    enable_compilation_cache()
    keep_freed_memory()
    return Study(
        given.root,
        given.results,
        tuple(given.tasks),
        tuple(given.seeds),
        given.steps,
        given.held_out,
    )
