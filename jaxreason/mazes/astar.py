"""A* over a maze with its trace of `create` and `close` events, under named tie-breaks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.kernels import searching
from jaxreason.mazes.problem import Problem

CREATE, CLOSE = searching.CREATE, searching.CLOSE

MAXIMUM_CELLS = 2**20
"""Larger grids do not fit the packed priorities of the open list."""


class NoPathError(InputError):
    """The goal cannot be reached from the start."""


class TieBreak(NamedTuple):
    """How A* orders what the evaluation function f = g + h leaves open.

    Attributes:
        rule: which open cell of lowest f is closed first.
        neighbours: (dx, dy) in the order in which a closed cell's neighbours are created.
        creates_start: whether the trace begins with a create of the start.
        description: one line for tables and help texts.
    """

    rule: int
    neighbours: tuple[tuple[int, int], ...]
    creates_start: bool
    description: str


# Searchformer's y grows upwards: its "up" is y + 1.
_UP_RIGHT_DOWN_LEFT = ((0, -1), (1, 0), (0, 1), (-1, 0))
_SEARCHFORMER_ORDER = ((0, 1), (0, -1), (-1, 0), (1, 0))

TIE_BREAKS: dict[str, TieBreak] = {
    "paper": TieBreak(
        searching.OLDEST,
        _UP_RIGHT_DOWN_LEFT,
        False,
        "oldest insertion first; a cell whose cost improves keeps its place (Stechly et al. 2025)",
    ),
    "low_g": TieBreak(
        searching.LOW_G, _UP_RIGHT_DOWN_LEFT, False, "lowest g first, then oldest insertion"
    ),
    "high_g": TieBreak(
        searching.HIGH_G, _UP_RIGHT_DOWN_LEFT, False, "highest g first, then oldest insertion"
    ),
    "searchformer": TieBreak(
        searching.LOWEST_CELL,
        _SEARCHFORMER_ORDER,
        True,
        "lowest y, then lowest x (Lehnert et al. 2024, deterministic)",
    ),
    "searchformer_random": TieBreak(
        searching.RANDOM,
        _SEARCHFORMER_ORDER,
        True,
        "ties uniform, neighbours shuffled (Lehnert et al. 2024, non-deterministic)",
    ),
}
"""Name to tie-break. Searchformer's coin inside each comparison is here one draw per cell."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What A* did, and the plan it found.

    Attributes:
        events: int32 [events, 5], columns kind (0 create, 1 close), x, y, g (cost from the start)
            and h (Manhattan distance to the goal). A cost of -1 is one that is not written.
        plan: int32 [cells, 2], (x, y) from start to goal, both included.
    """

    events: np.ndarray
    plan: np.ndarray


def find_tie_break(name: str) -> TieBreak:
    """The tie-break of that name; InputError lists the known ones otherwise."""
    if name not in TIE_BREAKS:
        raise InputError(f"tie_break {name!r} is unknown; expected one of {', '.join(TIE_BREAKS)}")
    return TIE_BREAKS[name]


def search(problem: Problem, tie_break: str = "paper", seed: int = 0) -> Trace:
    """Solves a problem by A* with the Manhattan heuristic; moves cost 1.

    The first event closes the start (after its create, where the tie-break has one), the last
    closes the goal. A create is emitted for each new open cell and each improved one.

    Args:
        problem: the maze.
        tie_break: a name in `TIE_BREAKS`.
        seed: for "searchformer_random" only.

    Raises:
        InputError: unknown tie-break or more than 2^20 cells.
        NoPathError: the goal cannot be reached.
    """
    rule = find_tie_break(tie_break)
    if problem.floor.size > MAXIMUM_CELLS:
        raise InputError(
            f"the grid has {problem.floor.size} cells; A* traces take at most {MAXIMUM_CELLS}"
        )
    width = problem.width
    events, plan, found = searching.solve(
        np.ascontiguousarray(problem.floor),
        problem.start[1] * width + problem.start[0],
        problem.goal[1] * width + problem.goal[0],
        rule.rule,
        np.array(rule.neighbours, np.int32),
        rule.creates_start,
        np.uint64(seed & (2**64 - 1)),
    )
    if not found:
        raise NoPathError(f"no path leads from start {problem.start} to goal {problem.goal}")
    return Trace(events, plan)
