"""Figures of overlaps: functions of a document and a theme, giving PNG bytes.

None means that the document does not have what the figure shows.
"""

from typing import Any

import numpy as np

from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.overlap_tables import NULLS, run_labels
from jaxreason.evaluation.style import Theme, png, regime_color, styled


def every_two(document: dict[str, Any], theme: Theme) -> bytes | None:
    """One-sided overlap of every two of N runs: observed, expected by precision, and the excess.

    Args:
        document: of `analysis.overlap.overlap_matrix`.
        theme: of the figure.
    """
    from matplotlib.colors import LinearSegmentedColormap

    total, labels = document["total"], run_labels(document)
    observed = 100 * np.array(total["observed"]["one_sided"], float)
    uniform = 100 * np.array(total["nulls"]["uniform"]["one_sided"], float)
    precision = 100 * np.array(total["nulls"]["precision"]["one_sided"], float)
    np.fill_diagonal(observed, np.nan)
    if not np.isfinite(observed).any():
        return None
    blue, orange = regime_color(theme, "correct"), regime_color(theme, "swapped")
    shares = LinearSegmentedColormap.from_list("shares", [theme.grid, blue])
    both_ways = LinearSegmentedColormap.from_list("excess", [orange, theme.background, blue])
    panels = (
        ("Observed, %", observed, shares, (0.0, 100.0), "{:.1f}"),
        ("Independent updates, rounded, %", precision, shares, (0.0, 100.0), "{:.1f}"),
        ("Observed less that, points", observed - precision, both_ways, None, "{:+.1f}"),
    )
    count = len(labels)
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 1.5 + WIDTH / 3.6), layout="constrained")
        for axes, (title, values, colors, limits, form) in zip(
            figure.subplots(1, 3), panels, strict=True
        ):
            if limits is None:
                largest = max(1.0, float(np.nanmax(np.abs(values), initial=0)))
                limits = (-largest, largest)
            axes.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1])
            axes.set_title(title)
            axes.set_xticks(range(count), labels, rotation=40, ha="right")
            axes.set_yticks(range(count), labels if title.startswith("Observed, ") else [])
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_visible(False)
            if count <= 8:
                _numbers(axes, values, limits, form, theme)
                if title.startswith("Observed, "):
                    _numbers(axes, uniform, limits, "({:.0f})", theme, values, below=True)
        note = "rows: of this run's changed weights, the share that the column's run changed too"
        figure.supxlabel(f"{note}; (in brackets: by chance)", fontsize=8.5, color=theme.muted)
        return png(figure)


def _numbers(
    axes: Any,
    values: np.ndarray,
    limits: tuple[float, float],
    form: str,
    theme: Theme,
    ground: np.ndarray | None = None,
    below: bool = False,
) -> None:
    """Writes numbers into cells, light where `ground` (or the number) made the cell dark."""
    ground = values if ground is None else ground
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = abs(ground[i, j]) > 0.6 * limits[1]
            axes.text(
                j,
                i + (0.24 if below else 0),
                form.format(value),
                ha="center",
                va="center",
                fontsize=6.5 if below else 8.5,
                c=theme.background if dark else theme.text,
            )


def against_nulls(document: dict[str, Any], theme: Theme) -> bytes | None:
    """Observed overlap of two runs beside every null model, in all and by matrix type.

    Args:
        document: of `analysis.overlap.overlap_report`.
        theme: of the figure.
    """
    groups = [("all", document["total"])]
    groups += [(item["matrix"].replace("_", " "), item) for item in document["matrices"]]
    groups = [(name, table) for name, table in groups if table["observed"]["jaccard"] is not None]
    if not groups:
        return None
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        x = np.arange(len(groups))
        heights = [100 * table["observed"]["jaccard"] for _, table in groups]
        top = max(heights)
        handles = {"observed": axes.bar(x, heights, 0.7, color=regime_color(theme, "correct"))}
        marks = (
            ("uniform", "_", theme.text),
            ("magnitude_matched", "D", regime_color(theme, "dropped")),
            ("precision", "o", regime_color(theme, "swapped")),
        )
        for shift, (name, marker, color) in zip((-0.18, 0, 0.18), marks, strict=True):
            values = [table["nulls"][name]["jaccard"] for _, table in groups]
            style: dict[str, Any] = {"linestyle": "", "marker": marker, "color": color}
            if marker == "_":
                style |= {"ms": 16, "markeredgewidth": 2}
            else:
                style |= {"ms": 6, "markeredgecolor": theme.background}
            marked = [np.nan if value is None else 100 * value for value in values]
            top = max(top, np.nanmax(marked))
            handles[NULLS[name]] = axes.plot(x + shift, marked, **style)[0]
        axes.set_xticks(x, [name for name, _ in groups])
        axes.set_ylim(0, min(104, 1.2 * top + 1))
        axes.set_title("Jaccard index of the changed weights, %")
        axes.grid(visible=False, axis="x")
        legend(figure, list(handles.values()), list(handles))
        return png(figure)
