"""Structured noising against random noising and against d1's estimator, everything else equal.

    python experiments/mmada/unigrpo_ablation.py
    python experiments/mmada/unigrpo_ablation.py --tasks draw_solution --seeds 0 1

Every variant has the same base, rewards, rollouts per step, updates, learning rate, clip, KL and
normalisation; they differ in the noise under which an answer is scored. The paper (arXiv
2505.15809, figures 3 and 4) shows curves of one run each, on GSM8K. Trains what is missing, then
writes results/unigrpo_ablation.{json,md,png}.
"""

from typing import Any

import numpy as np
from unigrpo_study import (
    TASK_NAMES,
    Study,
    cell,
    evaluations,
    from_command_line,
    publish,
    spread,
    table,
    training_curve,
)

from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled

VARIANTS: dict[str, dict[str, str]] = {
    "structured": {"timestep_rule": "alg1"},
    "example stride": {"timestep_rule": "example_stride"},
    "random": {"timestep_rule": "random"},
    "d1 (full mask)": {"noise": "full", "prompt_mask": "0.15"},
}
"""Name to the fields that differ from UniGRPO."""


def slug(name: str) -> str:
    """A variant's name in paths."""
    return name.split(" (")[0].replace(" ", "_")


def measure(study: Study) -> dict[str, Any]:
    """Train what is missing, and what came out, by task and variant."""
    study.prepare()
    found: dict[str, Any] = {}
    for seed in study.seeds:
        for task in study.tasks:
            for name, overrides in VARIANTS.items():
                experiment = study.reinforcement(task, seed, overrides=overrides)
                path = study.root / f"{task}-{slug(name)}-{seed}"
                study.ensure(path, experiment)
                before, after = (evaluations(path)[i] for i in (0, -1))
                entry = found.setdefault(task, {}).setdefault(name, [])
                entry.append({"before": before, "after": after, **curve(path)})
    return {task: {name: joined(runs) for name, runs in by.items()} for task, by in found.items()}


def curve(path: Any) -> dict[str, Any]:
    """Share of correct answers among the rollouts."""
    steps, values = training_curve(path, "correct")
    return {"steps": steps, "curve": values}


def joined(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs that differ in their seed only."""
    gains = [run["after"]["held_out_correct"] - run["before"]["held_out_correct"] for run in runs]
    return {
        "mazes": runs[0]["after"]["held_out_mazes"],
        "before": spread([run["before"]["held_out_correct"] for run in runs]),
        "greedy": spread([run["after"]["held_out_correct"] for run in runs]),
        "gain": spread(gains),
        "sampled": spread([run["after"]["held_out_sampled_correct"] for run in runs]),
        "steps": runs[0]["steps"],
        "curves": [run["curve"] for run in runs],
        # The mean of the curve is what a faster start shows in.
        "area": spread([float(np.mean(run["curve"])) for run in runs]),
    }


def sheet(document: dict[str, Any]) -> str:
    """The table."""
    headers = ["task", "noise", "base", "greedy", "gain", "sampled", "mean of the curve"]
    rows = [
        [TASK_NAMES[task], name]
        + [cell(found[key]) for key in ("before", "greedy", "gain", "sampled", "area")]
        for task, variants in document.items()
        for name, found in variants.items()
    ]
    return "Held-out mazes solved, per cent, mean ± standard error over seeds.\n\n" + table(
        headers, rows
    )


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """Rollouts that are correct, by step: thin lines for runs, thick ones for their mean."""
    colors = [regime_color(theme, r) for r in ("correct", "swapped", "dropped")] + [theme.muted]
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 3.4), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(1, len(document)))
        handles = {}
        for axis, (task, variants) in zip(axes, document.items(), strict=True):
            for color, (name, found) in zip(colors, variants.items(), strict=True):
                for one in found["curves"]:
                    axis.plot(found["steps"], 100 * np.array(one), color=color, lw=0.6, alpha=0.4)
                mean = 100 * np.mean(found["curves"], axis=0)
                (handles[name],) = axis.plot(
                    found["steps"], mean, color=color, lw=2, marker="o", markersize=3
                )
            axis.set_title(f"{TASK_NAMES[task].capitalize()}: correct rollouts, %")
            axis.set_xlabel("step")
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(
        study, "unigrpo_ablation", {"tasks": document}, sheet(document), figure(document, LIGHT)
    )
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
