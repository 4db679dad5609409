"""How many weights an update leaves alone, by algorithm, rule of equality and precision.

    python experiments/subnetworks/sparsity.py

Every method has the same base, optimizer, learning rate and number of updates, three seeds each;
GRPO and SFT also with parameters stored in bfloat16, two seeds each. Trains what is missing (34
runs), then takes under a minute. Writes results/sparsity.{json,md,png}.
"""

from typing import Any

from measures import MODES, base_validity, describe
from outputs import Sheet, cell, dot_rows, publish
from study import Study, from_command_line

from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled

STORED = ("grpo", "sft")
"""Methods that are also trained with parameters in bfloat16."""


def label(name: str) -> str:
    """A row's name in tables."""
    method, _, stored = name.partition("-")
    return method.upper() + (", stored in bf16" if stored else "")


def runs(study: Study) -> dict[str, Any]:
    """What is measured, by name."""
    found = study.main_runs()
    for method in STORED:
        found |= study.in_bfloat16(method)
    return found


def measure(study: Study) -> dict[str, Any]:
    """Trains what is missing and compares every run with the base."""
    study.ensure(runs(study))
    rows = {
        method: describe(study, [f"{method}-{seed}" for seed in study.seeds])
        for method in study.methods
    }
    for method in STORED:
        rows[f"{method}-bf16"] = describe(study, list(study.in_bfloat16(method)))
    return {"base": base_validity(study), "methods": rows}


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """The table of README.md."""
    headers = ["", *MODES.values(), "valid, greedy", "valid, sampled", "update / weights"]
    base = [f"{100 * document['base'][how]:.1f}" for how in ("greedy", "sampled")]
    rows = [["base", *["–"] * len(MODES), *base, "–"]]
    for name, found in document["methods"].items():
        cells = [cell(found["sparsity"][mode], 2) for mode in MODES]
        cells += [cell(found["validity"][how]) for how in ("greedy", "sampled")]
        rows.append([label(name), *cells, cell(found["relative_norm"], 2)])
    title = (
        "Unchanged weights by rule, held-out mazes solved, and norm of the update over that of the "
        "weights: per cent, mean ± standard error over seeds."
    )
    return [Sheet(title, headers, rows)]


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """Unchanged weights by method and rule, beside what the runs solve."""
    names = list(document["methods"])
    found = list(document["methods"].values())
    blue, orange, green = (regime_color(theme, r) for r in ("correct", "swapped", "dropped"))
    looks = {
        "exact": (theme.text, "|"),
        "absolute": (blue, "o"),
        "bf16_exact": (orange, "s"),
        "paper": (green, "D"),
    }
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 1.4 + 0.4 * len(names)), layout="constrained")
        left, right = drawn.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
        series = {
            MODES[mode]: ([one["sparsity"][mode] for one in found], *look)
            for mode, look in looks.items()
        }
        handles = dot_rows(left, [label(name) for name in names], series)
        left.set_title("Unchanged weights, %")
        left.set_xlim(left=min(-1.0, left.get_xlim()[0]))
        valid = {
            "solved greedily": ([one["validity"]["greedy"] for one in found], theme.other, "o"),
            "sampled": ([one["validity"]["sampled"] for one in found], theme.muted, "s"),
        }
        handles |= dot_rows(right, [label(name) for name in names], valid)
        for how, color in (("greedy", theme.other), ("sampled", theme.muted)):
            right.axvline(100 * document["base"][how], color=color, linestyle="--", linewidth=1)
        right.set_title("Mazes solved, % (dashed: base)")
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(study, "sparsity", document, sheets(document), figure(document, LIGHT))
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
