"""One house style for all figures, in a light and a dark version.

Each regime has a fixed colour, from a palette that stays apart under the common colour-vision
deficiencies (after Okabe and Ito 2008); the baseline without traces is grey. Mazes have the colours
of all maze pictures (`mazes.palette`), lightened where the page is dark.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from jaxreason.mazes import palette
from jaxreason.mazes.palette import hexadecimal as _hex


@dataclass(frozen=True)
class Theme:
    """Colours of a figure.

    Attributes:
        name: "light" or "dark".
        background: of the page and the figure.
        text: of titles.
        muted: of axes and labels.
        grid: of lines behind the data.
        regimes: colour of each regime.
        other: of what is no known regime.
        wall: of a wall cell.
        free: of a free cell.
        search: first and last colour of the cells a search closed.
        created: of cells created but never closed.
        plan: of the plan.
        error: of the first error.
        start: of the start.
        goal: of the goal.
    """

    name: str
    background: str
    text: str
    muted: str
    grid: str
    regimes: dict[str, str]
    other: str
    wall: str
    free: str
    created: str
    plan: str
    error: str
    start: str
    goal: str
    search: tuple[str, str]


LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1c2430",
    muted="#5b6675",
    grid="#e4e8ee",
    regimes={
        "solution_only": "#8a93a0",
        "correct": "#0072b2",
        "swapped": "#d55e00",
        "dropped": "#009e73",
    },
    other="#a06fae",
    wall=_hex(palette.WALL),
    free=_hex(palette.FREE),
    created=_hex(palette.CREATED),
    plan=_hex(palette.PLAN),
    error=_hex(palette.ERROR),
    start=_hex(palette.START),
    goal=_hex(palette.GOAL),
    search=(_hex(palette.CLOSED_FIRST), _hex(palette.CLOSED_LAST)),
)


def _lighter(colour: palette.Colour) -> str:
    return _hex(palette.mix(colour, palette.FREE, 0.3))


DARK = Theme(
    name="dark",
    background="#161b22",
    text="#e8edf3",
    muted="#9aa7b6",
    grid="#2a323d",
    regimes={
        "solution_only": "#9ba5b3",
        "correct": "#56b4e9",
        "swapped": "#f08a3c",
        "dropped": "#2bc29b",
    },
    other="#cc9ad8",
    wall="#0a0d12",
    free="#39424f",
    created="#5a5140",
    plan=_lighter(palette.PLAN),
    error=_lighter(palette.ERROR),
    start=_lighter(palette.START),
    goal=_lighter(palette.GOAL),
    search=(_lighter(palette.CLOSED_LAST), "#2c5680"),
)
THEMES = (LIGHT, DARK)


def regime_color(theme: Theme, regime: str) -> str:
    """The fixed colour of a regime."""
    return theme.regimes.get(regime, theme.other)


@contextmanager
def styled(theme: Theme) -> Iterator[Any]:
    """Gives `matplotlib.figure.Figure` under the house style; no global state is left behind."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.muted,
        "axes.titlecolor": theme.text,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "text.color": theme.text,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "legend.labelcolor": theme.muted,
        "font.family": "DejaVu Sans",
        "lines.linewidth": 1.8,
    }
    with matplotlib.rc_context(settings):
        yield Figure


def png(figure: Any, dots_per_inch: int = 150) -> bytes:
    """The figure as PNG; the same bytes for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()
