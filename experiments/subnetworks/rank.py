"""How many directions an update uses, by the paper's measure and by ones rounding does not fool.

    python experiments/subnetworks/rank.py

Means over all matrices, beside the same measures of two controls of the same norm in every matrix:
independent Gaussian noise, and an update of rank one. Uses the runs of sparsity.py and takes a
minute. Writes results/rank.{json,md,png}.
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from measures import base_and
from outputs import Sheet, cell, dot_rows, publish, spread
from study import Study, from_command_line

from jaxreason.analysis.pairing import align
from jaxreason.analysis.rank import RankReport, as_matrix, update_rank
from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled

MEASURES: dict[str, tuple[str, Callable[[RankReport], float]]] = {
    "matrix": ("matrix rank, fp32", lambda r: r.matrix_rank / r.full),
    "matrix_bf16": ("matrix rank, bf16 (paper)", lambda r: (r.matrix_rank_bf16 or 0) / r.full),
    "effective": ("effective rank", lambda r: r.effective_rank / r.full),
    "energy": ("directions with 90 % of energy", lambda r: r.energy[0.9] / r.full),
    "stable": ("stable rank", lambda r: r.stable_rank / r.full),
}
"""Shares of the full rank, in the order of tables."""

KINDS = {"update": "the update", "noise": "Gaussian noise", "rank_one": "rank one"}

Control = Callable[[str, np.ndarray], np.ndarray]


def noise(name: str, delta: np.ndarray) -> np.ndarray:
    """Independent Gaussian entries with the norm of the update."""
    drawn = _random(name, 0).standard_normal(delta.shape)
    return _as_large(drawn, delta)


def rank_one(name: str, delta: np.ndarray) -> np.ndarray:
    """The product of two random vectors with the norm of the update."""
    matrix = as_matrix(name, delta)
    if matrix is None:
        return delta
    random = _random(name, 1)
    rows, columns = (random.standard_normal(size) for size in matrix.shape)
    drawn = np.outer(rows, columns)
    return _as_large(drawn.reshape(delta.shape), delta)


def _random(name: str, kind: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), kind])


def _as_large(drawn: np.ndarray, delta: np.ndarray) -> np.ndarray:
    return (drawn * (np.linalg.norm(delta) / np.linalg.norm(drawn))).astype(np.float32)


def ranks(study: Study, run: str, control: Control | None = None) -> dict[str, float]:
    """Means over matrices of every measure.

    Args:
        study: where the runs are.
        run: its update is measured.
        control: makes of (name, update of a tensor) another update to measure instead.
    """
    found: list[RankReport] = []
    for name, (before, after) in align(*base_and(study, run)):
        if control is not None:
            # Stored as the run is: added, and rounded to the dtype.
            after = (before + control(name, after - before)).astype(after.dtype)
        report = update_rank(name, before, after)
        if report is not None:
            found.append(report)
    return {
        measure: float(np.mean([share(report) for report in found]))
        for measure, (_, share) in MEASURES.items()
    }


def measure(study: Study) -> dict[str, Any]:
    """Trains what is missing and measures updates and, of the first seed's, the controls."""
    study.ensure(study.main_runs())
    methods = {}
    for method in study.methods:
        runs = [f"{method}-{seed}" for seed in study.seeds]
        kinds = {
            "update": [ranks(study, run) for run in runs],
            "noise": [ranks(study, runs[0], noise)],
            "rank_one": [ranks(study, runs[0], rank_one)],
        }
        methods[method] = {
            kind: {measure: spread([one[measure] for one in found]) for measure in MEASURES}
            for kind, found in kinds.items()
        }
    return {"methods": methods}


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """Updates of every method; then the controls, which hardly depend on the method."""
    headers = ["", *(words for words, _ in MEASURES.values())]

    def row(label: str, found: dict[str, Any]) -> list[str]:
        return [label, *(cell(found[measure]) for measure in MEASURES)]

    methods = document["methods"]
    rows = [row(name.upper(), kinds["update"]) for name, kinds in methods.items()]
    for kind in ("noise", "rank_one"):
        means = {
            measure: spread([kinds[kind][measure]["mean"] for kinds in methods.values()])
            for measure in MEASURES
        }
        rows.append(row(f"{KINDS[kind]} of the same norm", means))
    title = (
        "Rank of the update as a share of the full rank, mean over matrices: per cent, mean ± "
        "standard error over seeds (of the controls: over methods)."
    )
    return [Sheet(title, headers, rows)]


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """Every measure in a panel: update, noise and rank one."""
    methods = document["methods"]
    labels = [name.upper() for name in methods]
    looks = {
        "update": (regime_color(theme, "correct"), "o"),
        "noise": (regime_color(theme, "swapped"), "s"),
        "rank_one": (theme.muted, "D"),
    }
    handles: dict[str, Any] = {}
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 1.3 + 0.36 * len(labels)), layout="constrained")
        panels = drawn.subplots(1, len(MEASURES), sharey=True)
        for axes, (measure, (words, _)) in zip(panels, MEASURES.items(), strict=True):
            series = {
                KINDS[kind]: ([kinds[kind][measure] for kinds in methods.values()], *look)
                for kind, look in looks.items()
            }
            handles |= dot_rows(axes, labels, series)
            axes.set_xlim(-4, 104)
            axes.set_title(words.replace(", ", ",\n").replace(" with ", "\nwith "), fontsize=9)
        drawn.supxlabel("share of the full rank, %", fontsize=9, color=theme.muted)
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(study, "rank", document, sheets(document), figure(document, LIGHT))
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
