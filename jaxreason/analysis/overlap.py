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
from jaxreason.analysis.names import place
from jaxreason.analysis.overlap_tally import NULLS, Tally, tallies, total
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


def overlap(first: np.ndarray, second: np.ndarray) -> Overlap:
    """The overlap of two sets of weights.

    Args:
        first: bool array, True where the first run changed a weight.
        second: bool array of the same shape.

    Raises:
        InputError: they are not boolean, or of different shapes.

    >>> import numpy as np
    >>> found = overlap(np.array([True, True, False, False]), np.array([True, False, True, True]))
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

    Returns:
        A document for JSON: `base`, `runs`, `rule`, `seed`, `all` (a table), `tensors`, `layers`,
        `matrices` (each a list of tables with their `name`), `missing`, `extra`, `reshaped`.
        A table has `elements`, `updated` [2], `sparsity` [2], `observed` {both, o1, o2, jaccard}
        and `nulls`: name to {both, o1, o2, jaccard, z, excess}, where `z` is the observed number
        shared less the expected one over its standard deviation and `excess` is o1 less its
        expectation. Precision nulls have `sigma` [2] where one holds; `precision_sign` has
        `updated`, as it meets the numbers only nearly; `precision_drawn` has means with
        `o1_standard_error`, ... A ratio without denominator is None.

    Raises:
        InputError: checkpoints of different models, an unknown mode or dtype.
        FailureError: a checkpoint is damaged.
    """
    document = _document(base, [run1, run2], Equality(mode, tolerance, read_dtype), seed, draws)
    for group in ("tensors", "layers", "matrices"):
        document[group] = [_of_two(table) for table in document[group]]
    return {**document, "all": _of_two(document["all"])}


def overlap_matrix(
    base: Source,
    runs: Sequence[Source],
    mode: Mode = "absolute",
    tolerance: float | None = None,
    read_dtype: Literal["bfloat16"] | None = None,
    seed: int = 0,
    draws: int = 0,
) -> dict[str, Any]:
    """Overlap of every two of N runs with all null models, in one pass over the checkpoints.

    Args:
        base: the checkpoint all started from, or its path.
        runs: two or more checkpoints.
        mode: see `overlap_report`, as for the rest.
        tolerance: of the mode.
        read_dtype: "bfloat16" casts all first.
        seed: of the draws.
        draws: of the precision null.

    Returns:
        The document of `overlap_report`, with matrices for numbers: `observed` and each null have
        `both`, `one_sided` (row i, column j: share of run i's weights that run j changed too) and
        `jaccard`, [N, N] with None on a null model's diagonal; nulls have `z` besides.

    Raises:
        InputError: fewer than two runs, checkpoints of different models, unknown mode or dtype.
        FailureError: a checkpoint is damaged.
    """
    return _document(base, runs, Equality(mode, tolerance, read_dtype), seed, draws)


def _document(
    base: Source, runs: Sequence[Source], rule: Equality, seed: int, draws: int
) -> dict[str, Any]:
    if len(runs) < 2:
        raise InputError(f"{len(runs)} runs given; an overlap needs two or more")
    if draws < 0 or seed < 0:
        raise InputError(f"draws is {draws} and seed {seed}; expected at least 0")
    opened = [
        item if isinstance(item, Checkpoint) else open_checkpoint(item) for item in (base, *runs)
    ]
    together = align(*opened)
    parts = list(tallies(together, rule, seed, draws))
    layers: dict[str, list[Tally]] = {}
    matrices: dict[str, list[Tally]] = {}
    for part in parts:
        where = place(part.name)
        layers.setdefault("none" if where.layer is None else str(where.layer), []).append(part)
        matrices.setdefault(where.matrix, []).append(part)
    return {
        "base": _named(opened[0]),
        "runs": [_named(item) for item in opened[1:]],
        "rule": {"mode": rule.mode, "tolerance": rule.limit, "read_dtype": rule.read_dtype},
        "seed": seed,
        "draws": draws,
        "all": _table(total("all", parts, with_global=True)),
        "tensors": [_table(part) for part in parts],
        "layers": [_table(total(name, group)) for name, group in layers.items()],
        "matrices": [_table(total(name, group)) for name, group in matrices.items()],
        "missing": {name: list(shape) for name, shape in together.missing.items()},
        "extra": {name: list(shape) for name, shape in together.extra.items()},
        "reshaped": [
            {"name": item.name, "before": list(item.before), "after": list(item.after)}
            for item in together.reshaped
        ],
    }


def _named(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"path": str(checkpoint.path), "kind": checkpoint.kind, "step": checkpoint.step}


def _table(tally: Tally) -> dict[str, Any]:
    """One tally as matrices for JSON."""
    nulls: dict[str, Any] = {}
    for name in NULLS:
        if name != "uniform" and name not in tally.expected:
            continue
        expected = tally.null(name)
        deviation = np.sqrt(expected.variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (tally.both - expected.both) / deviation
        nulls[name] = _shares(expected.both, expected.updated, diagonal=False)
        nulls[name]["z"] = _plain(z, diagonal=False)
        if name == "precision_sign":
            nulls[name]["updated"] = _plain(expected.updated)
    where = "precision" if "precision_global" not in nulls else "precision_global"
    if tally.sigmas:
        nulls[where]["sigma"] = _plain(np.array(tally.sigmas))
    if len(tally.drawn):
        nulls["precision_drawn"] = _drawn(tally)
    share = 1 - tally.updated / max(tally.elements, 1)
    return {
        "name": tally.name,
        "elements": tally.elements,
        "updated": tally.updated.tolist(),
        "sparsity": _plain(share),
        "observed": _shares(tally.both, tally.updated),
        "nulls": nulls,
    }


def _ratios(both: np.ndarray, updated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided overlaps [N, N] and Jaccard indices [N, N]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return both / updated[:, None], both / (updated[:, None] + updated[None] - both)


def _shares(both: np.ndarray, updated: np.ndarray, diagonal: bool = True) -> dict[str, Any]:
    matrices = zip(("one_sided", "jaccard"), _ratios(both, updated), strict=True)
    shares = {name: _plain(matrix, diagonal) for name, matrix in matrices}
    return {"both": both.tolist() if diagonal else _plain(both, diagonal), **shares}


def _drawn(tally: Tally) -> dict[str, Any]:
    """Means over the draws and the standard errors of these means."""
    pairs = zip(tally.drawn, tally.drawn_updated, strict=True)
    ratios = np.array([_ratios(both, updated) for both, updated in pairs])
    count = len(ratios)
    found: dict[str, Any] = {"draws": count}
    for place_, name in enumerate(("one_sided", "jaccard")):
        values = ratios[:, place_]
        spread = values.std(axis=0, ddof=1) if count > 1 else np.full(values[0].shape, np.nan)
        found[name] = _plain(values.mean(axis=0), diagonal=False)
        found[f"{name}_standard_error"] = _plain(spread / np.sqrt(count), diagonal=False)
    return found


def _plain(values: np.ndarray, diagonal: bool = True) -> list[Any]:
    """Nested lists for JSON: None for what is not finite, and for the diagonal if asked."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    if not diagonal:
        np.fill_diagonal(plain, None)
    return plain.tolist()


def _of_two(table: dict[str, Any]) -> dict[str, Any]:
    """A table of matrices, of two runs, as single numbers."""
    observed = _pair(table["observed"])
    nulls = {name: _pair(null) for name, null in table["nulls"].items()}
    for null in nulls.values():
        if observed["o1"] is not None and null.get("o1") is not None:
            null["excess"] = observed["o1"] - null["o1"]
    return {**table, "observed": observed, "nulls": nulls}


def _pair(shares: dict[str, Any]) -> dict[str, Any]:
    single: dict[str, Any] = {}
    for name, matrix in shares.items():
        if name.startswith("one_sided"):
            single[name.replace("one_sided", "o1")] = matrix[0][1]
            single[name.replace("one_sided", "o2")] = matrix[1][0]
        elif name in ("sigma", "updated", "draws"):
            single[name] = matrix
        else:
            single[name] = matrix[0][1]
    return single
