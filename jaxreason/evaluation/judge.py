"""Every completion judged: plan, optimality, trace at three levels, lengths."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from jaxreason.mazes import Problem, Trace
from jaxreason.mazes.validation import judge

LEVELS = ("reference", "strict", "exact")


@dataclass(frozen=True)
class Judged:
    """Verdicts on the completions of one generator, one entry per completion in each column.

    Attributes:
        problem: int, which problem it answers (index of the test set).
        plan_valid: the plan leads from start to goal.
        plan_error: code of what is wrong with the plan, None if valid.
        optimal: the plan is valid and as short as A*'s.
        has_trace: there is at least one event; a solution-only completion has none.
        reference: the trace is valid by the authors' rules (`mazes.validation`).
        strict: it is valid by the strict rules.
        exact: it is the very trace of the solver.
        first_error: code of the first error of the trace at the level `reference`, None if valid.
        first_strict_error: the same at the level `strict`.
        trace_tokens: words before `solution` (before the plan if that word never comes).
        true_trace_tokens: words of the true A* trace (five per event).
        tokens: length of the completion in tokens, the end token included.
        truncated: cut by the limit before the end token.
    """

    problem: tuple[int, ...]
    plan_valid: tuple[bool, ...]
    plan_error: tuple[str | None, ...]
    optimal: tuple[bool, ...]
    has_trace: tuple[bool, ...]
    reference: tuple[bool, ...]
    strict: tuple[bool, ...]
    exact: tuple[bool, ...]
    first_error: tuple[str | None, ...]
    first_strict_error: tuple[str | None, ...]
    trace_tokens: tuple[int, ...]
    true_trace_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.problem)

    def as_json(self) -> dict[str, list[Any]]:
        """Columns by name, plain JSON."""
        return {field.name: list(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, columns: dict[str, list[Any]]) -> "Judged":
        """The inverse of `as_json`."""
        return cls(**{field.name: tuple(columns[field.name]) for field in fields(cls)})


def judge_completions(
    problems: Sequence[tuple[Problem, Trace]],
    responses: Sequence[Sequence[str]],
    tokens: Sequence[int],
    finished: Sequence[bool],
    tie_break: str = "paper",
) -> Judged:
    """Judges completions, `len(responses) / len(problems)` of each problem next to each other.

    Args:
        problems: problems with the true A* traces.
        responses: words after the prompt, without the end token.
        tokens: [completions] length in tokens.
        finished: [completions] whether the end token came.
        tie_break: of the A* that made the true traces, for the level `exact`.
    """
    samples = len(responses) // max(len(problems), 1)
    if len(responses) != samples * len(problems):
        raise ValueError(f"{len(responses)} responses do not divide by {len(problems)} problems")
    rows = []
    for place, words in enumerate(responses):
        index = place // samples
        problem, trace = problems[index]
        row = _judge_one(problem, trace, list(words), tie_break)
        rows.append((index, *row, int(tokens[place]), not bool(finished[place])))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(fields(Judged))
    return Judged(*columns)


def _judge_one(problem: Problem, trace: Trace, words: list[str], tie_break: str) -> tuple[Any, ...]:
    verdict = judge(problem, words, tie_break)
    return (
        verdict.plan.valid,
        verdict.plan.error,
        verdict.optimal,
        verdict.has_trace,
        verdict.reference.valid,
        verdict.strict.valid,
        verdict.exact.valid,
        verdict.reference.first_error,
        verdict.strict.first_error,
        verdict.trace_tokens,
        trace_length(trace.events),
    )


def trace_length(events: np.ndarray) -> int:
    """Words of a trace: five per event, three where the costs (-1) are not written."""
    return int(3 * len(events) + 2 * np.count_nonzero(events[:, 3] >= 0))
