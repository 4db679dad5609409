"""Counts behind an overlap: what each run changed and what the null models expect, by tensor."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from jaxreason.analysis.equality import Equality, unchanged
from jaxreason.analysis.nulls import (
    STRATA,
    Expected,
    drawn_null,
    magnitude_strata,
    matched_null,
    matching_sigmas,
    matching_sizes,
    nothing,
    precision_null,
    shared_counts,
    sign_null,
)
from jaxreason.analysis.pairing import Together
from jaxreason.analysis.visibility import Intervals, intervals, joined

NULLS = (
    "uniform",
    "tensor_matched",
    "magnitude_matched",
    "precision",
    "precision_global",
    "precision_sign",
)
"""Names of the null models in documents; `precision_global` of the whole model only."""

Advance = Callable[[str, int], None]

_CHUNK = 1 << 22
_KEPT = 1 << 14  # entries of a sampled tensor that take part in the search for one global sigma


@dataclass(frozen=True)
class Tally:
    """Counts of a tensor, or of several.

    Attributes:
        name: of the tensor or group.
        elements: number of weights.
        updated: [N] how many each run changed.
        both: [N, N] how many two runs both changed.
        expected: null model to what it expects; without `uniform`, which follows from the counts.
        sigmas: [N] of the precision null; empty for several tensors.
        drawn: [draws, N, N] shared counts of the draws.
        drawn_updated: [draws, N].
        found: of each run the intervals of the weights; empty for several tensors.
    """

    name: str
    elements: int
    updated: np.ndarray
    both: np.ndarray
    expected: dict[str, Expected]
    sigmas: list[float]
    drawn: np.ndarray
    drawn_updated: np.ndarray
    found: list[Intervals]

    def null(self, name: str) -> Expected:
        """What a null model expects of it."""
        if name == "uniform":
            return matched_null(np.array([self.elements]), self.updated[:, None])
        return self.expected[name]


def tallies(
    together: Together, rule: Equality, seed: int, draws: int, advance: Advance | None = None
) -> Iterator[Tally]:
    """A tally of each common tensor of the base (first) and the runs; reads one at a time.

    Args:
        together: base and runs.
        rule: by which weights count as unchanged.
        seed: of the draws.
        draws: of the precision null.
        advance: called with the name and size of each tensor when it is done.
    """
    for name, (base, *runs) in together:
        yield _tally(name, base, runs, rule, seed, draws)
        if advance is not None:
            advance(name, base.size)
        del base, runs  # before the next are read


def _tally(
    name: str, base: np.ndarray, runs: list[np.ndarray], rule: Equality, seed: int, draws: int
) -> Tally:
    flat, after = base.reshape(-1), [run.reshape(-1) for run in runs]
    both = np.zeros((len(runs), len(runs)), np.int64)
    sizes = np.zeros(STRATA, np.int64)
    changes = np.zeros((len(runs), STRATA), np.int64)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        changed = [~unchanged(part, run[start : start + _CHUNK], rule) for run in after]
        both += shared_counts(changed)[0]
        stratum = magnitude_strata(part)
        sizes += np.bincount(stratum, minlength=STRATA)
        for row, mask in zip(changes, changed, strict=True):
            row += np.bincount(stratum[mask], minlength=STRATA)
    updated = both.diagonal().copy()
    uniform = matched_null(np.array([flat.size]), updated[:, None])
    expected = {"tensor_matched": uniform, "magnitude_matched": matched_null(sizes, changes)}
    stored = [run.dtype for run in after]
    shape = (draws, len(runs), len(runs))
    drawn, drawn_updated = np.zeros(shape), np.zeros(shape[:2])
    found, sigmas = [], [float("nan")] * len(runs)
    if base.dtype.kind in "iub":  # integers are not rounded
        expected |= {"precision": uniform, "precision_sign": uniform}
    else:
        of_dtype = {dtype: intervals(flat, dtype, rule) for dtype in set(stored)}
        found = [of_dtype[dtype] for dtype in stored]
        sigmas = matching_sigmas(found, updated)
        expected["precision"] = precision_null(found, sigmas)
        expected["precision_sign"] = sign_null(found, matching_sizes(found, updated))
        for draw in range(draws):
            random = np.random.default_rng([seed, draw, zlib.crc32(name.encode())])
            drawn[draw], drawn_updated[draw] = drawn_null(flat, stored, sigmas, rule, random)
        thinned = {id(item): item.thinned(_KEPT) for item in found}
        found = [thinned[id(item)] for item in found]
    return Tally(name, flat.size, updated, both, expected, sigmas, drawn, drawn_updated, found)


def total(name: str, parts: list[Tally], with_global: bool = False) -> Tally:
    """The tally of several tensors together.

    Args:
        name: of the whole.
        parts: tallies of tensors, at least one.
        with_global: adds the precision null with one sigma for all tensors.
    """
    runs = parts[0].updated.size
    updated = np.sum([part.updated for part in parts], axis=0)
    expected = {
        null: reduce(add, (part.expected[null] for part in parts), nothing(runs))
        for null in parts[0].expected
    }
    sigmas: list[float] = []
    if with_global:
        expected["precision_global"], sigmas = _one_sigma(parts)
    return Tally(
        name=name,
        elements=sum(part.elements for part in parts),
        updated=updated,
        both=np.sum([part.both for part in parts], axis=0),
        expected=expected,
        sigmas=sigmas,
        drawn=np.sum([part.drawn for part in parts], axis=0),
        drawn_updated=np.sum([part.drawn_updated for part in parts], axis=0),
        found=[],
    )


def _one_sigma(parts: list[Tally]) -> tuple[Expected, list[float]]:
    """The precision null with one sigma per run for the whole model, and these sigmas."""
    floats = [part for part in parts if part.found]
    others = [part.expected["precision"] for part in parts if not part.found]
    runs = parts[0].updated.size
    rest = reduce(add, others, nothing(runs))
    if not floats:
        return rest, [float("nan")] * runs
    # Runs stored alike share their intervals: joined once, not once per run.
    keys = [tuple(id(part.found[run]) for part in floats) for run in range(runs)]
    whole = {key: joined([part.found[run] for part in floats]) for run, key in enumerate(keys)}
    found = [whole[key] for key in keys]
    updated = np.sum([part.updated for part in floats], axis=0)
    sigmas = matching_sigmas(found, updated)
    return precision_null(found, sigmas) + rest, sigmas
