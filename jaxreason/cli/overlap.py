"""`jaxreason overlap`: how much of their updates runs from one base share, against null models."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from jaxreason.analysis.equality import Mode
from jaxreason.cli.options import parse_options
from jaxreason.cli.progress import weights_bar
from jaxreason.errors import InputError
from jaxreason.paths import as_path

HELP = "compare which weights runs from one base changed, against null models"


@dataclass(frozen=True)
class Overlap:
    """Compare which weights two or more runs from one base changed, against null models.

    o1 is the share of run 1's changed weights that run 2 changed too, o2 the other way round.
    Beside them stands what chance gives, what the size of the weights gives, and what independent
    dense updates give after they are rounded as these checkpoints are.
    """

    base: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BASE")]
    """the checkpoint all runs started from: RUN, RUN@STEP, Orbax or safetensors"""
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")]
    """two checkpoints, or more for a matrix"""
    mode: Mode = "absolute"
    """when a weight counts as unchanged"""
    tolerance: float | None = None
    """of the mode; by default 1e-5, 1e-3 for bf16-relative"""
    read_dtype: Literal["bfloat16"] | None = None
    """cast all checkpoints first, for example float32 masters"""
    seed: int = 0
    """of the draws"""
    draws: int = 4
    """of the precision null by adding and rounding, beside its exact expectation"""
    json: bool = False
    """print everything as JSON (keys: see jaxreason/analysis/overlap_documents.py)"""
    report: str | None = None
    """write a page with pictures (overlap.html), PNG and overlap.json into this folder"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: fewer than two runs, checkpoints of different models, bad options, a file in
            the place of the report.
        FailureError: a damaged checkpoint, a disk that refuses.
    """
    arguments = parse_options(Overlap, argv, "jaxreason overlap")
    if len(arguments.runs) < 2:
        raise InputError(f"runs has {len(arguments.runs)} checkpoint(s); expected two or more")
    from rich.console import Console

    from jaxreason.analysis.checkpoints import open_checkpoint
    from jaxreason.analysis.overlap import overlap_matrix, overlap_report
    from jaxreason.evaluation.overlap_tables import tables
    from jaxreason.evaluation.report_folder import check_folder

    base, *runs = (open_checkpoint(path) for path in (arguments.base, *arguments.runs))
    if arguments.report is not None:
        check_folder(as_path(arguments.report))
    options = {
        "mode": arguments.mode,
        "tolerance": arguments.tolerance,
        "read_dtype": arguments.read_dtype,
        "seed": arguments.seed,
        "draws": arguments.draws,
    }
    with weights_bar(base.parameters) as advance:
        if len(runs) == 2:
            document = overlap_report(base, runs[0], runs[1], **options, advance=advance)
        else:
            document = overlap_matrix(base, runs, **options, advance=advance)
    if arguments.json:
        print(json.dumps(document, allow_nan=False))
    else:
        console = Console()
        for table in tables(document):
            console.print(table)
            console.print()
    if arguments.report is not None:
        from jaxreason.evaluation.overlap_page import write_overlap

        path = write_overlap(document, arguments.report)
        Console(stderr=arguments.json).print(f"written to {path}", style="dim", soft_wrap=True)
