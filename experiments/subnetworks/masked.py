"""Training a part of the weights only: the changed ones, those that moved most, others, any.

    python experiments/subnetworks/masked.py

A finished run of GRPO and of DPO gives masks: the weights it changed by the paper's rule, and, of
GRPO, the 20 % that moved most. Training is repeated from the base with the same data and seed, only
these weights being trained: with the gradient masked before the optimizer, as in the paper, or the
update. Controls: random masks of equal density, the other 80 %, and another seed of the full run.
Trains what is missing (up to 8 runs besides the main ones, one seed each), then takes a minute.
Writes results/masked.{json,md,png}.
"""

from typing import Any

import jax
import jax.numpy as jnp
from measures import base_validity, changes, trained, validity
from outputs import Sheet, publish
from study import Study, from_command_line

from jaxreason import masks
from jaxreason.analysis.agreement import agreement_curve
from jaxreason.evaluation.figures import WIDTH, legend
from jaxreason.evaluation.style import LIGHT, Theme, png, regime_color, styled
from jaxreason.training.runs import load_run

METHODS = {"grpo": ("reward", "train reward"), "dpo": ("loss", "train loss")}
"""Methods, and the training metric that is reported of each."""

NEARLY_ALL = 0.85
"""From this density on, a random mask and the complement are no controls of a mask."""

TOLERANCES = (1e-5, 1e-4, 1e-3)
CURVES = ("changed", "top20", "random20", "rest20", "another seed")

WORDS = {
    "full": "all weights",
    "another seed": "all weights, another seed",
    "changed-gradient": "changed (paper's rule), gradient masked",
    "changed": "changed (paper's rule), update masked",
    "changed-random": "random, as many",
    "changed-rest": "the unchanged",
    "top20": "20 % that moved most",
    "random20": "random 20 %",
    "rest20": "the other 80 %",
}
"""Kinds of runs in the order of tables."""


def subnetworks(study: Study, method: str) -> dict[str, Any]:
    """Mask trees by kind, from the finished run of the first seed."""
    base = load_run(study.root / "base").params
    full = load_run(study.root / f"{method}-{study.seeds[0]}").params
    moved = jax.tree.map(lambda a, b: jnp.abs(b - a), base, full)
    changed = masks.difference(base, full, "absolute", tolerance=1e-5, read_dtype="bfloat16")
    found = {"changed": changed, "changed-gradient": changed}
    share = masks.density(changed).share
    keys = iter(jax.random.split(jax.random.key(0), 3))

    def random(density: float) -> Any:
        return masks.random_mask(next(keys), base, density, exact=True)

    if share < NEARLY_ALL:
        found |= {"changed-random": random(share), "changed-rest": masks.complement(changed)}
    top = masks.top_entries(moved, 0.2, scope="global")
    found |= {"top20": top, "random20": random(0.2), "rest20": masks.complement(top)}
    if method == "dpo":
        return {"changed-gradient": changed}
    return found


def masked_runs(study: Study, method: str, found: dict[str, Any]) -> dict[str, Any]:
    """Stores the masks; the experiments that train them, by name."""
    runs = {}
    for kind, mask in found.items():
        path = study.root / "masks" / f"{method}-{kind}.mask"
        masks.save_mask(path, mask)
        placement = "gradient" if kind.endswith("gradient") else "update"
        runs[f"{method}-{kind}-{study.seeds[0]}"] = study.run(
            method, study.seeds[0], mask=str(path), mask_placement=placement
        )
    return runs


def measure(study: Study) -> dict[str, Any]:
    """Trains what is missing and measures every run against the full one."""
    study.ensure(study.main_runs(list(METHODS)))
    found = {method: subnetworks(study, method) for method in METHODS}
    wanted: dict[str, Any] = {}
    for method, trees in found.items():
        wanted |= masked_runs(study, method, trees)
    study.ensure(wanted)
    return {
        "base": base_validity(study),
        "methods": {method: _rows(study, method, trees) for method, trees in found.items()},
    }


def _rows(study: Study, method: str, trees: dict[str, Any]) -> dict[str, Any]:
    first, second = study.seeds[:2]
    names = {"full": f"{method}-{first}", "another seed": f"{method}-{second}"}
    names |= {kind: f"{method}-{kind}-{first}" for kind in trees}
    rows = {}
    for kind in (kind for kind in WORDS if kind in names):
        name = names[kind]
        curve = agreement_curve(study.path("base"), study.path(names["full"]), study.path(name))
        rows[kind] = {
            "run": name,
            "trained": masks.density(trees[kind]).share if kind in trees else 1.0,
            "validity": validity(study, name),
            METHODS[method][0]: trained(study, name, METHODS[method][0]),
            "relative_norm": changes(study, name)["relative_norm"],
            "curve": curve,
        }
    if "changed" not in names:
        return {"rows": rows, "placements_agree_exactly": None}
    update = study.path(names["changed"])
    both = agreement_curve(study.path("base"), study.path(names["changed-gradient"]), update)
    return {"rows": rows, "placements_agree_exactly": both["agreement"][0]}


def _at(curve: dict[str, Any], line: str) -> str:
    places = [curve["tolerances"].index(tolerance) for tolerance in TOLERANCES]
    return " / ".join(f"{100 * curve[line][place]:.1f}" for place in places)


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """One table for each method."""
    found = []
    base = [f"{100 * document['base'][how]:.1f}" for how in ("greedy", "sampled")]
    within = " / ".join(f"{tolerance:g}" for tolerance in TOLERANCES)
    for method, part in document["methods"].items():
        metric, words = METHODS[method]
        rows = [["none (base)", "0.0", *base, "–", "–", "–", "–", "–"]]
        for kind, row in part["rows"].items():
            cells = [f"{100 * row['trained']:.1f}"]
            cells += [f"{100 * row['validity'][how]:.1f}" for how in ("greedy", "sampled")]
            cells += [f"{row[metric]:.3f}", f"{100 * row['relative_norm']:.2f}"]
            lines = ("agreement", "unrelated", "second_to_base")
            rows.append([WORDS[kind], *cells, *(_at(row["curve"], line) for line in lines)])
        headers = ["trained", "density", "valid, greedy", "valid, sampled", words]
        headers += ["update / weights", "agrees with all weights", "unrelated", "with the base"]
        title = (
            f"{method.upper()} on a part of the weights, one seed, per cent. The last three "
            f"columns: weights within {within} of the full run's, of those an unrelated update as "
            "large would give, and of the base's."
        )
        if part["placements_agree_exactly"] is not None:
            share = f"{100 * part['placements_agree_exactly']:.2f} %"
            title += f" Gradient and update masking agree on {share} of the weights to the bit."
        found.append(Sheet(title, headers, rows))
    return found


def figure(document: dict[str, Any], theme: Theme) -> bytes:
    """What each part of the weights learns, and how near it comes to the full run's weights."""
    colors = (theme.regimes["correct"], theme.regimes["swapped"], theme.regimes["dropped"])
    lines = dict(zip(CURVES, (*colors, theme.other, theme.text), strict=True))
    with styled(theme) as figure_class:
        drawn = figure_class(figsize=(WIDTH, 6.4), layout="constrained")
        panels = drawn.subplots(2, 2, width_ratios=(1.3, 1))
        handles: dict[str, Any] = {}
        for (left, right), (method, part) in zip(panels, document["methods"].items(), strict=True):
            rows = part["rows"]
            heights = [100 * row["validity"]["sampled"] for row in rows.values()]
            left.barh(range(len(rows)), heights, 0.65, color=regime_color(theme, "correct"))
            left.set_yticks(range(len(rows)), [WORDS[kind] for kind in rows])
            left.invert_yaxis()
            left.axvline(100 * document["base"]["sampled"], color=theme.muted, linestyle="--")
            left.grid(visible=False, axis="y")
            left.set_title(f"{method.upper()}: mazes solved by sampling, %")
            for kind, color in lines.items():
                if kind not in rows:
                    continue
                curve = rows[kind]["curve"]
                x, words = curve["tolerances"][1:], WORDS[kind]
                shares = [100 * share for share in curve["agreement"][1:]]
                handles[words] = right.plot(x, shares, color=color)[0]
            unrelated = [100 * s for s in rows["another seed"]["curve"]["unrelated"][1:]]
            style = {"color": theme.muted, "linestyle": ":"}
            left.set_xlabel("dashed: the base")
            right.set_xlabel("tolerance")
            handles["unrelated update as large"] = right.plot(x, unrelated, **style)[0]
            right.set_xscale("log")
            right.set_xlim(1e-6, 1e-1)
            right.set_title("Weights near the full run's, %")
        legend(drawn, list(handles.values()), list(handles))
        return png(drawn)


def main(study: Study) -> dict[str, Any]:
    """Measure, print, write; the document."""
    document = measure(study)
    publish(study, "masked", document, sheets(document), figure(document, LIGHT))
    return document


if __name__ == "__main__":
    main(from_command_line(__doc__))
