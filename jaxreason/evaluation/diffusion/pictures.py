"""Sheets of pictures a model made beside what they should be."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.evaluation.style import THEMES, Theme, png, styled


class Panel(NamedTuple):
    """One picture of a sheet.

    Attributes:
        image: uint8 [rows, columns, 3], or None to leave the place empty.
        caption: under it.
        good: colours the caption and the frame: True right, False wrong, None neither.
        outlined: bool [rows, columns] of places to outline (wrong cells), or None.
    """

    image: np.ndarray | None
    caption: str = ""
    good: bool | None = None
    outlined: np.ndarray | None = None


def sheet(rows: Sequence[Sequence[Panel]], names: Sequence[str]) -> dict[str, bytes]:
    """PNGs of a grid of pictures in the light and the dark house style.

    Args:
        rows: panels; all rows equally long.
        names: of the rows, shown on their left.

    Raises:
        InputError: rows of different length, or not as many names as rows.
    """
    if len({len(row) for row in rows}) != 1 or len(rows) != len(names):
        raise InputError(
            f"a sheet needs rows of one length and a name for each, got lengths "
            f"{[len(row) for row in rows]} and {len(names)} names"
        )
    return {theme.name: _draw(rows, names, theme) for theme in THEMES}


def _draw(rows: Sequence[Sequence[Panel]], names: Sequence[str], theme: Theme) -> bytes:
    columns = len(rows[0])
    side = min(1.7, 8.6 / columns)
    with styled(theme) as figure_class:
        figure = figure_class(
            figsize=(side * columns + 1.4, (side + 0.26) * len(rows)), layout="constrained"
        )
        figure.get_layout_engine().set(h_pad=0.04, w_pad=0.04)
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for line, panels, name in zip(axes, rows, names, strict=True):
            for panel_axes, panel in zip(line, panels, strict=True):
                draw_panel(panel_axes, panel, theme)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=10)
        return png(figure)


def draw_panel(axes: Any, panel: Panel, theme: Theme) -> None:
    """Draws one picture with its caption and outlines."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    color = {True: theme.start, False: theme.error, None: theme.muted}[panel.good]
    for spine in axes.spines.values():
        spine.set_visible(panel.image is not None)
        spine.set_color(theme.grid if panel.good is None else color)
        spine.set_linewidth(1.0 if panel.good is None else 1.8)
    if panel.image is None:
        axes.set_facecolor(theme.background)
        return
    height, width = panel.image.shape[:2]
    axes.imshow(panel.image, interpolation="nearest", extent=(0, width, height, 0))
    if panel.outlined is not None:
        _outline(axes, panel.outlined, height, width, theme)
    if panel.caption:
        axes.set_xlabel(panel.caption, fontsize=8, color=color)


def _outline(axes: Any, places: np.ndarray, height: int, width: int, theme: Theme) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = places.shape
    tall, wide = height / rows, width / columns
    for row, column in np.argwhere(places):
        corner = ((column + 0.06) * wide, (row + 0.06) * tall)
        box = Rectangle(corner, 0.88 * wide, 0.88 * tall, fill=False, lw=1.6, ec=theme.error)
        axes.add_patch(box)
