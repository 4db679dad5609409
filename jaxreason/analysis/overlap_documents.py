"""The JSON document of an overlap: its layout.

    schema      year and month of this layout, "26.1"
    base        {path, kind, step, parameters}: what all runs started from
    runs        [{path, kind, step, parameters}] N of them
    settings    {mode, tolerance, read_dtype, seed, draws}
    missing     [{name, shape}] tensors that the base has and a run has not
    extra       [{name, shape}] tensors that a run has and the base has not
    reshaped    [{name, before, after}] of another shape in a run; none of these three is counted
    total       a table (below) of all tensors that base and runs have
    layers      [{layer, ...table}]; tensors outside the layers are in no entry
    matrices    [{matrix, ...table}] by matrix type, one of `names.MATRIX_TYPES`
    tensors     [{name, layer, matrix, shape, ...table}]

A table is

    size        number of weights
    updated     [N] number of weights each run changed
    sparsity    [N] share of weights each run left alone
    observed    {both, one_sided, jaccard}
    nulls       {name: {both, one_sided, jaccard, z}}; the names are those of `overlap_tally.NULLS`
                (`precision_global` in `total` only)

and in it

    both        [N, N] number of weights that two runs both changed; expected ones of nulls
    one_sided   [N, N] in row i, column j the share of run i's weights that run j changed too
    jaccard     [N, N] shared weights among those that either changed
    z           [N, N] observed number less the expected one, over its standard deviation
    sigma       [N] of `precision` (tensors only) and `precision_global`: standard deviation of the
                Gaussian update; null where no sigma hides that little (or nothing is rounded)
    updated     [N] of `precision_sign`, which meets the numbers of changed weights only nearly
    draws       of `precision_drawn` (if draws were asked for), where one_sided and jaccard are
                means over them, with one_sided_standard_error and jaccard_standard_error

What has no value (a ratio without denominator, a null model's diagonal) is null. The document of
exactly two runs (`overlap_report`) has single numbers for the matrices: `o1` (row 1, column 2) and
`o2` (row 2, column 1) for `one_sided`, and in each null `excess`, the observed o1 less its own.
"""

from typing import Any

import numpy as np

from jaxreason.analysis.equality import Equality
from jaxreason.analysis.names import MATRIX_TYPES, place
from jaxreason.analysis.overlap_tally import NULLS, Tally, total
from jaxreason.analysis.pairing import Together
from jaxreason.analysis.tensors import Checkpoint

SCHEMA = "26.1"


def document(
    together: Together, parts: list[Tally], rule: Equality, seed: int, draws: int
) -> dict[str, Any]:
    """The document of N runs.

    Args:
        together: base and runs.
        parts: a tally of each common tensor.
        rule: by which weights counted as unchanged.
        seed: of the draws.
        draws: their number.
    """
    layers: dict[int, list[Tally]] = {}
    matrices: dict[str, list[Tally]] = {}
    tensors = []
    for part in parts:
        layer, matrix = place(part.name)
        if layer is not None:
            layers.setdefault(layer, []).append(part)
        matrices.setdefault(matrix, []).append(part)
        shape = list(together.shapes[part.name])
        named = {"name": part.name, "layer": layer, "matrix": matrix, "shape": shape}
        tensors.append({**named, **_table(part)})
    base, *runs = together.checkpoints
    return {
        "schema": SCHEMA,
        "base": _side(base),
        "runs": [_side(run) for run in runs],
        "settings": {
            "mode": rule.mode,
            "tolerance": rule.limit,
            "read_dtype": rule.read_dtype,
            "seed": seed,
            "draws": draws,
        },
        "missing": [{"name": name, "shape": list(s)} for name, s in together.missing.items()],
        "extra": [{"name": name, "shape": list(s)} for name, s in together.extra.items()],
        "reshaped": [
            {"name": item.name, "before": list(item.before), "after": list(item.after)}
            for item in together.reshaped
        ],
        "total": _table(total("total", parts, with_global=True)),
        "layers": [{"layer": n, **_table(total(str(n), layers[n]))} for n in sorted(layers)],
        "matrices": [
            {"matrix": n, **_table(total(n, matrices[n]))} for n in MATRIX_TYPES if n in matrices
        ],
        "tensors": tensors,
    }


def of_two(found: dict[str, Any]) -> dict[str, Any]:
    """The document of exactly two runs, with single numbers for matrices."""
    groups = {
        name: [_single(table) for table in found[name]]
        for name in ("layers", "matrices", "tensors")
    }
    return {**found, **groups, "total": _single(found["total"])}


def _side(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "path": str(checkpoint.path),
        "kind": checkpoint.kind,
        "step": checkpoint.step,
        "parameters": checkpoint.parameters,
    }


def _table(tally: Tally) -> dict[str, Any]:
    updated = tally.updated.tolist()
    nulls: dict[str, Any] = {}
    for name in NULLS:
        if name != "uniform" and name not in tally.expected:
            continue
        expected = tally.null(name)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (tally.both - expected.both) / np.sqrt(expected.variance)
        nulls[name] = _shares(expected.both, expected.updated, diagonal=False)
        nulls[name]["z"] = _plain(z, diagonal=False)
        if name == "precision_sign":
            nulls[name]["updated"] = _plain(expected.updated)
    if tally.sigmas:
        where = "precision_global" if "precision_global" in nulls else "precision"
        nulls[where]["sigma"] = _plain(np.array(tally.sigmas))
    if len(tally.drawn):
        nulls["precision_drawn"] = _drawn(tally)
    return {
        "size": tally.elements,
        "updated": updated,
        "sparsity": [1 - n / tally.elements if tally.elements else None for n in updated],
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


def _single(table: dict[str, Any]) -> dict[str, Any]:
    """A table of two runs with single numbers for matrices."""
    observed = _pair(table["observed"])
    nulls = {name: _pair(null) for name, null in table["nulls"].items()}
    for null in nulls.values():
        known = observed["o1"] is not None and null["o1"] is not None
        null["excess"] = observed["o1"] - null["o1"] if known else None
    return {**table, "observed": observed, "nulls": nulls}


def _pair(shares: dict[str, Any]) -> dict[str, Any]:
    single: dict[str, Any] = {}
    for name, value in shares.items():
        if name in ("sigma", "updated", "draws"):
            single[name] = value
        elif name.startswith("one_sided"):
            single[name.replace("one_sided", "o1")] = value[0][1]
            single[name.replace("one_sided", "o2")] = value[1][0]
        else:
            single[name] = value[0][1]
    return single
