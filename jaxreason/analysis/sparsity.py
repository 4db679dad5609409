"""Update sparsity: the share of weights that an update left unchanged, under every rule at once.

Counts are Python integers, so sums over any number of weights are exact.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from jaxreason.analysis.equality import (
    Equality,
    Mode,
    bfloat16_difference,
    difference,
    to_float,
    unchanged,
)

SWEEP = (1e-8, 1e-7, 1e-6, 1e-5)
"""Tolerances of the sweep, those of Mukherjee et al. 2025, table 6."""

_CHUNK = 1 << 18  # elements looked at together: bounds the memory beside the two arrays
Group = TypeVar("Group", bound=Hashable)


def readings(tolerance: float = 1e-5) -> dict[str, Equality]:
    """The rules that are always counted side by side.

    Args:
        tolerance: of `absolute` and `paper`.
    """
    return {
        "exact": Equality("exact"),
        "absolute": Equality("absolute", tolerance),
        "bf16_exact": Equality("exact", read_dtype="bfloat16"),
        "bf16_relative": Equality("bf16-relative"),
        "paper": Equality("paper", tolerance),
    }


def reading_of(mode: Mode) -> str:
    """The name among `readings` of a mode."""
    return mode.replace("-", "_")


@dataclass(frozen=True)
class Counts:
    """How many weights are unchanged, and how far the others moved.

    Attributes:
        size: number of weights.
        unchanged: reading to number of weights.
        sweep: tolerance to number of weights with |difference| within it.
        paper_sweep: the same for the difference in bfloat16, as `paper` mode has it.
        paper_zero: number of weights whose bfloat16 difference is zero (of either sign).
        non_finite: number of weights that are NaN or infinite before or after.
        before_square: sum of squares before, non-finite weights left out (as below).
        delta_square: sum of squared differences.
        delta_largest: largest magnitude of a difference.
    """

    size: int = 0
    unchanged: Mapping[str, int] = field(default_factory=dict)
    sweep: Mapping[float, int] = field(default_factory=dict)
    paper_sweep: Mapping[float, int] = field(default_factory=dict)
    paper_zero: int = 0
    non_finite: int = 0
    before_square: float = 0.0
    delta_square: float = 0.0
    delta_largest: float = 0.0

    def sparsity(self, reading: str) -> float | None:
        """Share of unchanged weights; None of an empty tensor."""
        return self.unchanged[reading] / self.size if self.size else None

    def __add__(self, other: "Counts") -> "Counts":
        def add(a: Mapping, b: Mapping) -> dict:
            return {key: a.get(key, 0) + b.get(key, 0) for key in {**a, **b}}

        return Counts(
            self.size + other.size,
            add(self.unchanged, other.unchanged),
            add(self.sweep, other.sweep),
            add(self.paper_sweep, other.paper_sweep),
            self.paper_zero + other.paper_zero,
            self.non_finite + other.non_finite,
            self.before_square + other.before_square,
            self.delta_square + other.delta_square,
            max(self.delta_largest, other.delta_largest),
        )


def _square(values: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        return float(np.dot(values, values))


def _count_chunk(before: np.ndarray, after: np.ndarray, rules: Mapping[str, Equality]) -> Counts:
    size = before.size
    finite = np.isfinite(to_float(before)) & np.isfinite(to_float(after))
    non_finite = size - int(np.count_nonzero(finite))
    same = unchanged(before, after, Equality("exact"))
    wide = to_float(before)
    if non_finite:
        wide = np.where(finite, wide, 0)
    square = _square(wide.astype(np.float64))
    # A finite weight with the same bits is unchanged by every rule, so only the others are tried.
    rest = np.flatnonzero(~(same & finite))
    kept = size - rest.size
    a, b = before[rest], after[rest]
    delta = np.abs(difference(a, b)).astype(np.float64)
    narrow = np.abs(to_float(bfloat16_difference(a, b)))

    def count(rule: Equality) -> int:
        return kept + int(np.count_nonzero(unchanged(a, b, rule)))

    sweep = {tolerance: count(Equality("absolute", tolerance)) for tolerance in SWEEP}
    paper_sweep = {tolerance: count(Equality("paper", tolerance)) for tolerance in SWEEP}
    delta = delta[np.isfinite(delta)]
    return Counts(
        size=size,
        unchanged={name: count(rule) for name, rule in rules.items()},
        sweep=sweep,
        paper_sweep=paper_sweep,
        paper_zero=kept + int(np.count_nonzero(narrow == 0)),
        non_finite=non_finite,
        before_square=square,
        delta_square=_square(delta),
        delta_largest=float(delta.max(initial=0.0)),
    )


def count_unchanged(
    before: np.ndarray, after: np.ndarray, rules: Mapping[str, Equality] | None = None
) -> Counts:
    """The counts of one tensor, computed in pieces of bounded size.

    Args:
        before: of any shape and numeric dtype.
        after: of the same shape.
        rules: `readings()` by default.

    >>> import numpy as np
    >>> found = count_unchanged(np.zeros(4, np.float32), np.float32([0, 1e-6, 1e-4, -0.0]))
    >>> found.size, found.unchanged["exact"], found.unchanged["absolute"]
    (4, 1, 3)
    """
    rules = readings() if rules is None else rules
    a, b = before.reshape(-1), after.reshape(-1)
    total = _count_chunk(a[:0], b[:0], rules)
    for start in range(0, a.size, _CHUNK):
        total += _count_chunk(a[start : start + _CHUNK], b[start : start + _CHUNK], rules)
    return total


def grouped(
    counts: Iterable[tuple[str, Counts]], group_of: Callable[[str], Group | None]
) -> dict[Group, Counts]:
    """Counts added up by group, e.g. by layer or matrix type.

    Args:
        counts: (name, its counts).
        group_of: the group of a name; None for none.
    """
    found: dict[Group, Counts] = {}
    for name, item in counts:
        group = group_of(name)
        if group is not None:
            found[group] = found[group] + item if group in found else item
    return found
