"""Is the plan of a response a walk from start to goal, and a shortest one?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxreason.mazes import validation_kernel as kernel
from jaxreason.mazes.kernels.carving import distance_in_steps
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.validation_words import Words, read_words

PLAN_CODES = (
    "plan_syntax_error",
    "illegal_start",
    "illegal_move",
    "goal_not_reached",
    "suboptimal_path",
)
"""The authors' codes (Stechly et al. 2025, arXiv 2505.13775); the last one only on request."""


@dataclass(frozen=True, eq=False)
class PlanVerdict:
    """What is wrong with a plan, if anything.

    Attributes:
        valid: no error.
        error: one of `PLAN_CODES`, or None.
        cells: int64 [cells, 2], (x, y) of the plan as read; empty if it could not be.
        step: place in `cells` of the error, -1 if it has none.
        detail: the error in words, "" if none.
    """

    valid: bool
    error: str | None
    cells: np.ndarray
    step: int = -1
    detail: str = ""


def shortest_path_cells(problem: Problem) -> int:
    """Cells on a shortest path, start and goal included; 0 if there is none."""
    floor = np.ascontiguousarray(problem.floor)
    (start_x, start_y), (goal_x, goal_y) = problem.start, problem.goal
    width = problem.width
    return 1 + distance_in_steps(floor, start_y * width + start_x, goal_y * width + goal_x)


def validate_plan(
    problem: Problem,
    response: Sequence[str] | str | Words,
    require_optimal: bool = False,
) -> PlanVerdict:
    """Judges the plan of a response; the trace plays no part.

    The plan is the run of `plan X Y` steps at the end; earlier ones do not count, but a step cut
    short by another keyword, anywhere, makes the plan unreadable. Rules and codes are those of the
    authors' validator, which also lets a plan leave the grid; here that is an illegal move.

    Args:
        problem: the maze.
        response: the words after the prompt, as a list or a text, or `read_ids(...)`.
        require_optimal: whether a valid plan longer than a shortest path is an error.
    """
    words = response if isinstance(response, Words) else read_words(response)
    _, _, plan, found = kernel.read_response(words.codes, *words.table[1:])
    return judge_plan(problem, plan, found, require_optimal)


def judge_plan(
    problem: Problem, plan: np.ndarray, found: np.ndarray, require_optimal: bool = False
) -> PlanVerdict:
    """`validate_plan` on what `read_response` returned."""
    if found[kernel.PLAN_BROKEN] >= 0:
        missing = found[kernel.PLAN_BROKEN] >= found[kernel.STOPPED]
        where = f"the step at word {found[kernel.PLAN_BROKEN]} is malformed"
        detail = "the response does not end in a plan" if missing else where
        return PlanVerdict(False, PLAN_CODES[0], plan[:0], -1, detail)
    code, step = kernel.check_plan(plan, problem.floor, *problem.start, *problem.goal)
    if code:
        return PlanVerdict(False, PLAN_CODES[code], plan, step, _explain(problem, plan, code, step))
    if require_optimal:
        shortest = shortest_path_cells(problem)
        if len(plan) > shortest:
            detail = f"the plan has {len(plan)} cells, a shortest one {shortest}"
            return PlanVerdict(False, PLAN_CODES[4], plan, -1, detail)
    return PlanVerdict(True, None, plan)


def _explain(problem: Problem, plan: np.ndarray, code: int, step: int) -> str:
    cell = tuple(plan[step].tolist())
    if code == kernel.ILLEGAL_START:
        return f"the plan starts at {cell}; the start is {problem.start}"
    if code == kernel.ILLEGAL_MOVE:
        before = tuple(plan[step - 1].tolist())
        return f"step {step} goes from {before} to {cell}, which is no free neighbour"
    return f"the plan ends at {cell}; the goal is {problem.goal}"
