"""The tables of two compared checkpoints on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from jaxreason.analysis.comparison import Comparison
from jaxreason.analysis.sparsity import Counts

READINGS = {
    "exact": "same bits",
    "absolute": "within the tolerance",
    "bf16_exact": "same bits in bfloat16",
    "bf16_relative": "same in bfloat16, relative",
    "paper": "difference in bfloat16 within the tolerance",
}
"""Each reading in words."""

RANKS = {
    "matrix": "matrix\nrank",
    "matrix_bf16": "matrix,\nbfloat16",
    "effective": "effective\nrank",
    "stable": "stable\nrank",
    "noise": "stable, of\nnoise's",
}
"""Each of `mean_ranks` in words."""

_SHOWN = 20


def per_cent(part: float | None) -> str:
    """A share in per cent, or a dash; never rounded to all or nothing."""
    if part is None:
        return "–"
    text = f"{100 * part:.2f}"
    if text == "100.00" and part < 1:
        return ">99.99"
    return "<0.01" if text == "0.00" and part > 0 else text


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )


def mean_ranks(comparison: Comparison, matrix: str | None = None) -> dict[str, float] | None:
    """Means over matrices of the ranks as shares of the full rank, and of stable rank by noise's.

    Args:
        comparison: of two checkpoints.
        matrix: only this matrix type.

    Returns:
        {matrix, matrix_bf16, stable, effective, noise}: `noise` is the stable rank as a share of
        what noise of the same shape would have; None without ranks.
    """
    reports = [
        tensor.rank
        for tensor in comparison.tensors
        if tensor.rank is not None and (matrix is None or tensor.place.matrix == matrix)
    ]
    if not reports:
        return None
    number = len(reports)
    return {
        "matrix": sum(item.matrix_rank / item.full for item in reports) / number,
        "matrix_bf16": sum((item.matrix_rank_bf16 or 0) / item.full for item in reports) / number,
        "stable": sum(item.stable_rank / item.full for item in reports) / number,
        "effective": sum(item.effective_rank / item.full for item in reports) / number,
        "noise": sum(item.stable_rank / item.noise_stable_rank for item in reports) / number,
    }


def tables(comparison: Comparison) -> Iterator[Any]:
    """What `jaxreason compare` prints: totals, layers, matrix types, what is not in common.

    Args:
        comparison: of two checkpoints.

    Yields:
        rich renderables.
    """
    yield _totals(comparison)
    yield _sweep(comparison)
    if comparison.settings.mode == "paper":
        yield _paper(comparison)
    yield _matrices(comparison)
    if mean_ranks(comparison) is not None:
        yield _ranks(comparison)
    if comparison.by_layer():
        yield _layers(comparison)
    yield from _differences(comparison)


def _totals(comparison: Comparison) -> Table:
    total = comparison.total()
    table = _table(f"Unchanged weights of {total.size:,}, per cent")
    table.add_column("rule")
    table.add_column("unchanged", justify="right")
    for name, words in READINGS.items():
        style = "bold" if name == comparison.settings.reading else ""
        if name in ("absolute", "paper"):
            words = words.replace("tolerance", f"tolerance {comparison.settings.tolerance:g}")
        table.add_row(Text(words, style), Text(per_cent(total.sparsity(name)), style))
    if total.non_finite:
        table.add_row(Text("NaN or infinite weights", "red"), f"{total.non_finite:,}")
    return table


def _sweep(comparison: Comparison) -> Table:
    total = comparison.total()
    table = _table("By tolerance, per cent")
    table.add_column("difference in")
    for tolerance in total.sweep:
        table.add_column(f"{tolerance:g}", justify="right")
    rows: tuple[tuple[str, Mapping[float, int]], ...] = (
        ("stored precision", total.sweep),
        ("bfloat16", total.paper_sweep),
    )
    for words, sweep in rows:
        size = total.size
        table.add_row(words, *(per_cent(n / size if size else None) for n in sweep.values()))
    return table


def _paper(comparison: Comparison) -> Table:
    total = comparison.total()
    table = _table("As Mukherjee et al. 2025 count")
    table.add_column("")
    table.add_column("share", justify="right")
    size = max(total.size, 1)
    table.add_row("differences that are zero", f"{total.paper_zero / size:.4f}")
    close = total.unchanged["paper"] / size
    table.add_row(f"within {comparison.settings.tolerance:.0e}", f"{close:.4f}")
    rank = comparison.paper_rank()
    table.add_row("mean rank / full rank", "–" if rank is None else f"{rank:.4f}")
    for layer, share in comparison.paper_layers().items():
        table.add_row(f"layer {layer}, mean non-zero share", f"{share:.4f}")
    return table


def _columns(table: Table, first: str, reading: str) -> tuple[str, ...]:
    """Adds the columns that `_row` fills; returns the readings shown."""
    table.add_column(first, no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    shown = (reading, "bf16_exact" if reading == "exact" else "exact")
    for name in shown:
        table.add_column(f"unchanged\n{name}", justify="right", no_wrap=True)
    table.add_column("|Δ| / |W|", justify="right", no_wrap=True)
    table.add_column("largest Δ", justify="right", no_wrap=True)
    return shown


def _row(counts: Counts, shown: tuple[str, ...]) -> tuple[str, ...]:
    relative = (counts.delta_square / counts.before_square) ** 0.5 if counts.before_square else None
    return (
        f"{counts.size:,}",
        *(per_cent(counts.sparsity(name)) for name in shown),
        "–" if relative is None else f"{relative:.2e}",
        f"{counts.delta_largest:.1e}",
    )


def _matrices(comparison: Comparison) -> Table:
    table = _table("By matrix type, per cent of weights")
    shown = _columns(table, "matrix", comparison.settings.reading)
    for matrix, counts in comparison.by_matrix().items():
        table.add_row(matrix, *_row(counts, shown))
    return table


def _ranks(comparison: Comparison) -> Table:
    table = _table("Mean rank of the difference, % of full rank")
    table.add_column("matrix", no_wrap=True)
    for name in RANKS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for matrix in [*comparison.by_matrix(), None]:
        ranks = mean_ranks(comparison, matrix)
        if ranks is not None:
            table.add_row(matrix or "all", *(per_cent(ranks[name]) for name in RANKS))
    return table


def _layers(comparison: Comparison) -> Table:
    table = _table("By layer, per cent of weights")
    shown = _columns(table, "layer", comparison.settings.reading)
    for layer, counts in comparison.by_layer().items():
        table.add_row(str(layer), *_row(counts, shown))
    return table


def _differences(comparison: Comparison) -> Iterator[Text]:
    together = comparison.together
    groups = {
        "only before": [f"{name} {list(shape)}" for name, shape in together.missing.items()],
        "only after": [f"{name} {list(shape)}" for name, shape in together.extra.items()],
        "of another shape": [
            f"{item.name} {list(item.before)} to {list(item.after)}" for item in together.reshaped
        ],
        "in the files, but no parameters": [
            *comparison.before.left_out,
            *(name for name in comparison.after.left_out if name not in comparison.before.left_out),
        ],
    }
    for words, names in groups.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            listed = ", ".join(names[:_SHOWN])
            yield Text(f"Not counted, {words} ({len(names)}): {listed}{more}", "yellow")
