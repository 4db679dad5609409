"""The stage table as a figure: one group of bars per task, one bar per stage."""

from collections.abc import Sequence

import numpy as np

from jaxreason.evaluation.diffusion.stage_table import TASK_LABELS, StageResult, tasks_of
from jaxreason.evaluation.style import THEMES, Theme, png, styled


def stage_figure(stages: Sequence[StageResult]) -> dict[str, bytes]:
    """PNGs by theme: per cent of answers that are right, with one standard error."""
    return {theme.name: _draw(stages, theme) for theme in THEMES}


def _draw(stages: Sequence[StageResult], theme: Theme) -> bytes:
    tasks = tasks_of(stages)
    palette = [theme.regimes["solution_only"], theme.regimes["correct"], theme.regimes["dropped"]]
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(10.0, 3.4), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / max(len(stages), 1)
        for place, stage in enumerate(stages):
            found = [stage.tasks.get(task, {}).get("correct") for task in tasks]
            x = np.arange(len(tasks)) + (place - (len(stages) - 1) / 2) * width
            heights = np.array([0.0 if one is None else 100 * one.value for one in found])
            errors = np.array([0.0 if one is None else 100 * one.standard_error for one in found])
            color = palette[place % len(palette)]
            axes.bar(x, heights, 0.88 * width, color=color, label=stage.name)
            below = np.minimum(errors, heights)
            above = np.minimum(errors, 100 - heights)
            axes.errorbar(
                x, heights, [below, above], fmt="none", ecolor=theme.text, elinewidth=1.1, capsize=2
            )
        axes.set_xticks(np.arange(len(tasks)), [TASK_LABELS.get(task, task) for task in tasks])
        axes.set_ylim(0, 100)
        axes.set_ylabel("right, %")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside upper left", ncols=max(1, min(len(stages), 4)))
        return png(figure)
