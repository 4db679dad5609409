"""The figures of two compared checkpoints: functions of a comparison and a theme, giving PNG bytes.

None means that the comparison does not have what the figure shows.
"""

from typing import Any

import numpy as np

from jaxreason.analysis.comparison import Comparison, TensorReport
from jaxreason.analysis.names import MATRIX_TYPES, Place
from jaxreason.analysis.rank import curve_places, noise_singular_values
from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import Theme, png, regime_color, styled

_LABELLED = 40  # rows of the heat map that still have room for numbers


def _label(share: float) -> str:
    """Per cent, with a decimal near the ends; only all and nothing say 100 and 0."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f}"
    if 0.1 <= share < 0.99:
        return f"{100 * share:.0f}"
    return f"{min(max(100 * share, 0.1), 99.9):.1f}"


def heat_map(comparison: Comparison, theme: Theme) -> bytes | None:
    """Share of unchanged weights by layer and matrix type, in the comparison's mode."""
    from matplotlib.colors import LinearSegmentedColormap

    places = comparison.by_place()
    layers = sorted({spot.layer for spot in places if spot.layer is not None})
    rows: list[int | None] = [*layers]
    if any(spot.layer is None for spot in places):
        rows.append(None)
    columns = [name for name in MATRIX_TYPES if any(spot.matrix == name for spot in places)]
    shares = np.full((len(rows), len(columns)), np.nan)
    for i, layer in enumerate(rows):
        for j, matrix in enumerate(columns):
            counts = places.get(Place(layer, matrix))
            if counts is not None and counts.size:
                shares[i, j] = counts.unchanged[comparison.settings.reading] / counts.size
    with styled(theme) as figure_class:
        height = min(1.6 + 0.32 * len(rows), 11.0)
        figure = figure_class(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        colors = LinearSegmentedColormap.from_list("shares", [theme.grid, theme.regimes["correct"]])
        image = axes.imshow(shares, cmap=colors, vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns])
        names = ["outside" if layer is None else str(layer) for layer in rows]
        step = max(1, len(rows) // _LABELLED)
        axes.set_yticks(range(0, len(rows), step), names[::step])
        axes.set_ylabel("layer")
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if len(rows) <= _LABELLED:
            for (i, j), share in np.ndenumerate(shares):
                if np.isfinite(share):
                    color = theme.background if share > 0.6 else theme.text
                    axes.text(
                        j, i, _label(float(share)), ha="center", va="center", fontsize=8, c=color
                    )
        bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], pad=0.01, aspect=30)
        bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
        bar.outline.set_visible(False)
        return png(figure)


def sweep(comparison: Comparison, theme: Theme) -> bytes | None:
    """Share of unchanged weights against the absolute tolerance, beside the other rules."""
    total = comparison.total()
    if not total.size:
        return None
    blue, orange = regime_color(theme, "correct"), regime_color(theme, "swapped")
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        handles: dict[str, Any] = {}
        for words, counts, color, marker in (
            ("difference in stored precision", total.sweep, blue, "o"),
            ("difference in bfloat16 (the paper's)", total.paper_sweep, orange, "s"),
        ):
            handles[words] = axes.plot(
                list(counts),
                [100 * count / total.size for count in counts.values()],
                color=color,
                marker=marker,
                ms=5,
                clip_on=False,
                zorder=3,
            )[0]
        for words, reading, color, dash in (
            ("same bits", "exact", blue, (0, (5, 1.5))),
            ("same bits in bfloat16", "bf16_exact", orange, (0, (1.5, 1.2))),
        ):
            share = 100 * total.unchanged[reading] / total.size
            handles[words] = axes.axhline(share, color=color, linestyle=dash, linewidth=1.2)
        axes.set_xscale("log")
        axes.set_xlabel("absolute tolerance")
        axes.set_ylabel("unchanged weights, %")
        axes.set_ylim(-2, 102)
        legend(figure, list(handles.values()), list(handles))
        return png(figure)


def spectra(comparison: Comparison, theme: Theme) -> bytes | None:
    """Singular values of each matrix's difference, beside those expected of noise."""
    groups: dict[str, list[TensorReport]] = {}
    for tensor in comparison.tensors:
        if tensor.rank is not None and any(tensor.rank.curve):
            groups.setdefault(tensor.place.matrix, []).append(tensor)
    if not groups:
        return None
    names = [name for name in MATRIX_TYPES if name in groups]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 0.6 + 2.1 * rows), layout="constrained")
        grid: dict[str, Any] = {"squeeze": False, "sharex": True, "sharey": True}
        panels = figure.subplots(rows, columns, **grid).ravel()
        handles: dict[str, Any] = {}
        for axes, name in zip(panels, names, strict=False):
            handles |= _spectrum_panel(axes, groups[name], theme)
            axes.set_title(name.replace("_", " "))
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("rank of the singular value, share of all", fontsize=9, color=theme.muted)
        figure.supylabel("share of the largest", fontsize=9, color=theme.muted)
        legend(figure, list(handles.values()), list(handles))
        return png(figure)


def _spectrum_panel(axes: Any, tensors: list[TensorReport], theme: Theme) -> dict[str, Any]:
    blue, orange = regime_color(theme, "correct"), regime_color(theme, "swapped")
    handles: dict[str, Any] = {}
    for shape in {tensor.rank.shape for tensor in tensors if tensor.rank is not None}:
        places = curve_places(min(shape))
        x = (places + 0.5) / min(shape)
        for tensor in tensors:
            if tensor.rank is not None and tensor.rank.shape == shape:
                style = {"color": blue, "alpha": 0.55, "linewidth": 1.0}
                handles["difference, one line per matrix"] = axes.plot(
                    x, tensor.rank.curve, **style
                )[0]
        noise = noise_singular_values(shape)[places]
        handles["independent Gaussian noise"] = axes.plot(
            x, noise, color=orange, linestyle=(0, (5, 1.5)), linewidth=1.4
        )[0]
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.04)
    return handles
