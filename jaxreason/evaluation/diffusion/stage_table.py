"""What a model can do after each stage, with standard errors: rows are stages, columns tasks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxreason.evaluation.page import escape, table
from jaxreason.evaluation.statistics import share

TASK_LABELS = {
    "plan": "text: solve",
    "read_plan": "picture: solve",
    "read_maze": "picture: read",
    "draw_maze": "draw maze",
    "draw_solution": "draw solution",
    "text": "plain text",
}
"""How a column is headed."""


class Measured(NamedTuple):
    """The mean of one number per maze.

    Attributes:
        value: the mean.
        standard_error: of the mean; never zero for shares, see `statistics.share`.
        n: mazes.
    """

    value: float
    standard_error: float
    n: int

    def text(self) -> str:
        """Per cent with error, such as `51.6 ± 1.6`."""
        return f"{100 * self.value:.1f} ± {100 * self.standard_error:.1f}"


def measured(values: Sequence[float] | np.ndarray) -> Measured | None:
    """Mean and standard error of independent values, [n]; None of no values.

    Values that are all 0 or 1 are a share, with the error of `statistics.share`.
    """
    numbers = np.asarray(values, np.float64)
    n = numbers.size
    if n == 0:
        return None
    if np.isin(numbers, (0.0, 1.0)).all():
        found = share(numbers.astype(bool), np.arange(n))
        assert found.value is not None
        assert found.standard_error is not None
        return Measured(found.value, found.standard_error, n)
    error = float(numbers.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    return Measured(float(numbers.mean()), error, n)


@dataclass(frozen=True)
class StageResult:
    """What was measured after one stage.

    Attributes:
        name: of the stage.
        steps: optimizer steps of the stage itself.
        tokens: tokens of the stage itself.
        seconds: its wall time.
        tasks: task to measure to mean; the measure `correct` stands in the stage table.
    """

    name: str
    steps: int
    tokens: int
    seconds: float
    tasks: Mapping[str, Mapping[str, Measured]]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tasks": {
                task: {name: value._asdict() for name, value in found.items()}
                for task, found in self.tasks.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "StageResult":
        """What `as_json` wrote."""
        tasks = {
            task: {name: Measured(**value) for name, value in found.items()}
            for task, found in document["tasks"].items()
        }
        return cls(**{**document, "tasks": tasks})


def tasks_of(stages: Sequence[StageResult]) -> list[str]:
    """The tasks of any stage, in the order of the columns."""
    found = {task for stage in stages for task in stage.tasks}
    known = [task for task in TASK_LABELS if task in found]
    return known + sorted(found - set(known))


def measures_of(stages: Sequence[StageResult], task: str) -> list[str]:
    """The measures of a task in any stage, in their own order, `correct` first."""
    names = {name: None for stage in stages for name in stage.tasks.get(task, {})}
    return sorted(names, key=lambda name: name != "correct")


def stage_lines(stages: Sequence[StageResult]) -> str:
    """The table as plain text."""
    tasks = tasks_of(stages)
    head = ["stage", *(TASK_LABELS.get(task, task) for task in tasks)]
    body = [[stage.name, *(_cell(stage, task) for task in tasks)] for stage in stages]
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    lines = []
    for row in [head, *body]:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def stage_html(stages: Sequence[StageResult]) -> str:
    """The table as HTML; under each number how many mazes it is of."""
    tasks = tasks_of(stages)
    head = ["stage", *(escape(TASK_LABELS.get(task, task)) for task in tasks), "steps", "minutes"]
    rows = [
        [
            escape(stage.name),
            *(_html_cell(stage, task) for task in tasks),
            f"{stage.steps:,}",
            f"{stage.seconds / 60:.1f}",
        ]
        for stage in stages
    ]
    return table(head, rows)


def measures_html(stages: Sequence[StageResult], task: str) -> str:
    """Every measure of one task by stage, as HTML."""
    names = measures_of(stages, task)
    head = ["stage", *(escape(name.replace("_", " ")) for name in names)]
    rows = [
        [escape(stage.name), *(_text(stage.tasks[task].get(name)) for name in names)]
        for stage in stages
        if task in stage.tasks
    ]
    return table(head, rows, "dense")


def _text(found: Measured | None) -> str:
    return "–" if found is None else found.text()


def _cell(stage: StageResult, task: str) -> str:
    return _text(stage.tasks.get(task, {}).get("correct"))


def _html_cell(stage: StageResult, task: str) -> str:
    found = stage.tasks.get(task, {}).get("correct")
    return _text(found) + ("" if found is None else f'<span class="sub">n = {found.n}</span>')
