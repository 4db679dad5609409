"""Is a picture that of a given maze, or of a given maze and a walk from its start to its goal?

The verdicts are exact: they read cells, as of `rasters.read_raster`, and name every wrong one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.plan_validation import shortest_path_cells
from jaxreason.mazes.problem import Cell, Problem
from jaxreason.mazes.rasters import (
    CELL_CLASSES,
    FREE,
    GOAL,
    PLAN,
    START,
    WALL,
    cell_classes,
    check_cells,
)

MAZE_PICTURE_CODES = (
    "missing_start",
    "missing_goal",
    "missing_wall",
    "extra_wall",
    "extra_start",
    "extra_goal",
    "extra_plan",
    "unknown_colour",
)
"""Errors of one cell, by what was expected there and what is shown."""

SOLUTION_PICTURE_CODES = (
    *(code for code in MAZE_PICTURE_CODES if code != "extra_plan"),
    "plan_on_wall",
    "plan_branches",
    "plan_detached",
    "goal_not_reached",
)
"""Errors of one cell of a picture that shows a plan too."""

PLAN_CODES = ("plan_on_wall", "plan_branches", "plan_detached", "goal_not_reached")
"""Errors of the plan alone: walls, start and goal may be right all the same."""


@dataclass(frozen=True)
class PictureError:
    """One wrong cell.

    Attributes:
        code: one of the codes above.
        cell: (x, y) of the cell.
        detail: the error in words.
    """

    code: str
    cell: Cell
    detail: str


@dataclass(frozen=True, eq=False)
class PictureVerdict:
    """What is wrong with a picture, if anything.

    Attributes:
        valid: no error.
        errors: all of them: cells that do not fit the problem in reading order, then those of the
            plan.
        share: share of the cells that no error names, in [0, 1].
        plan: int64 [cells, 2], (x, y) from the start along the plan as far as it is a walk; empty
            for the picture of a maze alone or if the start is not shown in its place.
        optimal: valid, and the plan is a shortest one; False for the picture of a maze alone.
    """

    valid: bool
    errors: tuple[PictureError, ...]
    share: float
    plan: np.ndarray
    optimal: bool = False

    @property
    def error(self) -> str | None:
        """The code of the first error, or None."""
        return self.errors[0].code if self.errors else None


def judge_maze_picture(problem: Problem, cells: np.ndarray) -> PictureVerdict:
    """Whether every cell shows what the problem has there.

    Args:
        problem: the maze that should be shown.
        cells: int [height, width], as read from the picture.

    Raises:
        InputError: cells of another shape than the maze, or outside 0..7.
    """
    errors = _wrong_cells(problem, _checked(problem, cells), plan_allowed=False)
    return _verdict(problem, errors, np.empty((0, 2), np.int64))


def judge_solution_picture(problem: Problem, cells: np.ndarray) -> PictureVerdict:
    """Whether the picture shows the problem and a walk from its start to its goal.

    Walls, start and goal must be the problem's; every other cell is free or belongs to the plan.
    The plan's cells must form one path from start to goal in which only consecutive cells touch,
    so that the picture determines the walk (every shortest path is of this kind).

    Args:
        problem: the maze that should be solved.
        cells: int [height, width], as read from the picture.

    Raises:
        InputError: cells of another shape than the maze, or outside 0..7.
    """
    cells = _checked(problem, cells)
    errors = _wrong_cells(problem, cells, plan_allowed=True)
    if cells[problem.start[1], problem.start[0]] != START:
        return _verdict(problem, errors, np.empty((0, 2), np.int64))
    path = (cells == PLAN) & problem.floor
    for (x, y), kind in ((problem.start, START), (problem.goal, GOAL)):
        path[y, x] = cells[y, x] == kind
    walk = _walk(path, problem.start)
    errors += _plan_errors(problem, path, walk)
    return _verdict(problem, errors, np.array(walk, np.int64), solved=not errors)


def summarise(verdicts: Sequence[PictureVerdict], solved: bool) -> dict[str, np.ndarray]:
    """What verdicts on pictures say, name to float32 [n].

    `correct`; `share`, of the cells that are right; for pictures that show a plan (`solved`)
    `optimal`, right and a shortest path, and `maze`: walls, start and goal are right, whatever the
    plan.
    """
    named: dict[str, list[bool] | list[float]] = {
        "correct": [verdict.valid for verdict in verdicts],
        "share": [verdict.share for verdict in verdicts],
    }
    if solved:
        named["optimal"] = [verdict.optimal for verdict in verdicts]
        named["maze"] = [all(error.code in PLAN_CODES for error in v.errors) for v in verdicts]
    return {name: np.asarray(values, np.float32) for name, values in named.items()}


def _checked(problem: Problem, cells: np.ndarray) -> np.ndarray:
    cells = check_cells(cells)
    if cells.shape != problem.floor.shape:
        raise InputError(
            f"cells has shape {cells.shape}; expected {problem.floor.shape}, as the maze"
        )
    return cells


def _verdict(
    problem: Problem, errors: list[PictureError], plan: np.ndarray, solved: bool = False
) -> PictureVerdict:
    wrong = len({error.cell for error in errors})
    optimal = solved and len(plan) == shortest_path_cells(problem)
    return PictureVerdict(not errors, tuple(errors), 1 - wrong / problem.floor.size, plan, optimal)


def _wrong_cells(problem: Problem, cells: np.ndarray, plan_allowed: bool) -> list[PictureError]:
    expected = cell_classes(problem)
    wrong = cells != expected
    if plan_allowed:
        wrong &= ~((expected == FREE) & (cells == PLAN))
    errors = []
    for y, x in np.argwhere(wrong).tolist():
        want, shown = int(expected[y, x]), int(cells[y, x])
        known = shown < len(CELL_CLASSES)
        name = CELL_CLASSES[shown] if known else f"colour number {shown}"
        detail = f"cell ({x}, {y}) shows {name}; it is {CELL_CLASSES[want]}"
        errors.append(PictureError(_code(want, shown, plan_allowed), (x, y), detail))
    return errors


def _code(want: int, shown: int, plan_allowed: bool) -> str:
    if want == START:
        return "missing_start"
    if want == GOAL:
        return "missing_goal"
    if shown >= len(CELL_CLASSES):
        return "unknown_colour"
    if want == WALL:
        return "plan_on_wall" if plan_allowed and shown == PLAN else "missing_wall"
    return {WALL: "extra_wall", START: "extra_start", GOAL: "extra_goal", PLAN: "extra_plan"}[shown]


def _neighbours(path: np.ndarray, cell: Cell) -> list[Cell]:
    height, width = path.shape
    x, y = cell
    around = ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1))
    return [(a, b) for a, b in around if 0 <= a < width and 0 <= b < height and path[b, a]]


def _walk(path: np.ndarray, start: Cell) -> list[Cell]:
    """From the start as long as there is exactly one way on."""
    walk = [start]
    onwards = _neighbours(path, start)
    while len(onwards) == 1:
        walk.append(onwards[0])
        onwards = [cell for cell in _neighbours(path, walk[-1]) if cell not in walk[-2:]]
        if len(walk) > path.size or (onwards and onwards[0] in walk):
            break
    return walk


def _plan_errors(problem: Problem, path: np.ndarray, walk: list[Cell]) -> list[PictureError]:
    """Branches, cells apart from the start's path, and a goal out of reach, in this order."""
    reached, edge = {problem.start}, [problem.start]
    while edge:
        new = {cell for place in edge for cell in _neighbours(path, place)} - reached
        reached |= new
        edge = list(new)
    errors = []
    for y, x in np.argwhere(path).tolist():
        ends = (x, y) in (problem.start, problem.goal)
        touching = len(_neighbours(path, (x, y)))
        if touching > (1 if ends else 2):
            kind = "an end" if ends else "a cell"
            detail = f"({x}, {y}), {kind} of the plan, touches {touching} others of it"
            errors.append(PictureError("plan_branches", (x, y), detail))
        if (x, y) not in reached and (x, y) != problem.goal:
            detail = f"({x}, {y}) is not connected with the start"
            errors.append(PictureError("plan_detached", (x, y), detail))
    if problem.goal not in reached:
        detail = f"the plan comes from {problem.start} to {walk[-1]}; the goal is {problem.goal}"
        errors.append(PictureError("goal_not_reached", walk[-1], detail))
    return errors
