"""What makes an update sparse: learning rate, KL penalty, clipping, data, steps, precision.

    python experiments/subnetworks/ablations.py

One seed a row unless the table says otherwise; the rows "as in the main table" are means over its
seeds. Trains what is missing (9 runs that no other script has), then takes a minute. Writes
results/ablations.{json,md,png}.
"""

from typing import Any

import numpy as np
from measures import MODES, base_validity, describe, trained
from outputs import Sheet, cell, publish
from study import Study, from_command_line

from jaxreason.analysis.trajectories import run_checkpoints, trajectory
from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled

RATES = (1e-6, 1e-5, 1e-4)
METHODS = ("grpo", "sft")
MINIBATCHES = 4
LONGER = 1
KEPT = 15
NO_KL = {"kl_coefficient": "0", "kl_placement": "none"}
NO_CLIP = {"clip_low": "inf", "clip_high": "inf"}
GENERATORS = ("wilson", "drunkards_walk")


def rates(study: Study) -> list[float]:
    """Learning rates besides that of the main runs."""
    return [rate for rate in RATES if rate != study.rate]


def another_generator(study: Study) -> str:
    """A kind of mazes that the base was not trained on."""
    return next(kind for kind in GENERATORS if kind != study.base.data.generator)


def switch_runs(study: Study) -> dict[str, Any]:
    """GRPO with one thing switched."""
    more = {"minibatches": MINIBATCHES, "total_steps": study.steps * MINIBATCHES}
    return {
        "grpo-no-kl-0": study.run("grpo", overrides=NO_KL),
        "grpo-minibatches-0": study.run("grpo", **more),
        "grpo-no-clip-0": study.run("grpo", overrides=NO_CLIP, **more),
    }


def data_runs(study: Study) -> dict[str, Any]:
    """Runs on other data than the base's own samples of its own kind of maze."""
    runs = {"dpo-off-policy-0": study.run("dpo", pairs="off_policy")}
    other = another_generator(study)
    runs[f"sft-{other}-0"] = study.run("sft", problem_changes={"generator": other})
    return runs


def long_runs(study: Study) -> dict[str, Any]:
    """Runs that keep their checkpoints, `LONGER` times as long as the main ones."""
    steps = study.steps * LONGER
    every = max(steps // KEPT, 1)
    changes = {"steps": steps, "total_steps": steps, "keep_every": every, "save_every": every}
    return {f"{m}-long-0": study.run(m, evaluate_every=steps, **changes) for m in METHODS}


def rate_rows(study: Study) -> dict[str, tuple[str, ...]]:
    """Label to runs, by learning rate."""
    rows: dict[str, tuple[str, ...]] = {}
    for method in METHODS:
        found = {rate: tuple(study.at_rate(method, rate)) for rate in rates(study)}
        found[study.rate] = _main(study, method)
        rows |= {f"{method.upper()}, {rate:g}": found[rate] for rate in sorted(found)}
    return rows


def switch_rows(study: Study) -> dict[str, tuple[str, ...]]:
    """Label to runs of GRPO with one thing switched, and of parameters in bfloat16."""
    return {
        "GRPO as in the main table": _main(study, "grpo"),
        "without KL penalty": ("grpo-no-kl-0",),
        f"{MINIBATCHES} updates per rollout": ("grpo-minibatches-0",),
        f"{MINIBATCHES} updates per rollout, not clipped": ("grpo-no-clip-0",),
        "parameters stored in bf16": tuple(study.in_bfloat16("grpo")),
        "SFT as in the main table": _main(study, "sft"),
        "SFT, parameters stored in bf16": tuple(study.in_bfloat16("sft")),
    }


def data_rows(study: Study) -> dict[str, tuple[str, ...]]:
    """Label to runs, by what they learned from."""
    other = another_generator(study)
    rows = {
        "GRPO, the base's mazes": _main(study, "grpo"),
        "DPO, own right and wrong samples": _main(study, "dpo"),
        "DPO, the data's solutions and own wrong samples": ("dpo-off-policy-0",),
    }
    if "rft" in study.methods:
        rows["RFT, own right samples"] = _main(study, "rft")
    return rows | {
        "SFT, the data's solutions": _main(study, "sft"),
        f"SFT, {other} mazes": (f"sft-{other}-0",),
    }


def _main(study: Study, method: str) -> tuple[str, ...]:
    return tuple(f"{method}-{seed}" for seed in study.seeds)


def runs(study: Study) -> dict[str, Any]:
    """What is measured, by name."""
    used = [m for m in ("grpo", "dpo", "rft", "sft") if m in study.methods]
    found = study.main_runs(used) | switch_runs(study) | data_runs(study) | long_runs(study)
    for method in METHODS:
        found |= study.in_bfloat16(method)
        for rate in rates(study):
            found |= study.at_rate(method, rate)
    return found


def measure(study: Study) -> dict[str, Any]:
    """Trains what is missing and compares every run with the base."""
    study.ensure(runs(study))
    tables = {"rate": rate_rows(study), "switches": switch_rows(study), "data": data_rows(study)}
    document: dict[str, Any] = {
        table: {label: describe(study, names) for label, names in rows.items()}
        for table, rows in tables.items()
    }
    for row in document["switches"].values():
        row["clip_fraction"] = trained(study, row["runs"][0], "clip_fraction")
    return {"base": base_validity(study), **document, "steps": _evolution(study)}


def _evolution(study: Study) -> dict[str, Any]:
    """Trajectories of the long runs by the paper's rule; checkpoints at the kept interval."""
    found = {}
    for name in long_runs(study):
        checkpoints = run_checkpoints(study.path(name))
        found[name] = trajectory(study.path("base"), checkpoints, mode="paper")
    return found


def _effects(title: str, document: dict[str, Any], rows: dict[str, Any]) -> Sheet:
    headers = ["", "seeds", *MODES.values(), "valid, greedy", "valid, sampled", "update / weights"]
    base = [f"{100 * document['base'][how]:.1f}" for how in ("greedy", "sampled")]
    lines = [["base", "–", *["–"] * len(MODES), *base, "–"]]
    for label, found in rows.items():
        cells = [str(len(found["runs"])), *(cell(found["sparsity"][mode]) for mode in MODES)]
        cells += [cell(found["validity"][how]) for how in ("greedy", "sampled")]
        lines.append([label, *cells, cell(found["relative_norm"], 3)])
    return Sheet(title, headers, lines)


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """A table for each ablation."""
    unit = "Unchanged weights by rule, mazes solved, size of the update: per cent."
    switches = document["switches"]
    clipped = ", ".join(
        f"{label} {100 * row['clip_fraction']:.2f} %"
        for label, row in switches.items()
        if row["clip_fraction"] is not None and "updates" in label
    )
    found = [
        _effects(f"Learning rate. {unit}", document, document["rate"]),
        _effects(
            f"KL penalty, clipping, precision. {unit} Tokens outside the clip's range: {clipped}.",
            document,
            switches,
        ),
        _effects(
            f"Data; held-out mazes are always of the base's kind. {unit}",
            document,
            document["data"],
        ),
    ]
    rows = []
    for name, part in document["steps"].items():
        size, sets = part["sets"]["size"], part["sets"]
        places = np.linspace(0, len(part["steps"]) - 1, 6).astype(int)
        picked = [part["steps"][place] for place in sorted({*places.tolist()})]
        course = ", ".join(f"{s['step']}: {100 * (1 - s['changed'] / size):.1f}" for s in picked)
        shares = [f"{100 * sets[kind] / size:.2f}" for kind in ("never", "transient", "final")]
        between = f"{100 * part['consecutive']:.2f}"
        rows.append([name.removesuffix("-long-0").upper(), course, *shares, between])
    headers = ["", "unchanged at step", "never changed", "changed and back", "changed in the end"]
    title = "Steps, by the paper's rule (bf16, 1e-5): per cent of the weights, one seed."
    return [*found, Sheet(title, [*headers, "differ between checkpoints"], rows)]


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """Sparsity and validity against the learning rate, and sparsity against the step."""
    colors = {"GRPO": regime_color(theme, "correct"), "SFT": regime_color(theme, "swapped")}
    handles: dict[str, Any] = {}
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 3.6), layout="constrained")
        rates, solved, steps = drawn.subplots(1, 3)
        for method, color in colors.items():
            rows = {k: v for k, v in document["rate"].items() if k.startswith(method)}
            x = [float(label.split(", ")[1]) for label in rows]
            for mode, dash, marker in (("paper", "-", "o"), ("absolute", "--", "s")):
                y = [100 * row["sparsity"][mode]["mean"] for row in rows.values()]
                handles[f"{method}, {MODES[mode]}"] = rates.plot(
                    x, y, color=color, linestyle=dash, marker=marker, ms=5
                )[0]
            y = [100 * row["validity"]["sampled"]["mean"] for row in rows.values()]
            solved.plot(x, y, color=color, marker="o", ms=5)
            part = document["steps"][f"{method.lower()}-long-0"]
            y = [100 * (1 - s["changed"] / part["sets"]["size"]) for s in part["steps"]]
            steps.plot([s["step"] for s in part["steps"]], y, color=color, marker="o", ms=4)
        base = 100 * document["base"]["sampled"]
        handles["base"] = solved.axhline(base, color=theme.muted, linestyle="--", linewidth=1)
        for axes, title, label in (
            (rates, "Unchanged weights, %", "learning rate"),
            (solved, "Mazes solved by sampling, %", "learning rate"),
            (steps, "Unchanged (paper's rule), %", "step"),
        ):
            axes.set_title(title)
            axes.set_xlabel(label)
            if label == "learning rate":
                axes.set_xscale("log")
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(study, "ablations", document, sheets(document), figure(document, LIGHT))
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
