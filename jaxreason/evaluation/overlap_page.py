"""The report of an overlap: an HTML page, figures as PNG, the numbers as JSON."""

import json
from pathlib import Path, PurePath
from typing import Any

from jaxreason.evaluation import overlap_figures, page
from jaxreason.evaluation.comparison_tables import per_cent
from jaxreason.evaluation.overlap_tables import NULLS, reading, rule_words, run_labels
from jaxreason.evaluation.report_folder import put_in_place
from jaxreason.evaluation.style import THEMES
from jaxreason.paths import as_path

_NOTE = (
    "Bars: Jaccard index of the weights that both runs changed. Rounded independent updates share "
    "weights because a small update shows only where the weight's unit in the last place is small."
)


def write_overlap(document: dict[str, Any], folder: str | Path) -> Path:
    """Writes overlap.html, overlap.json and PNGs; returns the path of the page.

    Args:
        document: of `analysis.overlap.overlap_report` or `overlap_matrix`.
        folder: made if need be; other files in it are left alone.

    Raises:
        FailureError: the disk refuses.
    """
    two = "o1" in document["total"]["observed"]
    draw = overlap_figures.against_nulls if two else overlap_figures.every_two
    images = {theme.name: image for theme in THEMES if (image := draw(document, theme))}
    labels = [page.escape(label) for label in run_labels(document)]
    base = page.escape(PurePath(document["base"]["path"]).name)
    body = [
        "<header><h1>What the runs changed alike</h1>"
        f'<p class="lead">{", ".join(labels)}, from {base}: {document["total"]["size"]:,} weights '
        f"({page.escape(rule_words(document))}).</p></header>"
    ]
    if two:
        body.append(page.section("In all", _table(document["total"]), note=_reading(document)))
    if images:
        title = "Against null models" if two else "Every two runs"
        body.append(page.section(title, page.picture(images, title), note=_NOTE if two else ""))
    if two:
        body.append(_tensors(document))
    body.append(_not_counted(document))
    body.append(
        "<footer>One-sided overlap after Mukherjee et al. 2025, arXiv 2505.11711. Made by "
        "jaxreason; the same numbers are in overlap.json.</footer>"
    )
    html = page.page("What the runs changed alike", body)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    pictures = {"overlap": images["light"]} if images else {}
    return put_in_place(as_path(folder), "overlap.html", html, {"overlap.json": text}, pictures)


def _reading(document: dict[str, Any]) -> str:
    return page.escape(reading(document["total"]))


def _table(total: dict[str, Any]) -> str:
    rows = []
    for name, words in {"observed": "observed", **NULLS}.items():
        shares = total["observed"] if name == "observed" else total["nulls"][name]
        z = shares.get("z")
        cells = [page.escape(per_cent(shares[key])) for key in ("o1", "o2", "jaccard")]
        rows.append([words, *cells, "" if z is None else f"{z:+.1f} sd"])
    return page.table(["", "o1, %", "o2, %", "Jaccard, %", "observed is above by"], rows)


def _tensors(document: dict[str, Any]) -> str:
    rows = []
    for item in document["tensors"]:
        shares = [item["observed"], item["nulls"]["uniform"], item["nulls"]["precision"]]
        cells = [page.escape(per_cent(part["jaccard"])) for part in shares]
        changed = [page.escape(per_cent(1 - part)) for part in item["sparsity"] if part is not None]
        changed = changed or ["–", "–"]
        rows.append([page.escape(item["name"]), *changed, *cells])
    head = ["Tensor", "run 1 changed, %", "run 2 changed, %", "Jaccard, %", "by chance", "rounded"]
    table = page.table(head, rows, "dense")
    content = f"<details><summary>{len(rows)} tensors</summary>{table}</details>"
    return page.section("All tensors", content)


def _not_counted(document: dict[str, Any]) -> str:
    words = {"missing": "not in every run", "extra": "not in the base", "reshaped": "other shape"}
    rows = [
        [page.escape(item["name"]), why] for kind, why in words.items() for item in document[kind]
    ]
    if not rows:
        return ""
    return page.section("Not counted", page.table(["Tensor", "why"], rows, "facts"))
