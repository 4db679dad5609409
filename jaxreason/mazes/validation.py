"""Is the trace of a response a run of A* on its problem? Three levels of asking.

`reference` is the validator of Stechly et al. 2025 (arXiv 2505.13775), with its error codes and
their order: numbers compare with the paper. Its authors check that each close was open, with the
costs of its create, and had the lowest f; they do not check that costs are right, that a cell is
fully expanded, or that the trace stops at the goal. `strict` adds all of that: what it accepts is a
run of A* under some tie-break, correctly delimited. `exact` accepts the events of one tie-break
only (`search`). Searchformer's search first creates the start: an error to `reference`, and right
to the others where its tie-break is named.

The authors' codes `plan_extraction_error` and `extracted_plan_invalid` exist but cannot occur: a
cell is open only after a create that sets its parent, to a neighbour closed before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes import validation_kernel as kernel
from jaxreason.mazes.astar import NoPathError, find_tie_break, search
from jaxreason.mazes.plan_validation import (
    PLAN_CODES,
    PlanVerdict,
    judge_plan,
    shortest_path_cells,
    validate_plan,
)
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.validation_errors import CODES, REFERENCE_CODES, TraceError, explain
from jaxreason.mazes.validation_words import Words, read_ids, read_words

__all__ = [
    "CODES",
    "LEVELS",
    "PLAN_CODES",
    "REFERENCE_CODES",
    "PlanVerdict",
    "TraceError",
    "TraceVerdict",
    "Verdict",
    "judge",
    "read_ids",
    "read_words",
    "shortest_path_cells",
    "validate_plan",
    "validate_trace",
]

LEVELS = ("reference", "strict", "exact")

_AUTHORS = len(REFERENCE_CODES)


class _Read(NamedTuple):
    """A response as `read_response` returns it, with its problem and words."""

    problem: Problem
    words: Words
    events: np.ndarray
    event_at: np.ndarray
    plan: np.ndarray
    found: np.ndarray


@dataclass(frozen=True, eq=False)
class TraceVerdict:
    """What is wrong with a trace, if anything.

    Attributes:
        level: the level it was judged at.
        read: the response as read.
        records: int64 [errors, 3], code, event (-1: the response as a whole) and an aside.
    """

    level: str
    read: _Read
    records: np.ndarray

    @property
    def valid(self) -> bool:
        """No error at this level."""
        return len(self.records) == 0

    @property
    def first_error(self) -> str | None:
        """The code of the first error, the one the paper reports."""
        return CODES[self.records[0, 0]] if len(self.records) else None

    @property
    def first(self) -> TraceError | None:
        """The first error in full."""
        return self._error(0) if len(self.records) else None

    @cached_property
    def errors(self) -> tuple[TraceError, ...]:
        """All errors, in the authors' order: form, then events as they come, then the end."""
        return tuple(self._error(place) for place in range(len(self.records)))

    def _error(self, place: int) -> TraceError:
        code, event, aside = self.records[place].tolist()
        read = self.read
        return explain(code, event, aside, read.problem, read.words, read.events, read.event_at)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Everything an evaluation asks of one response.

    Attributes:
        plan: the plan's verdict, optimality not required.
        optimal: the plan is valid and no longer than a shortest path.
        has_trace: there is at least one well-formed event. A solution-only response has none;
            its trace verdicts are invalid (the goal is not closed) and say nothing.
        ended: the word `end` is there: the response was not cut off.
        reference: the trace's verdict at that level.
        strict: likewise.
        exact: likewise.
        trace_tokens: words before `solution` (without it, before the plan).
        response_tokens: words in all, up to the end-of-sequence token.
    """

    plan: PlanVerdict
    optimal: bool
    has_trace: bool
    ended: bool
    reference: TraceVerdict
    strict: TraceVerdict
    exact: TraceVerdict
    trace_tokens: int
    response_tokens: int

    @property
    def plan_valid(self) -> bool:
        """Whether the plan leads from start to goal."""
        return self.plan.valid

    @property
    def plan_error(self) -> str | None:
        """The plan's error code."""
        return self.plan.error

    def trace(self, level: str) -> TraceVerdict:
        """The trace's verdict at a level of that name."""
        _check_level(level)
        return getattr(self, level)


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise InputError(f"level {level!r} is unknown; expected one of {', '.join(LEVELS)}")


def _read(problem: Problem, response: Sequence[str] | str | Words) -> _Read:
    words = response if isinstance(response, Words) else read_words(response)
    return _Read(problem, words, *kernel.read_response(words.codes, *words.table[1:]))


def _form_errors(found: np.ndarray) -> list[tuple[int, int, int]]:
    marks = (
        (kernel.SYNTAX, kernel.BAD_WORD),
        (kernel.DELIMITER_ERROR, kernel.DELIMITER),
        (kernel.PLAN_IN_TRACE, kernel.EARLY_PLAN),
        (kernel.EVENT_AFTER_SOLUTION, kernel.LATE_EVENT),
        (kernel.UNUSUAL_WORD, kernel.UNUSUAL),
    )
    return [(code, -1, int(found[mark])) for code, mark in marks if found[mark] >= 0]


def _records(read: _Read) -> np.ndarray:
    """All errors of the levels reference and strict, in order: int64 [errors, 3]."""
    problem, plan = read.problem, read.plan
    width = problem.width
    start = problem.start[1] * width + problem.start[0]
    goal = problem.goal[1] * width + problem.goal[0]
    floor = np.ascontiguousarray(problem.floor)
    during, chain = kernel.check_events(read.events, floor, start, goal)
    before, after = _form_errors(read.found), []
    if len(chain) == 0:
        after.append((kernel.GOAL_NOT_REACHED, -1, -1))
    if read.found[kernel.PLAN_BROKEN] < 0:
        if len(chain) != len(plan):
            after.append((kernel.LENGTH_MISMATCH, -1, len(chain)))
        elif not np.array_equal(plan, np.stack([chain % width, chain // width], 1)):
            after.append((kernel.PLAN_MISMATCH, -1, -1))
    if not before and not after:
        return during
    rows = [np.array(part, np.int64).reshape(-1, 3) for part in (before, during, after)]
    return np.concatenate(rows)


def _exact_records(read: _Read, strict: np.ndarray, tie_break: str) -> np.ndarray:
    """The strict errors and, last, the first event that the search does otherwise."""
    try:
        expected = search(read.problem, tie_break).events
    except NoPathError:
        return strict  # The goal cannot have been closed, so there are errors already.
    shared = min(len(expected), len(read.events))
    differs = np.flatnonzero((expected[:shared] != read.events[:shared]).any(1))
    if not len(differs) and len(expected) == len(read.events):
        return strict
    event = int(differs[0]) if len(differs) else shared
    return np.concatenate([strict, np.array([[kernel.SEARCH_MISMATCH, event, -1]], np.int64)])


def _without_opening(read: _Read, records: np.ndarray) -> np.ndarray:
    """The errors but for that of a trace's first event, if it is the right create of the start."""
    (x, y), (goal_x, goal_y) = read.problem.start, read.problem.goal
    opening = [0, x, y, 0, abs(x - goal_x) + abs(y - goal_y)]
    if not len(read.events) or read.events[0].tolist() != opening:
        return records
    return records[(records[:, 0] != kernel.FIRST_CREATE) | (records[:, 1] != 0)]


def _at_level(read: _Read, records: np.ndarray, level: str, tie_break: str) -> TraceVerdict:
    if find_tie_break(tie_break).creates_start and level != "reference":
        records = _without_opening(read, records)
    if level == "reference":
        records = records[records[:, 0] < _AUTHORS]
    elif level == "exact":
        records = _exact_records(read, records, tie_break)
    return TraceVerdict(level, read, records)


def validate_trace(
    problem: Problem,
    response: Sequence[str] | str | Words,
    level: str = "reference",
    tie_break: str = "paper",
) -> TraceVerdict:
    """Judges the trace of a response; never raises over what the response says.

    All errors are collected: one in an event is recorded, the event skipped and the rest replayed.
    A number of more than 2^59 counts as malformed, where the authors take integers of any size.

    Args:
        problem: the maze.
        response: the words after the prompt, as a list or a text, or `read_ids(...)`; a leading
            `reasoning` is passed over, and `<|eos|>` with all after it.
        level: one of `LEVELS`.
        tie_break: which search `exact` compares with; one that creates the start lets `strict` too
            accept that as the first event.

    Raises:
        InputError: unknown level or tie-break.
    """
    _check_level(level)
    read = _read(problem, response)
    return _at_level(read, _records(read), level, tie_break)


def judge(
    problem: Problem, response: Sequence[str] | str | Words, tie_break: str = "paper"
) -> Verdict:
    """Judges plan and trace of a response, at all levels; arguments as `validate_trace`."""
    read = _read(problem, response)
    records = _records(read)
    plan = judge_plan(problem, read.plan, read.found)
    begin, stopped, split = read.found[[kernel.BEGIN, kernel.STOPPED, kernel.SPLIT_AT]].tolist()
    plan_words = 3 * len(read.plan) + int(_ends(read))
    trace_end = split if split >= 0 else max(begin, stopped - plan_words)
    return Verdict(
        plan=plan,
        optimal=plan.valid and len(plan.cells) == shortest_path_cells(problem),
        has_trace=len(read.events) > 0,
        ended=_ends(read),
        reference=_at_level(read, records, "reference", tie_break),
        strict=_at_level(read, records, "strict", tie_break),
        exact=_at_level(read, records, "exact", tie_break),
        trace_tokens=trace_end - begin,
        response_tokens=stopped - begin,
    )


def _ends(read: _Read) -> bool:
    stopped = read.found[kernel.STOPPED]
    return bool(stopped) and read.words.word(stopped - 1) == "end"
