"""Tables for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from jaxreason.evaluation.runs import (
    GENERATOR_LABELS,
    REGIME_LABELS,
    RunRecord,
    generators_of,
    pooled_share,
    regimes_of,
)
from jaxreason.evaluation.statistics import Share


def evaluation_table(document: dict[str, Any]) -> Table:
    """One evaluation: a row per generator at each temperature, per cent with standard errors."""
    title = " · ".join(
        part
        for part in (
            document["run"],
            REGIME_LABELS.get(document["regime"], document["regime"]),
            f"{document['width']}x{document['height']}",
            f"step {document['step']}" if document["step"] is not None else "",
            f"{document['settings']['split']} split",
        )
        if part
    )
    table = Table(
        title=title,
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("test mazes", no_wrap=True)
    for name in ("valid\nplans", "optimal\nplans", "valid\ntraces", "traces in\nvalid plans"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("cut by\nthe limit", justify="right", no_wrap=True)
    for temperature in document["settings"]["temperatures"]:
        how = "greedy" if temperature == 0 else f"temperature {temperature:g}"
        table.add_row(Text(how, "bold"))
        for result in document["results"]:
            if result["temperature"] == temperature:
                name = GENERATOR_LABELS.get(result["generator"], result["generator"])
                # Five shares of up to twelve characters have to fit into 80 columns.
                name = name.removesuffix(" style")
                table.add_row(name, *_texts(result["metrics"], document["regime"]))
    return table


def _texts(metrics: dict[str, Any], regime: str) -> list[str]:
    traces = [
        metrics["trace_valid"]["reference"],
        metrics["trace_valid_within_valid_plans"]["reference"],
    ]
    shares = [metrics["plan_valid"], metrics["optimal"], *traces, metrics["truncated"]]
    texts = [Share(**share).text() for share in shares]
    return [*texts[:2], "–", "–", texts[4]] if regime == "solution_only" else texts


def comparison_table(runs: Sequence[RunRecord]) -> Table:
    """Regimes side by side: valid plans per generator and, dim, valid traces.

    Runs of one regime are pooled (`runs.pool`). Numbers are per cent with one standard error, at
    the first temperature evaluated.

    Args:
        runs: from `read_runs`.
    """
    groups = regimes_of(runs)
    table = Table(
        title="Valid plans, % (valid traces below)",
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 3, 0, 0),
    )
    table.add_column("test mazes", no_wrap=True)
    for regime, members in groups.items():
        name = REGIME_LABELS.get(regime, regime)
        table.add_column(f"{name} (x{len(members)})" if len(members) > 1 else name, justify="right")
    for generator in generators_of(runs):
        cells = []
        for regime, members in groups.items():
            plan = pooled_share(members, generator, "plan_valid")
            trace = pooled_share(members, generator, "trace_valid", "reference")
            below = "no traces" if regime == "solution_only" else trace.text()
            cells.append(Text.assemble(plan.text(), "\n", (below, "dim")))
        table.add_row(GENERATOR_LABELS.get(generator, generator), *cells)
    return table
