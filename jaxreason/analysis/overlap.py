"""Overlap of what two or more runs changed, starting from the same weights.

With I1 and I2 the sets of weights that two runs changed, o1 = |I1 and I2| / |I1| and
o2 = |I1 and I2| / |I2| (Mukherjee et al., arXiv 2505.11711, section 5), and the Jaccard index is
|I1 and I2| / |I1 or I2|. With s the share a run left unchanged, o1 (1 - s1) = o2 (1 - s2). What the
numbers mean is decided by the null models beside them: see `jaxreason.analysis.nulls`.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.equality import Equality, Mode
from jaxreason.analysis.overlap_documents import document, of_two
from jaxreason.analysis.overlap_tally import Advance, tallies
from jaxreason.analysis.pairing import align
from jaxreason.analysis.tensors import Checkpoint
from jaxreason.errors import InputError

Source = str | Path | Checkpoint
"""A checkpoint, or the path of one."""


class Overlap(NamedTuple):
    """Counts of two sets of changed weights.

    Attributes:
        elements: weights in all.
        first: weights the first run changed.
        second: weights the second run changed.
        both: weights both changed.
    """

    elements: int
    first: int
    second: int
    both: int

    @property
    def o1(self) -> float:
        """Share of the first run's weights that the second changed too; NaN if there are none."""
        return self.both / self.first if self.first else math.nan

    @property
    def o2(self) -> float:
        """Share of the second run's weights that the first changed too; NaN if there are none."""
        return self.both / self.second if self.second else math.nan

    @property
    def jaccard(self) -> float:
        """Shared weights among those that either changed; NaN if there are none."""
        either = self.first + self.second - self.both
        return self.both / either if either else math.nan


def count_overlap(first: np.ndarray, second: np.ndarray) -> Overlap:
    """The overlap of two sets of weights.

    Args:
        first: bool array, True where the first run changed a weight.
        second: bool array of the same shape.

    Raises:
        InputError: they are not boolean, or of different shapes.

    >>> import numpy as np
    >>> first, second = np.array([[True, True, False, False], [True, False, True, True]])
    >>> found = count_overlap(first, second)
    >>> found.o1, round(found.o2, 3), found.jaccard
    (0.5, 0.333, 0.25)
    """
    for name, mask in (("first", first), ("second", second)):
        if mask.dtype != np.bool_:
            raise InputError(f"{name} has dtype {mask.dtype}; expected bool")
    if first.shape != second.shape:
        raise InputError(f"first has shape {first.shape} and second {second.shape}")
    counts = (np.count_nonzero(mask) for mask in (first, second, first & second))
    return Overlap(first.size, *map(int, counts))


def overlap_report(
    base: Source,
    run1: Source,
    run2: Source,
    mode: Mode = "absolute",
    tolerance: float | None = None,
    read_dtype: Literal["bfloat16"] | None = None,
    seed: int = 0,
    draws: int = 4,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """Overlap of two runs with all null models, by tensor, layer, matrix type and in all.

    Args:
        base: the checkpoint both started from, or its path.
        run1: the first run's checkpoint.
        run2: the second run's.
        mode: when a weight counts as unchanged, see `Equality`.
        tolerance: of the mode; its own by default.
        read_dtype: "bfloat16" casts all three first.
        seed: of the draws.
        draws: of the precision null by adding and rounding, beside its exact expectation.
        advance: called with the name and size of each tensor when it is done.

    Returns:
        The document of two runs that `overlap_documents` lays out.

    Raises:
        InputError: checkpoints of different models, an unknown mode or dtype.
        FailureError: a checkpoint is damaged.
    """
    rule = Equality(mode, tolerance, read_dtype)
    return of_two(_document(base, [run1, run2], rule, seed, draws, advance))


def overlap_matrix(
    base: Source,
    runs: Sequence[Source],
    mode: Mode = "absolute",
    tolerance: float | None = None,
    read_dtype: Literal["bfloat16"] | None = None,
    seed: int = 0,
    draws: int = 0,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """Overlap of every two of N runs with all null models, in one pass over the checkpoints.

    Args:
        base: the checkpoint all started from, or its path.
        runs: two or more checkpoints.
        mode: as for the rest, see `overlap_report`.
        tolerance: of the mode.
        read_dtype: "bfloat16" casts all first.
        seed: of the draws.
        draws: of the precision null.
        advance: called with the name and size of each tensor when it is done.

    Returns:
        The document that `overlap_documents` lays out, with matrices for numbers.

    Raises:
        InputError: fewer than two runs, checkpoints of different models, unknown mode or dtype.
        FailureError: a checkpoint is damaged.
    """
    rule = Equality(mode, tolerance, read_dtype)
    return _document(base, runs, rule, seed, draws, advance)


def _document(
    base: Source,
    runs: Sequence[Source],
    rule: Equality,
    seed: int,
    draws: int,
    advance: Advance | None,
) -> dict[str, Any]:
    if len(runs) < 2:
        raise InputError(f"{len(runs)} runs given; an overlap needs two or more")
    if draws < 0 or seed < 0:
        raise InputError(f"draws is {draws} and seed {seed}; expected at least 0")
    together = align(
        *(item if isinstance(item, Checkpoint) else open_checkpoint(item) for item in (base, *runs))
    )
    parts = list(tallies(together, rule, seed, draws, advance))
    return document(together, parts, rule, seed, draws)
