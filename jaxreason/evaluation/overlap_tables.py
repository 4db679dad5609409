"""The tables of an overlap on a terminal, and what it says in words."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from jaxreason.evaluation.comparison_tables import per_cent

NULLS = {
    "uniform": "random weights",
    "tensor_matched": "random within each tensor",
    "magnitude_matched": "random among weights of like size",
    "precision": "independent updates, rounded",
    "precision_global": "the same, one scale for all tensors",
    "precision_sign": "updates of one size, rounded",
}
"""Each null model in words, in the order of tables."""

SIGNIFICANT = 4.0
"""Standard deviations above a null model that count as more than it."""


def run_labels(document: dict[str, Any]) -> list[str]:
    """Short names of the runs: the last parts of their paths that tell them apart, and steps."""
    parts = [_parts(run["path"]) for run in document["runs"]]
    steps = ["" if run["step"] is None else f"@{run['step']}" for run in document["runs"]]
    names: list[str] = []
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) + s for p, s in zip(parts, steps, strict=True)]
        if len(set(names)) == len(names):
            break
    return names


def _parts(path: str) -> list[str]:
    return [part for part in path.removesuffix(".safetensors").split("/") if part] or ["/"]


def reading(table: dict[str, Any]) -> str:
    """What the overlap of two runs says, in a sentence.

    Args:
        table: `total` of a document of two runs.
    """
    observed, nulls = table["observed"], table["nulls"]
    if observed["o1"] is None or observed["o2"] is None:
        return "A run changed nothing, so there is no overlap to speak of."

    def above(*names: str) -> bool:
        return all((nulls[name]["z"] or 0.0) > SIGNIFICANT for name in names)

    if above("uniform", "magnitude_matched", "precision", "precision_global"):
        one_size = nulls["precision_sign"]["o1"]
        more = one_size is not None and observed["o1"] > one_size
        rest = "" if more else ", though not than rounded updates of one size share"
        return (
            "More than chance, the size of the weights and the rounding of independent Gaussian "
            f"updates explain{rest}."
        )
    if above("uniform", "precision", "precision_global"):
        return "More than chance, but no more than the size of the weights explains."
    if above("uniform"):
        return (
            "More than chance, but no more than independent updates share because rounding hides "
            "the same weights of both: no evidence of a common subnetwork."
        )
    return "No more than two random sets of weights share."


def tables(document: dict[str, Any]) -> Iterator[Table | Text]:
    """What `jaxreason overlap` prints.

    Args:
        document: of two runs, or of more.
    """
    if "o1" in document["total"]["observed"]:
        yield _of_two(document)
        yield Text(reading(document["total"]))
    else:
        yield _matrix(document, document["total"]["observed"], "observed")
        for name in ("uniform", "precision"):
            yield _matrix(document, document["total"]["nulls"][name], NULLS[name])
    lost = [item["name"] for kind in ("missing", "extra", "reshaped") for item in document[kind]]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        yield Text(f"not counted, not in all checkpoints alike: {', '.join(lost[:5])}{more}")


def rule_words(document: dict[str, Any]) -> str:
    """The rule of equality in words."""
    rule = document["settings"]
    words = rule["mode"] if rule["mode"] == "exact" else f"{rule['mode']} {rule['tolerance']:g}"
    return f"{words}, read in {rule['read_dtype']}" if rule["read_dtype"] else words


def _new(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )


def _of_two(document: dict[str, Any]) -> Table:
    total = document["total"]
    changed = " and ".join(
        f"{name} changed {per_cent(n / total['size'] if total['size'] else None)} %"
        for name, n in zip(run_labels(document), total["updated"], strict=True)
    )
    table = _new(f"{changed} of {total['size']:,} weights ({rule_words(document)})")
    table.add_column("")
    for name in ("o1, %", "o2, %", "Jaccard, %", "observed is above by"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [("observed", total["observed"])]
    rows += [(words, total["nulls"][name]) for name, words in NULLS.items()]
    for words, shares in rows:
        z = shares.get("z")
        deviations = "" if words == "observed" else "–" if z is None else f"{z:+.1f} sd"
        cells = [per_cent(shares[name]) for name in ("o1", "o2", "jaccard")]
        table.add_row(words, *cells, deviations, style="bold" if words == "observed" else None)
    return table


def _matrix(document: dict[str, Any], shares: dict[str, Any], words: str) -> Table:
    labels = run_labels(document)
    table = _new(f"{words}: % of the row's changed weights that the column changed too")
    table.add_column("")
    table.add_column("changed, %", justify="right")
    for label in labels:
        table.add_column(label, justify="right", overflow="fold")
    total = document["total"]
    for i, label in enumerate(labels):
        own = per_cent(total["updated"][i] / total["size"] if total["size"] else None)
        row = shares["one_sided"][i]
        table.add_row(label, own, *("·" if i == j else per_cent(x) for j, x in enumerate(row)))
    return table
