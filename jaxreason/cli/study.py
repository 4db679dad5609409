"""`jaxreason study`: what post-training runs from one base changed, all in one command."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.cli.progress import weights_bar
from jaxreason.paths import as_path

HELP = "compare runs with the base they started from, and with each other: one page"


@dataclass(frozen=True)
class StudyOptions:
    """Compare every run with the base it started from, and which weights every two changed.

    The same as `jaxreason compare BASE RUN` for each run and `jaxreason overlap BASE RUN RUN ...`
    of all, which have more options; LoRA is merged. The base is that of the runs' configs.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """run directories (RUN, or RUN@STEP for one of its steps)"""
    base: str | None = None
    """the checkpoint all started from, where it is not where the runs' configs say"""
    tolerance: float = 1e-5
    """largest difference that counts as none"""
    rank: bool = True
    """compute singular values, which takes most of the time"""
    draws: int = 4
    """of the precision null by adding and rounding, beside its exact expectation"""
    json: bool = False
    """print everything as JSON instead of tables"""
    report: str | None = None
    """write study.html, study.json and a page for each run into this folder"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: bad options, runs of several bases or models, no such checkpoint, a file in the
            place of the report.
        FailureError: a damaged checkpoint, a disk that refuses.
    """
    arguments = parse_options(StudyOptions, argv, "jaxreason study")
    from rich.console import Console

    from jaxreason.evaluation.report_folder import check_folder
    from jaxreason.evaluation.study import study, write_study
    from jaxreason.evaluation.study_page import tables

    if arguments.report is not None:
        check_folder(as_path(arguments.report))
    found = study(
        arguments.runs,
        arguments.base,
        tolerance=arguments.tolerance,
        rank=arguments.rank,
        draws=arguments.draws,
        advance=weights_bar,
    )
    if arguments.json:
        print(json.dumps(found.as_json(), allow_nan=False))
    else:
        console = Console()
        for table in tables(found):
            console.print(table)
            console.print()
    if arguments.report is not None:
        path = write_study(found, arguments.report)
        Console(stderr=arguments.json).print(f"written to {path}", style="dim", soft_wrap=True)
