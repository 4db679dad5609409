"""`jaxreason evaluate`: sample from a run's model and judge every completion."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.errors import FailureError, InputError

HELP = "sample from a run's model and judge every completion"


@dataclass(frozen=True)
class Evaluate:
    """Sample from a run's model on held-out mazes of every generator and judge each completion.

    Writes RUN/evaluation/NAME.json and prints a table. The same arguments give the same numbers.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """run directory, as `jaxreason train` makes it"""
    generators: tuple[str, ...] = ("all",)
    """test mazes: all, or some of wilson kruskal dfs drunkards_walk searchformer free_space"""
    count: int = 100
    """problems per generator"""
    temperature: tuple[float, ...] = (0.0, 1.0)
    """decoding temperatures; 0 is greedy"""
    samples: int = 1
    """completions per problem at temperatures above 0"""
    split: str = "test"
    """train, validation or test"""
    seed: int = 0
    """of the problems and the sampling"""
    max_new_tokens: int | None = None
    """limit of a completion; by default room for every true one and then some"""
    batch_size: int = 32
    """problems decoded together"""
    bin_width: int | None = None
    """tokens per length bin; by default in proportion to the paper's 1,000 at 30x30"""
    checkpoint: int | None = None
    """step of the checkpoint; the newest by default"""
    name: str | None = None
    """name of the result; step-N by default"""
    json: bool = False
    """print the result as JSON instead of a table"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an argument outside its range.
        FailureError: no run there, or a damaged one.
    """
    arguments = parse_options(Evaluate, argv, "jaxreason evaluate")
    if not (arguments.run / "config.json").is_file():
        raise FailureError(
            f"{arguments.run} is not a run directory: it has no config.json; train one with "
            "`jaxreason train`"
        )
    from jaxreason.mazes.generators import GENERATORS

    chosen = arguments.generators
    if "all" in chosen and len(chosen) > 1:
        raise InputError(f"generators is {' '.join(chosen)}; 'all' stands alone")
    # JAX takes a second to import; usage errors above do not wait for it.
    from jaxreason.evaluation.settings import EvaluationSettings

    settings = EvaluationSettings(
        generators=GENERATORS if chosen == ("all",) else chosen,
        count=arguments.count,
        temperatures=arguments.temperature,
        samples=arguments.samples,
        split=arguments.split,
        seed=arguments.seed,
        max_new_tokens=arguments.max_new_tokens,
        batch_size=arguments.batch_size,
        bin_width=arguments.bin_width,
    )
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from jaxreason.evaluation.documents import dump
    from jaxreason.evaluation.pipeline import evaluate_run
    from jaxreason.evaluation.terminal import evaluation_table
    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache

    enable_compilation_cache()
    keep_freed_memory()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading the checkpoint", total=None)
        document, path = evaluate_run(
            arguments.run,
            settings,
            name=arguments.name,
            step=arguments.checkpoint,
            on_progress=lambda label, done, total: progress.update(
                task, description=f"completions, {label}", completed=done, total=total
            ),
        )
    if arguments.json:
        print(dump(document), end="")
        return
    out = Console()
    out.print(evaluation_table(document))
    for item in document["skipped"]:
        out.print(f"{item['generator']} skipped: {item['reason']}", style="dim")
    out.print(f"per cent with one standard error; written to {path}", style="dim", soft_wrap=True)
