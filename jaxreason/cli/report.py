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

    Several runs stand side by side; runs of one regime are pooled in the headline table. Results
    of `jaxreason benchmark`, and of `jaxreason score` in RUN/evaluation, are shown beside what
    papers print; with these alone, folders that hold nothing else may be named too.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """run directories, evaluated with `jaxreason evaluate` or `jaxreason benchmark`, or folders of
    results"""
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

    from jaxreason.evaluation.benchmarks.side_by_side import (
        gather,
        terminal_tables,
        write_side_by_side,
    )
    from jaxreason.evaluation.report import write_report
    from jaxreason.evaluation.runs import evaluations, read_runs
    from jaxreason.evaluation.terminal import comparison_table

    console = Console()
    results = gather(arguments.runs)
    if results and arguments.evaluation is None and not any(map(evaluations, arguments.runs)):
        path = write_side_by_side(results, arguments.runs, arguments.out)
    else:
        runs = read_runs(arguments.runs, arguments.evaluation)
        if any(record.evaluation is not None for record in runs):
            console.print(comparison_table(runs))
        path = write_report(arguments.runs, arguments.out, arguments.evaluation)
    for part in terminal_tables(results) if results else ():
        console.print(part, soft_wrap=True)
    console.print(f"written to {path}", style="dim", soft_wrap=True)
