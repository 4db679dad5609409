"""The errors of a trace: their codes, and each in words."""

from typing import NamedTuple

import numpy as np

from jaxreason.mazes import validation_kernel as kernel
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.validation_words import Words

REFERENCE_CODES = (
    "operation_syntax_error",
    "invalid_coordinates",
    "create_close_wall",
    "first_create_not_last_closed",
    "create_non_neighbor",
    "create_already_closed",
    "close_not_in_open_list",
    "close_not_lowest_f_value",
    "goal_not_reached",
    "plan_extraction_error",
    "plan_length_mismatch",
    "extracted_plan_invalid",
)
"""The codes of the authors' validator (Stechly et al. 2025, arXiv 2505.13775)."""

STRICT_CODES = (
    "delimiter_error",
    "plan_in_trace",
    "event_after_solution",
    "unusual_word",
    "wrong_heuristic",
    "wrong_cost",
    "duplicate_create",
    "incomplete_expansion",
    "event_after_goal",
    "plan_mismatch",
)
"""What the level strict finds besides."""

CODES = (*REFERENCE_CODES, *STRICT_CODES, "search_mismatch")
"""All codes by number; the last one belongs to the level exact."""


class TraceError(NamedTuple):
    """One error.

    Attributes:
        code: one of `CODES`.
        event_index: which well-formed event, counted from 0; -1 if it is about the whole.
        detail: the error in words.
    """

    code: str
    event_index: int
    detail: str


def _whole(code: int, aside: int, words: Words) -> str:
    word = f"{words.word(aside)!r} at word {aside}" if 0 <= aside < words.codes.size else "the end"
    return {
        kernel.SYNTAX: f"{word} begins no well-formed event",
        kernel.DELIMITER_ERROR: f"`solution` or `end` is missing or misplaced at {word}",
        kernel.PLAN_IN_TRACE: f"{word} is a plan step before `solution`",
        kernel.EVENT_AFTER_SOLUTION: f"{word} is an event after `solution`",
        kernel.UNUSUAL_WORD: f"the step {word} has a number written unusually",
        kernel.GOAL_NOT_REACHED: "the goal is never closed",
        kernel.LENGTH_MISMATCH: f"the plan that the trace implies has {aside} cells",
        kernel.PLAN_MISMATCH: "the plan is not the one that the trace implies",
    }[code]


def explain(
    code: int,
    event: int,
    aside: int,
    problem: Problem,
    words: Words,
    events: np.ndarray,
    event_at: np.ndarray,
) -> TraceError:
    """An error of `check_events` or of the response as a whole, in words."""
    if event < 0:
        return TraceError(CODES[code], -1, _whole(code, aside, words))
    if event >= len(events):
        return TraceError(CODES[code], event, "the search goes on where the trace ends")
    closes, x, y, g, h = events[event].tolist()
    name = "close" if closes else "create"
    other = (aside % problem.width, aside // problem.width)
    reason = {
        kernel.OUTSIDE: f"the grid is {problem.width}x{problem.height}",
        kernel.WALL: "the cell is a wall",
        kernel.FIRST_CREATE: "nothing was closed before",
        kernel.NON_NEIGHBOUR: f"it is no neighbour of {other}, closed last",
        kernel.ALREADY_CLOSED: "the cell is closed",
        kernel.NOT_OPEN: "no open cell has these costs",
        kernel.NOT_LOWEST: f"its f is {g + h}, the lowest is {aside}",
        kernel.WRONG_HEURISTIC: f"the distance to the goal is {aside}",
        kernel.WRONG_COST: f"the cost from the start is {aside}",
        kernel.DUPLICATE_CREATE: f"the cell is open at cost {aside}",
        kernel.INCOMPLETE_EXPANSION: f"{other} was not created before",
        kernel.EVENT_AFTER_GOAL: "the goal is closed",
        kernel.SEARCH_MISMATCH: "the search does something else here",
    }[code]
    where = f"{name} {x} {y} c{g} c{h} (event {event}, word {event_at[event]})"
    return TraceError(CODES[code], event, f"{where}: {reason}")
