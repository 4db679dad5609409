"""The JSON document of a comparison: its layout.

    schema      year and month of this layout, "26.1"
    before      {path, kind, step, parameters, left_out}: kind is run, orbax or safetensors; step of
    after       a run's checkpoint or null; left_out names what is in the files but no parameter
    settings    {mode, tolerance, rank}; every mode is counted, `mode` is the one asked for
    missing     [{name, shape}] tensors that only the checkpoint before has
    extra       [{name, shape}] tensors that only the checkpoint after has
    reshaped    [{name, before, after}] tensors whose shapes differ; none of these three is counted
    total       a summary (below) of all tensors that both have
    layers      [{layer, ...summary}]; tensors outside the layers are in no entry
    matrices    [{matrix, ...summary}] by matrix type, one of `names.MATRIX_TYPES`
    places      [{layer, matrix, ...summary}]; layer is null outside the layers
    paper       the numbers of the authors' script (SagnikMukherjee/sparsity_in_rl), per cent as
                shares: {zero, within_tolerance, sweep, layers: {layer: share of non-zero
                differences, tensors weighted alike}, rank: mean rank / min(shape) or null}
    tensors     [{name, layer, matrix, shape, dtypes, rank, ...summary}]; a layer of a stacked
                tensor is a tensor of its own; rank is null for vectors, else {full, matrix,
                matrix_bf16, stable, effective, energy: {"0.5": k, ...}, spectral_norm,
                noise_stable, curve}, see `rank.RankReport`

A summary is

    size        number of weights
    unchanged   {exact, absolute, bf16_exact, bf16_relative, paper: number of unchanged weights}
    sparsity    the same as shares of size (null if that is 0); see `equality.Equality` for the
                rules; bf16_exact compares bits after both were rounded to bfloat16
    sweep       {tolerance: number of weights within it}, in stored precision
    paper_sweep the same for differences in bfloat16
    non_finite  number of weights that are NaN or infinite in either checkpoint
    norms       {before, delta, relative, largest}: Frobenius norms of the finite weights before
                and of the difference, their quotient (null if before is 0), largest difference;
                null where float64 overflows
"""

import math
from collections.abc import Mapping
from typing import Any

from jaxreason.analysis.comparison import Comparison, TensorReport
from jaxreason.analysis.rank import RankReport
from jaxreason.analysis.sparsity import Counts
from jaxreason.analysis.tensors import Checkpoint

SCHEMA = "26.1"


def _side(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "path": str(checkpoint.path),
        "kind": checkpoint.kind,
        "step": checkpoint.step,
        "parameters": checkpoint.parameters,
        "left_out": list(checkpoint.left_out),
    }


def _keys(table: Mapping[float, int]) -> dict[str, int]:
    return {f"{key:g}": value for key, value in table.items()}


def _number(value: float) -> float | None:
    """The value, or None where float64 overflowed: JSON has no infinity."""
    return value if math.isfinite(value) else None


def summary(counts: Counts) -> dict[str, Any]:
    """Counts as a summary of the document."""
    before, delta = math.sqrt(counts.before_square), math.sqrt(counts.delta_square)
    return {
        "size": counts.size,
        "unchanged": dict(counts.unchanged),
        "sparsity": {name: counts.sparsity(name) for name in counts.unchanged},
        "sweep": _keys(counts.sweep),
        "paper_sweep": _keys(counts.paper_sweep),
        "non_finite": counts.non_finite,
        "norms": {
            "before": _number(before),
            "delta": _number(delta),
            "relative": _number(delta / before) if before else None,
            "largest": counts.delta_largest,
        },
    }


def _rank(report: RankReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "full": report.full,
        "matrix": report.matrix_rank,
        "matrix_bf16": report.matrix_rank_bf16,
        "stable": report.stable_rank,
        "effective": report.effective_rank,
        "energy": _keys(report.energy),
        "spectral_norm": report.spectral_norm,
        "noise_stable": report.noise_stable_rank,
        "curve": [round(value, 6) for value in report.curve],
    }


def _tensor(report: TensorReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "layer": report.place.layer,
        "matrix": report.place.matrix,
        "shape": list(report.shape),
        "dtypes": list(report.dtypes),
        "rank": _rank(report.rank),
        **summary(report.counts),
    }


def _paper(comparison: Comparison) -> dict[str, Any]:
    total = comparison.total()
    size = max(total.size, 1)
    return {
        "zero": total.paper_zero / size,
        "within_tolerance": total.unchanged["paper"] / size,
        "sweep": {name: value / size for name, value in _keys(total.paper_sweep).items()},
        "layers": {str(layer): share for layer, share in comparison.paper_layers().items()},
        "rank": comparison.paper_rank(),
    }


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON, in the layout above."""
    settings, together = comparison.settings, comparison.together
    return {
        "schema": SCHEMA,
        "before": _side(comparison.before),
        "after": _side(comparison.after),
        "settings": {
            "mode": settings.mode,
            "tolerance": settings.tolerance,
            "rank": settings.rank,
        },
        "missing": [{"name": name, "shape": list(s)} for name, s in together.missing.items()],
        "extra": [{"name": name, "shape": list(s)} for name, s in together.extra.items()],
        "reshaped": [
            {"name": item.name, "before": list(item.before), "after": list(item.after)}
            for item in together.reshaped
        ],
        "total": summary(comparison.total()),
        "layers": [{"layer": n, **summary(c)} for n, c in comparison.by_layer().items()],
        "matrices": [{"matrix": n, **summary(c)} for n, c in comparison.by_matrix().items()],
        "places": [
            {"layer": spot.layer, "matrix": spot.matrix, **summary(c)}
            for spot, c in comparison.by_place().items()
        ],
        "paper": _paper(comparison),
        "tensors": [_tensor(report) for report in comparison.tensors],
    }
