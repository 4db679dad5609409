"""Do runs change the same weights, and more of the same than rounding makes them?

    python experiments/subnetworks/overlap.py

One-sided overlaps and Jaccard index across seeds, problems and algorithms, each beside what random
weights, random weights of like magnitude and independent dense updates of the same visible number
share. Where an update changes nearly every weight such numbers say nothing, so beside the paper's
rule at the learning rate of the main runs there are two settings with fewer changed weights: the
fifth of the weights that moved most, and runs at a learning rate of 1e-5. Trains what is missing
(23 runs, 18 of them those of sparsity.py), then takes about a minute. Writes
results/overlap.{json,md,png}.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from outputs import Sheet, cell, publish, spread
from study import Study, from_command_line

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.overlap import overlap_matrix
from jaxreason.analysis.pairing import align
from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled

LOW_RATE = 1e-5
SHARE = 0.2
NULLS = {
    "uniform": "random",
    "magnitude_matched": "random, like size",
    "precision": "independent, dense",
}
"""Null models in the order of tables; the documents have the others too."""

Pair = tuple[str, str]


def main_pairs(study: Study) -> dict[str, list[Pair]]:
    """Pairs of runs at the main learning rate, by what differs."""
    seeds = study.seeds
    groups = {
        f"{m.upper()}, another seed": [
            (f"{m}-{a}", f"{m}-{b}") for i, a in enumerate(seeds) for b in seeds[i + 1 :]
        ]
        for m in ("grpo", "dpo", "sft")
        if m in study.methods
    }
    groups["GRPO, other problems"] = [("grpo-0", "grpo-data-0")]
    for first, second in (
        *(("grpo", other) for other in ("rloo", "ppo", "dpo", "rft", "sft")),
        ("dpo", "sft"),
    ):
        if {first, second} <= {*study.methods}:
            words = f"{first.upper()} and {second.upper()}"
            groups[words] = [(f"{first}-{seed}", f"{second}-{seed}") for seed in seeds]
    return groups


def low_runs(study: Study) -> dict[str, Any]:
    """Runs at the low learning rate: one of each method, and GRPO again."""
    methods = [method for method in ("grpo", "dpo", "sft") if method in study.methods]
    runs = study.at_rate("grpo", LOW_RATE, 1)
    for method in methods:
        runs |= study.at_rate(method, LOW_RATE)
    return runs


def low_pairs(study: Study) -> dict[str, list[Pair]]:
    """Pairs of them."""
    again, *others = low_runs(study)
    pairs = {"GRPO, another seed": [(others[0], again)]}
    for first, second in combinations(others, 2):
        words = " and ".join(name.split("-")[0].upper() for name in (first, second))
        pairs[words] = [(first, second)]
    return pairs


def moved_most(study: Study, runs: Sequence[str], share: float) -> float:
    """The difference that this share of all weights of all runs exceeds."""
    together = align(*(open_checkpoint(study.path(name)) for name in ("base", *runs)))
    moves = [np.abs(run - base).reshape(-1) for _, (base, *rest) in together for run in rest]
    return float(np.quantile(np.concatenate(moves), 1 - share))


def overlaps(study: Study, groups: dict[str, list[Pair]], **rule: Any) -> dict[str, Any]:
    """Observed and expected overlaps of each group of pairs, from one pass over all runs."""
    names = _named(groups)
    found = overlap_matrix(study.path("base"), [study.path(name) for name in names], **rule)
    total = found["total"]

    def of(shares: dict[str, Any], pairs: list[Pair]) -> dict[str, Any]:
        places = [(names.index(first), names.index(second)) for first, second in pairs]
        return {
            "o1": spread([shares["one_sided"][i][j] for i, j in places]),
            "o2": spread([shares["one_sided"][j][i] for i, j in places]),
            "jaccard": spread([shares["jaccard"][i][j] for i, j in places]),
        }

    rows = {}
    for words, pairs in groups.items():
        density = [
            spread([1 - total["sparsity"][names.index(pair[side])] for pair in pairs])
            for side in (0, 1)
        ]
        rows[words] = {
            "pairs": [list(pair) for pair in pairs],
            "changed": density,
            "observed": of(total["observed"], pairs),
            "nulls": {name: of(null, pairs) for name, null in total["nulls"].items()},
        }
    return {"rule": found["settings"], "runs": names, "total": total, "groups": rows}


def runs(study: Study) -> dict[str, Any]:
    """What is measured, by name."""
    methods = {name.rsplit("-", 1)[0] for name in _named(main_pairs(study))}
    found = study.main_runs([method for method in study.methods if method in methods])
    other = study.run("grpo", problem_changes={"seed": "1"})
    return {**found, "grpo-data-0": other, **low_runs(study)}


def _named(groups: dict[str, list[Pair]]) -> list[str]:
    return sorted({name for pairs in groups.values() for pair in pairs for name in pair})


def measure(study: Study) -> dict[str, Any]:
    """Trains what is missing and counts shared weights in every setting."""
    study.ensure(runs(study))
    groups = main_pairs(study)
    most = moved_most(study, _named(groups), SHARE)
    return {
        "settings_compared": {
            f"paper's rule, learning rate {study.rate:g}": overlaps(study, groups, mode="paper"),
            f"the {100 * SHARE:.0f} % that moved most, learning rate {study.rate:g}": overlaps(
                study, groups, mode="absolute", tolerance=most
            ),
            f"paper's rule, learning rate {LOW_RATE:g}": overlaps(
                study, low_pairs(study), mode="paper"
            ),
        }
    }


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """One table for each setting."""
    found = []
    for words, part in document["settings_compared"].items():
        rows = []
        for name, group in part["groups"].items():
            shares = [group["observed"], *(group["nulls"][null] for null in NULLS)]
            one_sided = [f"{cell(s['o1'])} / {cell(s['o2'])}" for s in shares]
            changed = " / ".join(cell(side) for side in group["changed"])
            rows.append([name, changed, *one_sided, *(cell(s["jaccard"]) for s in shares)])
        headers = ["", "changed 1 / 2", "o1 / o2", *(f"{null}" for null in NULLS.values())]
        headers += ["Jaccard", *(f"{null}" for null in NULLS.values())]
        title = f"Shared weights, {words}: per cent, mean ± standard error over pairs of runs."
        found.append(Sheet(title, headers, rows))
    return found


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """Jaccard index of every group against the null models, a panel for each setting."""
    parts = document["settings_compared"]
    counts = [len(part["groups"]) for part in parts.values()]
    marks = (
        ("uniform", "|", theme.text, 12),
        ("magnitude_matched", "D", regime_color(theme, "dropped"), 6),
        ("precision", "o", regime_color(theme, "swapped"), 6),
    )
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 1.6 + 0.36 * sum(counts)), layout="constrained")
        panels = drawn.subplots(len(parts), 1, height_ratios=counts, squeeze=False)[:, 0]
        handles: dict[str, Any] = {}
        for axes, (words, part) in zip(panels, parts.items(), strict=True):
            groups = part["groups"]
            y = np.arange(len(groups))[::-1]
            seen = [_points(group["observed"]) for group in groups.values()]
            handles["observed"] = axes.barh(y, seen, 0.6, color=regime_color(theme, "correct"))
            for null, marker, color, size in marks:
                values = [_points(group["nulls"][null]) for group in groups.values()]
                handles[NULLS[null]] = axes.plot(
                    values, y, marker, color=color, ms=size, markeredgewidth=1.5
                )[0]
            axes.set_yticks(y, list(groups))
            axes.set_xlim(0, 103)
            axes.grid(visible=False, axis="y")
            axes.set_title(f"Jaccard index, %: {words}")
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def _points(shares: dict[str, Any]) -> float:
    return np.nan if shares["jaccard"]["mean"] is None else 100 * shares["jaccard"]["mean"]


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(study, "overlap", document, sheets(document), figure(document, LIGHT))
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
