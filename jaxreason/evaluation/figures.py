"""The figures of a report: functions of runs and a theme that return PNG bytes, or None.

None means that the runs do not have what the figure shows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.evaluation.published import published
from jaxreason.evaluation.runs import (
    GENERATOR_LABELS,
    REGIME_LABELS,
    RunRecord,
    generators_of,
    pooled_counts,
    pooled_share,
    regimes_of,
)
from jaxreason.evaluation.style import Theme, png, regime_color, styled

WIDTH = 10.0
"""Inches; every figure is as wide as the page."""

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def generator_label(generator: str) -> str:
    """A generator in words."""
    return GENERATOR_LABELS.get(generator, generator)


def dash(runs: Sequence[RunRecord], run: RunRecord) -> Any:
    """Runs of one regime share its colour and differ in their line."""
    same = [other for other in runs if other.regime == run.regime]
    return _DASHES[same.index(run) % len(_DASHES)]


def legend(figure: Any, handles: Any, labels: Sequence[str]) -> None:
    """One line of keys above the panels."""
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=max(1, min(len(labels), 5)),
        handlelength=1.6,
        markerscale=1.3,
        borderaxespad=0.2,
    )


def headline(runs: Sequence[RunRecord], theme: Theme) -> bytes | None:
    """Plan validity by generator and regime with one standard error; the paper's at 30x30."""
    generators, regimes = generators_of(runs), regimes_of(runs)
    if not generators:
        return None
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        bar = 0.8 / len(regimes)
        handles: dict[str, Any] = {}
        for place, (regime, members) in enumerate(regimes.items()):
            shares = [pooled_share(members, name, "plan_valid") for name in generators]
            x = np.arange(len(generators)) + (place - (len(regimes) - 1) / 2) * bar
            color = regime_color(theme, regime)
            heights = [100 * (item.value or 0) for item in shares]
            handles[REGIME_LABELS.get(regime, regime)] = axes.bar(
                x, heights, 0.88 * bar, color=color
            )
            errors = [100 * (item.standard_error or 0) for item in shares]
            below = np.minimum(errors, heights)
            style = {"fmt": "none", "ecolor": theme.text, "elinewidth": 1.1, "capsize": 2.5}
            axes.errorbar(x, heights, [below, errors], **style)
            for at, name in zip(x, generators, strict=True):
                for number in _paper(members, name, regime):
                    mark = axes.plot(
                        at,
                        number.value,
                        "D",
                        ms=6,
                        mfc=theme.background,
                        mec=theme.text,
                        mew=1.2,
                        clip_on=False,
                        zorder=4,
                    )
                    handles[f"Paper {number.version}, unverified"] = mark[0]
        axes.set_xticks(range(len(generators)), [generator_label(name) for name in generators])
        axes.set_ylim(0, 104)
        axes.set_ylabel("valid plans, %")
        axes.grid(axis="x", visible=False)
        paper = [name for name in handles if name.startswith("Paper")]
        order = [name for name in handles if name not in paper] + paper
        legend(figure, [handles[name] for name in order], order)
        return png(figure)


def _paper(members: Sequence[RunRecord], test: str, regime: str) -> list[Any]:
    document = members[0].evaluation
    if document is None:
        return []
    size = document["width"], document["height"]
    numbers = published(document["trained_on"], test, regime, "plan_valid", *size)
    return [number for number in numbers if number.version == "v1"]


def learning_curves(runs: Sequence[RunRecord], theme: Theme) -> bytes | None:
    """Loss and token accuracy against tokens seen; points are held-out evaluations."""
    if not any(row.get("loss") is not None for run in runs for row in run.rows):
        return None
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 3.5), layout="constrained")
        panels = figure.subplots(1, 2)
        handles = []
        for run in runs:
            color, line_style = regime_color(theme, run.regime), dash(runs, run)
            line = None
            for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
                seen = {row["step"]: row["tokens"] for row in run.rows if "tokens" in row}
                pairs = [
                    (row["tokens"], row[name]) for row in run.rows if row.get(name) is not None
                ]
                if pairs:
                    (line,) = axes.plot(
                        *zip(*pairs, strict=True), color=color, linestyle=line_style
                    )
                held_out = [
                    (seen[row["step"]], row["evaluation"][f"validation_{name}"])
                    for row in run.rows
                    if f"validation_{name}" in row.get("evaluation", {}) and row["step"] in seen
                ]
                if held_out:
                    style = {"mfc": theme.background, "mew": 1.5, "ms": 5.5, "zorder": 3}
                    axes.plot(*zip(*held_out, strict=True), "o", color=color, **style)
            handles.append(line)
        for axes, title in zip(panels, ("Loss per token, nats", "Token accuracy"), strict=True):
            axes.set_title(title)
            axes.set_xlabel("training tokens")
            axes.xaxis.set_major_formatter(_engineering())
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_formatter(_plain())
        panels[0].yaxis.set_minor_formatter(_plain(sparse=True))
        known = [(line, run.label) for line, run in zip(handles, runs, strict=True) if line]
        legend(figure, [line for line, _ in known], [label for _, label in known])
        return png(figure)


def _engineering() -> Any:
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")


def _plain(sparse: bool = False) -> Any:
    from matplotlib.ticker import FuncFormatter

    def text(value: float, place: int) -> str:
        del place
        leading = f"{value:e}"[0]
        return f"{value:g}" if not sparse or leading in "25" else ""

    return FuncFormatter(text)


def _traced(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Evaluated runs by regime, those without traces left out."""
    return regimes_of([r for r in runs if r.evaluation is not None and r.regime != "solution_only"])


def _ink(theme: Theme, part: float) -> str:
    return theme.background if part > 0.6 else theme.text


def two_by_two(runs: Sequence[RunRecord], theme: Theme, level: str = "reference") -> bytes | None:
    """Trace valid or not against plan valid or not, per regime and generator, in per cent."""
    generators, groups = generators_of(runs), _traced(runs)
    if not groups:
        return None
    cells = (("both", "plan_only"), ("trace_only", "neither"))
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 0.55 + 1.5 * len(groups)), layout="constrained")
        panels = figure.subplots(len(groups), len(generators), squeeze=False)
        for row, (regime, members) in zip(panels, groups.items(), strict=True):
            color = regime_color(theme, regime)
            for axes, generator in zip(row, generators, strict=True):
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(False)
                for spine in axes.spines.values():
                    spine.set_visible(False)
                counts = pooled_counts(members, generator, "table", level)
                if not counts:
                    continue
                total = max(sum(counts.values()), 1)
                parts = np.array([[counts[name] / total for name in line] for line in cells])
                axes.imshow(parts, cmap=_tint(theme, color), vmin=0, vmax=1)
                for (y, x), part in np.ndenumerate(parts):
                    style = {"ha": "center", "va": "center", "color": _ink(theme, part)}
                    axes.text(x, y, f"{100 * part:.0f}", **style)
                axes.axhline(0.5, color=theme.background, linewidth=2)
                axes.axvline(0.5, color=theme.background, linewidth=2)
            row[0].set_yticks([0, 1], ["plan\nvalid", "plan\ninvalid"])
            row[0].set_ylabel(REGIME_LABELS.get(regime, regime), color=color, weight="bold")
        for axes, generator in zip(panels[0], generators, strict=True):
            axes.set_title(generator_label(generator), fontsize=9, loc="center")
        for axes in panels[-1]:
            axes.set_xticks([0, 1], ["trace\nvalid", "trace\ninvalid"])
        return png(figure)


def _tint(theme: Theme, color: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("tint", [theme.grid, color])


def first_errors(runs: Sequence[RunRecord], theme: Theme) -> bytes | None:
    """Which error comes first, per cent of all completions, by regime and generator."""
    generators, groups = generators_of(runs), _traced(runs)
    counts = {
        (regime, name): pooled_counts(members, name, "first_errors")
        for regime, members in groups.items()
        for name in generators
    }
    totals: dict[str, int] = {}
    for histogram in counts.values():
        for code, count in histogram.items():
            totals[code] = totals.get(code, 0) + count
    codes = sorted(totals, key=lambda code: (-totals[code], code))
    if not codes:
        return None
    with styled(theme) as figure_class:
        size = (WIDTH, 1.25 + 0.34 * len(codes))
        figure = figure_class(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
        for axes, (regime, members) in zip(panels, groups.items(), strict=True):
            parts = np.full((len(codes), len(generators)), np.nan)
            for x, name in enumerate(generators):
                completions = pooled_share(members, name, "plan_valid").n
                if completions:
                    found = counts[regime, name]
                    parts[:, x] = [found.get(code, 0) / completions for code in codes]
            color = regime_color(theme, regime)
            axes.imshow(parts, cmap=_tint(theme, color), vmin=0, vmax=1, aspect="auto")
            for (y, x), part in np.ndenumerate(parts):
                if part > 0:
                    text = f"{100 * part:.0f}" if part >= 0.005 else "<1"
                    style = {"ha": "center", "va": "center", "color": _ink(theme, part)}
                    axes.text(x, y, text, fontsize=8, **style)
            axes.set_title(REGIME_LABELS.get(regime, regime), color=color)
            names = [generator_label(name) for name in generators]
            axes.set_xticks(
                range(len(generators)), names, rotation=32, ha="right", rotation_mode="anchor"
            )
            axes.set_yticks(range(len(codes)), [code.replace("_", " ") for code in codes])
            axes.grid(False)
            axes.spines[["left", "bottom"]].set_visible(False)
        return png(figure)
