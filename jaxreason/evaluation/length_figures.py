"""Figures about how hard a problem is: validity and generated length against true length."""

from collections.abc import Sequence
from typing import Any

from jaxreason.evaluation.figures import WIDTH, dash, generator_label, legend
from jaxreason.evaluation.runs import RunRecord, generators_of
from jaxreason.evaluation.statistics import Share
from jaxreason.evaluation.style import Theme, png, regime_color, styled


def _trained_on(runs: Sequence[RunRecord]) -> str | None:
    generators = generators_of(runs)
    return generators[0] if generators else None


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
                        linestyle=dash(runs, run),
                        marker="o",
                        ms=4.5,
                        elinewidth=1,
                        capsize=2,
                    )
        for axes in panels:
            axes.set_ylim(-4, 104)
            axes.set_xlabel(f"tokens of the true trace ({generator_label(generator)})")
        legend(figure, list(handles.values()), list(handles))
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
            axes.set_title(generator_label(generator))
            axes.set_xlim(0, 1.04 * longest)
            axes.set_ylim(0, 1.04 * longest)
            axes.set_aspect("equal", "box")
        for axes in panels[len(generators) :]:
            axes.set_visible(False)
        figure.supxlabel("tokens of the true trace", fontsize=9, color=theme.muted)
        figure.supylabel("tokens of the generated trace", fontsize=9, color=theme.muted)
        legend(figure, list(handles.values()), list(handles))
        return png(figure)
