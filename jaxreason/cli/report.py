"""`jaxreason report`: tables, curves and pictures of runs as one page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxreason.cli.options import parse_options

HELP = "write the report of runs: tables, curves, pictures"


@dataclass(frozen=True)
class Report:
    """Write one self-contained page (report.html) with figures as PNG and numbers as JSON.

    Several runs stand side by side; runs of one regime are pooled in the headline table.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """run directories, evaluated with `jaxreason evaluate`"""
    out: str | None = None
    """folder of the report; by default `report` in the (first) run directory"""
    evaluation: str | None = None
    """name of the evaluation to show; the latest by default"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: no run, the same run twice, an unknown evaluation.
        FailureError: no run there, a damaged file, a disk that refuses.
    """
    arguments = parse_options(Report, argv, "jaxreason report")
    from rich.console import Console

    from jaxreason.evaluation.report import write_report
    from jaxreason.evaluation.runs import read_runs
    from jaxreason.evaluation.terminal import comparison_table

    runs = read_runs(arguments.runs, arguments.evaluation)
    console = Console()
    if any(record.evaluation is not None for record in runs):
        console.print(comparison_table(runs))
    path = write_report(arguments.runs, arguments.out, arguments.evaluation)
    console.print(f"written to {path}", style="dim", soft_wrap=True)
