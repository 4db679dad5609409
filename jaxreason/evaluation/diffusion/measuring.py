"""What a finished run can do, measured once and kept beside it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError
from jaxreason.evaluation.diffusion.stage_table import StageResult, measured
from jaxreason.paths import as_path
from jaxreason.training.diffusion.held_out import Answered, Judge
from jaxreason.training.files import write_atomically
from jaxreason.training.runs import Run, load_run

FILE = "evaluation/tasks.json"


def judge_of(run: Run, *, mazes: int, batch: int = 50, split: str = "test") -> Judge:
    """Decodes and judges a loaded run's answers to mazes it has not been trained or tuned on."""
    return Judge(run.experiment, run.model, mazes=mazes, batch=batch, split=split)


def measure_run(
    directory: str | Path,
    name: str,
    tasks: Sequence[str],
    *,
    mazes: int,
    batch: int = 50,
    on_task: Callable[[str], None] | None = None,
) -> StageResult:
    """Judged answers of the newest checkpoint to every task, from test mazes.

    The result is kept in the run directory and only made again if checkpoint, tasks, number of
    mazes or decoding have changed.

    Args:
        directory: of a masked-diffusion run, post-trained or not.
        name: of the stage.
        tasks: of the world.
        mazes: judged per task.
        batch: mazes decoded together.
        on_task: called with each task before it is judged.

    Raises:
        FailureError: no such run, or it has not ended.
    """
    directory = as_path(directory)
    run = load_run(directory, merge=False)
    made_from = {
        "step": run.step,
        "tasks": list(tasks),
        "mazes": mazes,
        "decoding": asdict(run.experiment.decoding),
    }
    path = directory / FILE
    if path.is_file():
        stored = json.loads(path.read_text())
        if stored["made_from"] == made_from:
            return StageResult.from_json({**stored["result"], "name": name})
    judge = judge_of(run, mazes=mazes, batch=batch)
    summary = _summary(directory)
    found = {}
    for task in tasks:
        if on_task is not None:
            on_task(task)
        found[task] = as_measures(judge.answer(run.params, task))
    result = StageResult(
        name,
        steps=int(summary["step"]),
        tokens=int(summary["tokens"]),
        seconds=float(summary["seconds"]["wall"]),
        tasks=found,
    )
    path.parent.mkdir(exist_ok=True)
    document = {"made_from": made_from, "result": result.as_json()}
    write_atomically(path, json.dumps(document, indent=2) + "\n")
    return result


def as_measures(answered: Answered) -> dict[str, Any]:
    """Mean and standard error of everything the judge said."""
    found = {name: measured(x) for name, x in answered.judgement.breakdown.items()}
    return {"correct": measured(answered.judgement.values), **found}


def _summary(directory: Path) -> dict[str, Any]:
    path = directory / "summary.json"
    if not path.is_file():
        raise FailureError(f"{directory} has no summary.json: its training has not ended")
    return json.loads(path.read_text())
