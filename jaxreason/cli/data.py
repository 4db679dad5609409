"""`jaxreason data`: maze data sets on disk; data sets of text looked at and checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxreason.cli.options import parse_options
from jaxreason.data.sources import MazeData
from jaxreason.errors import InputError
from jaxreason.paths import local_path

SUBCOMMANDS = {
    "prepare": "write a maze data set to disk",
    "list": "the provided data sets, where to get them and what they take",
    "show": "records of a file or provided data set, as a model would see them",
    "check": "read all records of a file: columns, counts, lengths, and what is wrong",
}


@dataclass(frozen=True)
class Prepare:
    """Write a data set of mazes (train, validation, test) for later training runs.

    Running it again with the same settings does nothing. Training does not need it: without a
    prepared data set the same examples are generated on the fly.
    """

    directory: str
    """folder for data sets; one folder per data set is made in it"""
    generator: str = "wilson"
    """wilson, kruskal, dfs, drunkards_walk, searchformer or free_space"""
    size: int = 30
    """columns and rows, walls included"""
    regime: str = "correct"
    """solution_only, correct, swapped or dropped"""
    count: int = 50_000
    """training examples"""
    validation: int = 1_000
    """validation examples"""
    test: int = 1_000
    """test examples"""
    seed: int = 0
    """seed of the data set"""
    drop_level: int | None = None
    """1 to 4, for regime dropped"""
    tie_break: str = "paper"
    """A* tie-break: paper, low_g, high_g, searchformer, searchformer_random"""
    minimum_path_cells: int | None = None
    """least cells on the shortest path"""


def run(argv: Sequence[str]) -> int:
    """Runs `jaxreason data ...`; see `SUBCOMMANDS`.

    Raises:
        InputError: a setting outside its range, or an unknown subcommand.
        FailureError: the directory cannot be written.
    """
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<9}{summary}" for name, summary in SUBCOMMANDS.items()]
        print("usage: jaxreason data SUBCOMMAND ...\n\nsubcommands:", *lines, sep="\n")
        return 0 if argv else 2
    name = argv[0]
    if name not in SUBCOMMANDS:
        raise InputError(
            f"subcommand {name!r} of `jaxreason data` is unknown; expected one of "
            + ", ".join(SUBCOMMANDS)
        )
    if name == "prepare":
        _prepare(parse_options(Prepare, argv[1:], "jaxreason data prepare"))
        return 0
    from jaxreason.cli import data_records

    return data_records.run(name, argv[1:])


def _prepare(arguments: Prepare) -> None:
    # Importing TensorFlow Datasets takes a second: only once the arguments are known to be good.
    data = MazeData(
        generator=arguments.generator,
        width=arguments.size,
        height=arguments.size,
        minimum_path_cells=arguments.minimum_path_cells,
        count=arguments.count,
        seed=arguments.seed,
        regime=arguments.regime,
        drop_level=arguments.drop_level,
        tie_break=arguments.tie_break,
    )
    from jaxreason.data.prepared import prepare

    total = arguments.count + arguments.validation + arguments.test
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("examples", total=total)
        folder = prepare(
            data,
            local_path(arguments.directory, "directory"),
            validation=arguments.validation,
            test=arguments.test,
            on_example=lambda: progress.advance(task),
        )
        progress.update(task, completed=total)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {total:,} examples, {size / total:.0f} bytes each")
