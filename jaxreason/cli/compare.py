"""`jaxreason compare`: how sparse and how full-rank the difference of two checkpoints is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxreason.analysis.equality import Mode
from jaxreason.cli.options import parse_options
from jaxreason.cli.progress import weights_bar
from jaxreason.paths import as_path

if TYPE_CHECKING:
    from jaxreason.analysis.comparison import CompareSettings, Comparison
    from jaxreason.analysis.tensors import Checkpoint

HELP = "compare two checkpoints: update sparsity and rank"


@dataclass(frozen=True)
class Compare:
    """Compare two checkpoints: update sparsity under every rule of equality, norms and rank.

    A checkpoint is a run directory (RUN, or RUN@STEP for one of its steps), an Orbax checkpoint, a
    safetensors file or a folder of them; tensors are read one at a time, so memory stays small.
    """

    before: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BEFORE")]
    """the checkpoint before the update"""
    after: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AFTER")]
    """the checkpoint after it"""
    tolerance: float = 1e-5
    """largest difference that counts as none, in the modes `absolute` and `paper`"""
    mode: Mode = "absolute"
    """rule of the tables by layer and matrix; `paper` adds the numbers of the authors' script"""
    rank: bool = True
    """compute singular values, which takes most of the time"""
    json: bool = False
    """print everything as JSON (keys: see jaxreason/analysis/documents.py) instead of tables"""
    report: str | None = None
    """write a page with pictures (compare.html), PNGs and compare.json into this folder"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: bad options, no such checkpoint, pickle-based files, checkpoints of different
            models, a file in the place of the report.
        FailureError: a damaged checkpoint, a disk that refuses.
    """
    arguments = parse_options(Compare, argv, "jaxreason compare")
    from rich.console import Console

    from jaxreason.analysis.checkpoints import open_checkpoint
    from jaxreason.analysis.comparison import CompareSettings
    from jaxreason.analysis.documents import document
    from jaxreason.evaluation.report_folder import check_folder

    settings = CompareSettings(arguments.mode, arguments.tolerance, arguments.rank)
    before, after = open_checkpoint(arguments.before), open_checkpoint(arguments.after)
    if arguments.report is not None:
        check_folder(as_path(arguments.report))
    comparison = _compare(before, after, settings)
    if arguments.json:
        print(json.dumps(document(comparison), allow_nan=False))
    else:
        from jaxreason.evaluation.comparison_tables import tables

        console = Console()
        for table in tables(comparison):
            console.print(table)
            console.print()
    if arguments.report is not None:
        from jaxreason.evaluation.comparison_report import write_comparison

        path = write_comparison(comparison, arguments.report)
        Console(stderr=arguments.json).print(f"written to {path}", style="dim", soft_wrap=True)


def _compare(
    before: "Checkpoint", after: "Checkpoint", settings: "CompareSettings"
) -> "Comparison":
    """Compares with a bar that counts weights, on a terminal's standard error only."""
    from jaxreason.analysis.comparison import compare

    with weights_bar(before.parameters) as advance:
        return compare(before, after, settings, advance)
