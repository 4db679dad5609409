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
    pooled_share,
    regimes_of,
)
from jaxreason.evaluation.statistics import Share
from jaxreason.evaluation.style import Theme, png, regime_color, styled

WIDTH = 10.0
"""Inches; every figure is as wide as the page."""

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def _label(generator: str) -> str:
    return GENERATOR_LABELS.get(generator, generator)


def _dash(runs: Sequence[RunRecord], run: RunRecord) -> Any:
    same = [other for other in runs if other.regime == run.regime]
    return _DASHES[same.index(run) % len(_DASHES)]


def _trained_on(runs: Sequence[RunRecord]) -> str | None:
    generators = generators_of(runs)
    return generators[0] if generators else None


def _legend(figure: Any, handles: Any, labels: Sequence[str]) -> None:
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
        axes.set_xticks(range(len(generators)), [_label(name) for name in generators])
        axes.set_ylim(0, 104)
        axes.set_ylabel("valid plans, %")
        axes.grid(axis="x", visible=False)
        paper = [name for name in handles if name.startswith("Paper")]
        order = [name for name in handles if name not in paper] + paper
        _legend(figure, [handles[name] for name in order], order)
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
            color, dash = regime_color(theme, run.regime), _dash(runs, run)
            line = None
            for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
                seen = {row["step"]: row["tokens"] for row in run.rows if "tokens" in row}
                pairs = [
                    (row["tokens"], row[name]) for row in run.rows if row.get(name) is not None
                ]
                if pairs:
                    (line,) = axes.plot(*zip(*pairs, strict=True), color=color, linestyle=dash)
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
        _legend(figure, [line for line, _ in known], [label for _, label in known])
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


def two_by_two(runs: Sequence[RunRecord], theme: Theme, level: str = "reference") -> bytes | None:
    """Trace valid or not against plan valid or not, per regime and generator, in per cent."""
    generators = generators_of(runs)
    shown = [r for r in runs if r.evaluation is not None and r.regime != "solution_only"]
    if not shown:
        return None
    cells = (("both", "plan_only"), ("trace_only", "neither"))
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 0.55 + 1.5 * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), len(generators), squeeze=False)
        for row, run in zip(panels, shown, strict=True):
            for axes, generator in zip(row, generators, strict=True):
                result = run.result(generator)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(False)
                for spine in axes.spines.values():
                    spine.set_visible(False)
                if result is None:
                    continue
                counts = result["metrics"]["table"][level]
                total = max(sum(counts.values()), 1)
                parts = np.array([[counts[name] / total for name in line] for line in cells])
                axes.imshow(
                    parts, cmap=_tint(theme, regime_color(theme, run.regime)), vmin=0, vmax=1
                )
                for (y, x), part in np.ndenumerate(parts):
                    color = theme.background if part > 0.6 else theme.text
                    axes.text(x, y, f"{100 * part:.0f}", ha="center", va="center", color=color)
                axes.axhline(0.5, color=theme.background, linewidth=2)
                axes.axvline(0.5, color=theme.background, linewidth=2)
            row[0].set_yticks([0, 1], ["plan\nvalid", "plan\ninvalid"])
            row[0].set_ylabel(run.label, color=regime_color(theme, run.regime), weight="bold")
        for axes, generator in zip(panels[0], generators, strict=True):
            axes.set_title(_label(generator), fontsize=9, loc="center")
        for axes in panels[-1]:
            axes.set_xticks([0, 1], ["trace\nvalid", "trace\ninvalid"])
        return png(figure)


def _tint(theme: Theme, color: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("tint", [theme.grid, color])


def first_errors(runs: Sequence[RunRecord], theme: Theme) -> bytes | None:
    """Which error comes first, per cent of all completions, by run and generator."""
    generators = generators_of(runs)
    shown = [run for run in runs if run.evaluation is not None and run.regime != "solution_only"]
    counts = {
        (run.label, name): run.result(name)["metrics"]["first_errors"]  # type: ignore[index]
        for run in shown
        for name in generators
        if run.result(name) is not None
    }
    codes = sorted({code for histogram in counts.values() for code in histogram})
    if not codes:
        return None
    codes.sort(key=lambda code: -sum(h.get(code, 0) for h in counts.values()))
    with styled(theme) as figure_class:
        size = (WIDTH, 1.25 + 0.34 * len(codes))
        figure = figure_class(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, run in zip(panels, shown, strict=True):
            parts = np.full((len(codes), len(generators)), np.nan)
            for x, name in enumerate(generators):
                result = run.result(name)
                if result is not None:
                    total = max(result["metrics"]["plan_valid"]["n"], 1)
                    found = counts[run.label, name]
                    parts[:, x] = [found.get(code, 0) / total for code in codes]
            color = regime_color(theme, run.regime)
            axes.imshow(parts, cmap=_tint(theme, color), vmin=0, vmax=1, aspect="auto")
            for (y, x), part in np.ndenumerate(parts):
                if part > 0:
                    ink = theme.background if part > 0.6 else theme.text
                    text = f"{100 * part:.0f}" if part >= 0.005 else "<1"
                    axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=8)
            axes.set_title(run.label, color=color)
            names = [_label(name) for name in generators]
            axes.set_xticks(range(len(generators)), names, rotation=32, ha="right")
            axes.set_yticks(range(len(codes)), [code.replace("_", " ") for code in codes])
            axes.grid(False)
            axes.spines[["left", "bottom"]].set_visible(False)
        return png(figure)


def by_length(runs: Sequence[RunRecord], theme: Theme) -> bytes | None:
    """Validity against the length of the true trace, on the generator trained on."""
    generator = _trained_on(runs)
    if generator is None:
        return None
    panels_of = (
        ("Valid plans, %", "plan_valid"),
        ("Valid traces among valid plans, %", "trace_valid_within_valid_plans"),
    )
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 3.3), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        handles: dict[str, Any] = {}
        for number, run in enumerate(runs):
            result = run.result(generator)
            for axes, (title, name) in zip(panels, panels_of, strict=True):
                axes.set_title(title)
                skip = run.regime == "solution_only" and name != "plan_valid"
                bins = [] if result is None or skip else result["metrics"]["by_length"]
                points = [
                    ((item["low"] + item["high"]) / 2, item["high"] - item["low"], share)
                    for item in bins
                    for share in [Share(**item[name])]
                    if share.value is not None
                ]
                if points:
                    shift = (number - (len(runs) - 1) / 2) * 0.06
                    handles[run.label] = axes.errorbar(
                        [middle + shift * width for middle, width, _ in points],
                        [100 * (share.value or 0) for *_, share in points],
                        [100 * (share.standard_error or 0) for *_, share in points],
                        color=regime_color(theme, run.regime),
                        linestyle=_dash(runs, run),
                        marker="o",
                        ms=4.5,
                        elinewidth=1,
                        capsize=2,
                    )
        for axes in panels:
            axes.set_ylim(-4, 104)
            axes.set_xlabel(f"tokens of the true trace ({_label(generator)})")
        _legend(figure, list(handles.values()), list(handles))
        return png(figure)


def lengths(runs: Sequence[RunRecord], theme: Theme) -> bytes | None:
    """Generated against true trace length, one panel per generator."""
    generators = generators_of(runs)
    shown = [r for r in runs if r.evaluation is not None and r.regime != "solution_only"]
    if not shown or not generators:
        return None
    columns = min(3, len(generators))
    rows = -(-len(generators) // columns)
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 0.5 + 2.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        handles: dict[str, Any] = {}
        for axes, generator in zip(panels, generators, strict=False):
            longest = 1
            for run in shown:
                result = run.result(generator)
                if result is None:
                    continue
                true = result["completions"]["true_trace_tokens"]
                written = result["completions"]["trace_tokens"]
                longest = max(longest, *true, *written)
                color = regime_color(theme, run.regime)
                handles[run.label] = axes.scatter(
                    true, written, s=13, color=color, alpha=0.55, linewidths=0
                )
            axes.plot([0, longest], [0, longest], color=theme.muted, linewidth=0.9, zorder=1)
            axes.set_title(_label(generator))
            axes.set_xlim(0, 1.04 * longest)
            axes.set_ylim(0, 1.04 * longest)
            axes.set_aspect("equal", "box")
        for axes in panels[len(generators) :]:
            axes.set_visible(False)
        figure.supxlabel("tokens of the true trace", fontsize=9, color=theme.muted)
        figure.supylabel("tokens of the generated trace", fontsize=9, color=theme.muted)
        _legend(figure, list(handles.values()), list(handles))
        return png(figure)
