"""An evaluation of a masked-diffusion run as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from jaxreason.evaluation.diffusion.stage_table import TASK_LABELS, Measured

_JUDGED = (("optimal", "optimal"), ("share", "share\nright"))


def diffusion_table(document: Mapping[str, Any]) -> Table:
    """A row per task: judged answers in per cent, bounds on the right answers."""
    split = f"{document['settings']['split']} split"
    split = split if document["data"] == "mazes" else "held-out records"
    table = Table(
        title=f"{document['run']} · step {document['step']} · {split}",
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("task", no_wrap=True)
    columns = ("correct", *(label for _, label in _JUDGED), "nats per\nanswer", "perplexity")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for task, found in document["tasks"].items():
        judged, scored = found["judged"] or {}, found["likelihood"]
        names = ("correct", *(name for name, _ in _JUDGED))
        shares = [Measured(**judged[name]).text() if name in judged else "–" for name in names]
        sign = "" if scored["exact"] else "~"
        bounds = [sign + _number(scored[n], d) for n, d in (("nats", 2), ("perplexity", 3))]
        table.add_row(TASK_LABELS.get(task, task), *shares, *bounds)
    return table


def _number(found: Mapping[str, Any], digits: int) -> str:
    error = found["standard_error"]
    return f"{found['value']:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
