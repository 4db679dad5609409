"""How many weights UniGRPO leaves alone, beside supervised diffusion training from the same base.

    python experiments/mmada/unigrpo_sparsity.py

Both have the same base, optimizer, learning rate, number of updates and rows per update; the
supervised runs learn the right answers to the task by the masked-diffusion loss. A weight counts as
unchanged by five rules, see `jaxreason compare`. Trains what is missing (the UniGRPO runs are those
of `unigrpo_ablation.py`), then writes results/unigrpo_sparsity.{json,md,png}.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from unigrpo_study import (
    HERE,
    TASK_NAMES,
    Study,
    cell,
    evaluations,
    from_command_line,
    publish,
    spread,
    table,
)

from jaxreason.analysis import CompareSettings, compare, open_checkpoint
from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.reinforcement_task import held_out_answers
from jaxreason.training.runs import load_experiment, load_run

MODES = {
    "exact": "fp32 exact",
    "absolute": "fp32, 1e-5",
    "bf16_exact": "bf16 exact",
    "bf16_relative": "bf16 relative",
    "paper": "paper (bf16, 1e-5)",
}
METHODS = {"unigrpo": "UniGRPO", "supervised": "supervised"}


def supervised(study: Study, task: str, seed: int) -> MaskedDiffusionExperiment:
    """Continued training on the task's own answers, as many updates of as many rows."""
    like = study.reinforcement(task, seed)
    base = load_experiment(HERE / "unigrpo_base.py")
    updates = like.train.steps * like.algorithm().updates * like.rollout.minibatches
    return replace(
        base,
        base=str(study.base),
        rows={task: like.rollout.rows // like.rollout.minibatches},
        optimizer=like.optimizer,
        train=replace(like.train, steps=updates, evaluate_every=0, save_every=0, log_every=20),
    )


def measure(study: Study) -> dict[str, Any]:
    """Train what is missing and compare every run with the base."""
    study.prepare()
    document: dict[str, Any] = {}
    for task in study.tasks:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
        for seed in study.seeds:
            learned = study.root / f"{task}-structured-{seed}"
            experiment = study.reinforcement(task, seed, overrides={"timestep_rule": "alg1"})
            study.ensure(learned, experiment)
            taught = study.root / f"{task}-supervised-{seed}"
            study.ensure(taught, supervised(study, task, seed))
            runs["unigrpo"].append(changes(study.base, learned, evaluations(learned)[-1]))
            runs["supervised"].append(changes(study.base, taught, judged(experiment, taught)))
        document[task] = {name: joined(found) for name, found in runs.items()}
    return document


def judged(experiment: Any, run: Path) -> Any:
    """A supervised run's answers, decoded and judged as those of the RL runs."""
    found = load_run(run)
    e = experiment
    evaluate = held_out_answers(
        found, e.task, e.decoding, e.weights(), e.held_out, None, e.problem_changes
    )
    return evaluate(found.params, found.step)


def changes(base: Path, run: Path, verdicts: Any) -> dict[str, Any]:
    """Unchanged weights by every rule, the norm of the update, and what the run solves."""
    pair = open_checkpoint(base), open_checkpoint(run)
    total = compare(*pair, CompareSettings(rank=False)).total()
    return {
        **{mode: total.sparsity(mode) for mode in MODES},
        "norm": (total.delta_square / total.before_square) ** 0.5,
        "greedy": verdicts["held_out_correct"],
        "sampled": verdicts["held_out_sampled_correct"],
    }


def joined(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Spread of every number over seeds."""
    return {name: spread([run[name] for run in runs]) for name in runs[0]}


def sheet(document: dict[str, Any]) -> str:
    """The table."""
    headers = ["task", "training", *MODES.values(), "update / weights", "greedy", "sampled"]
    rows = [
        [TASK_NAMES[task], METHODS[name]]
        + [cell(found[mode], 2) for mode in (*MODES, "norm")]
        + [cell(found[how]) for how in ("greedy", "sampled")]
        for task, methods in document.items()
        for name, found in methods.items()
    ]
    title = (
        "Unchanged weights by rule, norm of the update over that of the weights, and held-out "
        "mazes solved: per cent, mean ± standard error over seeds.\n\n"
    )
    return title + table(headers, rows)


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """Unchanged weights by rule, one mark per seed."""
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 3.2), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(1, len(document), sharey=True))
        handles = {}
        looks = zip(METHODS, ("correct", "swapped"), ("o", "s"), (-0.12, 0.12), strict=True)
        marks = {name: (regime_color(theme, r), mark, by) for name, r, mark, by in looks}
        for axis, (task, methods) in zip(axes, document.items(), strict=True):
            for name, found in methods.items():
                color, mark, by = marks[name]
                for place, mode in enumerate(MODES):
                    values = 100 * np.array(found[mode]["values"])
                    at = np.full(len(values), place + by)
                    handles[METHODS[name]] = axis.scatter(
                        at, values, color=color, marker=mark, s=18
                    )
            axis.set_xticks(range(len(MODES)), list(MODES.values()), rotation=25, ha="right")
            axis.set_title(f"{TASK_NAMES[task].capitalize()}: unchanged weights, %")
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(
        study, "unigrpo_sparsity", {"tasks": document}, sheet(document), figure(document, LIGHT)
    )
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
