"""Figures over the checkpoints of a run: functions of documents and a theme, giving PNG bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import Theme, png, regime_color, styled


def evolution(document: dict[str, Any], theme: Theme) -> bytes | None:
    """What has changed by each checkpoint, and how early the final set could be told.

    Args:
        document: of `analysis.trajectories.trajectory`; two checkpoints or more.
        theme: of the figure.
    """
    steps, size = document["steps"], document["sets"]["size"]
    if len(steps) < 2 or not size:
        return None
    known = all(item["step"] is not None for item in steps)
    x = [item["step"] if known else number + 1 for number, item in enumerate(steps)]
    blue, orange = regime_color(theme, "correct"), regime_color(theme, "swapped")
    green, other = regime_color(theme, "dropped"), theme.other
    panels: tuple[tuple[str, tuple[tuple[str, str, list[float | None]], ...]], ...] = (
        (
            "Changed weights, %",
            (
                ("at any checkpoint so far", other, _shares(steps, "ever", size)),
                ("against the base", blue, _shares(steps, "changed", size)),
                ("against the checkpoint before", orange, _shares(steps, "since_last", size)),
            ),
        ),
        (
            "The final set foreseen, %",
            (
                ("final weights changed by then (recall)", blue, [s["recall"] for s in steps]),
                ("of the changed, final (precision)", green, [s["precision"] for s in steps]),
                ("ever changed, outside the final set", other, _outside(steps)),
            ),
        ),
    )
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 3.6), layout="constrained")
        for axes, (title, lines) in zip(figure.subplots(1, 2), panels, strict=True):
            for words, color, shares in lines:
                heights = [np.nan if share is None else 100 * share for share in shares]
                axes.plot(x, heights, color=color, marker="o", ms=4, label=words, clip_on=False)
            axes.set_title(title)
            axes.set_xlabel("step" if known else "checkpoint")
            axes.set_ylim(0, 104 if title.startswith("The") else None)
            axes.legend(loc="best")
        return png(figure)


def _shares(steps: list[dict[str, Any]], name: str, size: int) -> list[float | None]:
    return [item[name] / size for item in steps]


def _outside(steps: list[dict[str, Any]]) -> list[float | None]:
    return [s["ever_outside_final"] / s["ever"] if s["ever"] else None for s in steps]


def agreement(curves: Mapping[str, dict[str, Any]], theme: Theme) -> bytes | None:
    """Share of weights on which two runs agree, against the tolerance, with the controls.

    Args:
        curves: a name for each pair of runs to its `analysis.agreement.agreement_curve`.
        theme: of the figure.
    """
    if not curves:
        return None
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(WIDTH, 1.2 + 2.8), layout="constrained")
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        handles: dict[str, Any] = {}
        lines = (
            ("agreement", "the two runs", regime_color(theme, "correct"), "-"),
            ("unrelated", "updates as large, unrelated", regime_color(theme, "swapped"), "--"),
            ("first_to_base", "first run and base", theme.muted, "-."),
            ("second_to_base", "second run and base", theme.muted, ":"),
        )
        for axes, (title, curve) in zip(panels, curves.items(), strict=True):
            limits = np.array(curve["tolerances"])
            shown = limits > 0
            for name, words, color, dash in lines:
                shares = 100 * np.array(curve[name])
                handles[words] = axes.plot(
                    limits[shown], shares[shown], color=color, linestyle=dash
                )[0]
            axes.set_xscale("log")
            axes.set_title(title)
            axes.set_ylim(0, 104)
            axes.set_xlabel("tolerance")
        panels[0].set_ylabel("weights within it, %")
        legend(figure, list(handles.values()), list(handles))
        return png(figure)
