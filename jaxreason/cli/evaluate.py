"""`jaxreason evaluate`: sample from a run's model and judge every answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import refuse_several
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

HELP = "sample from a run's model and judge every answer"


@dataclass(frozen=True)
class Evaluate:
    """Sample from a run's model on held-out mazes and judge each answer.

    A next-token model answers mazes of every generator; a masked-diffusion model each task it was
    trained on, and right answers are scored besides: bounds on nats and perplexity. A language
    model, a run's or a published folder, answers --prompts (`jaxreason benchmark` asks published
    benchmarks). Writes RUN/evaluation/NAME.json and prints a table. The same arguments give the
    same numbers.
    """

    run: Annotated[str, tyro.conf.Positional]
    """run directory, as `jaxreason train` makes it"""
    generators: tuple[str, ...] | None = None
    """test mazes: all (default), or some of wilson kruskal dfs drunkards_walk searchformer
    free_space; next-token models"""
    count: int = 100
    """problems per generator or task"""
    temperature: tuple[float, ...] | None = None
    """decoding temperatures, 0 (greedy) and 1 by default; next-token models"""
    samples: int | None = None
    """completions per problem at temperatures above 0, 1 by default; next-token models"""
    split: str = "test"
    """train, validation or test"""
    seed: int = 0
    """of the problems and the sampling"""
    max_new_tokens: int | None = None
    """limit of a completion, by default room for every true one and then some; next-token
    models"""
    batch_size: int = 32
    """problems decoded together"""
    bin_width: int | None = None
    """tokens per length bin, by default in proportion to the paper's 1,000 at 30x30; next-token
    models"""
    tasks: tuple[str, ...] | None = None
    """tasks to judge, by default all the run was trained on; masked diffusion"""
    draws: int | None = None
    """masks per right answer that is too long to try them all, 32 by default; masked diffusion"""
    padding: Literal["predicted", "hidden"] | None = None
    """the filling after right answers: scored as in training (default), or hidden, which gives
    their length away; masked diffusion"""
    prompts: str | None = None
    """data file of prompts with answers, judged by math-verify; language models"""
    suffix: str | None = None
    """text after each prompt, such as how to write the answer; language models"""
    template: Literal["chat", "plain"] | None = None
    """how prompts are laid out, as chat by default; language models"""
    checkpoint: int | None = None
    """step of the checkpoint; the newest by default"""
    name: str | None = None
    """name of the result; step-N by default"""
    json: bool = False
    """print the result as JSON instead of a table"""


_NEXT_TOKEN = ("generators", "temperature", "samples", "max_new_tokens", "bin_width")
_DIFFUSION = ("tasks", "draws", "padding")
_LANGUAGE = ("prompts", "suffix", "template")


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an argument outside its range.
        FailureError: no run there, or a damaged one.
    """
    arguments = parse_options(Evaluate, argv, "jaxreason evaluate")
    if not (as_path(arguments.run) / "config.json").is_file():
        raise FailureError(
            f"{arguments.run} is not a run directory: it has no config.json; train one with "
            "`jaxreason train`"
        )
    chosen = arguments.generators or ("all",)
    if "all" in chosen and len(chosen) > 1:
        raise InputError(f"generators is {' '.join(chosen)}; 'all' stands alone")
    refuse_several("evaluate")
    # JAX takes a second to import; usage errors above do not wait for it.
    from jaxreason.training.runs import read_experiment

    known = read_experiment(arguments.run)
    if getattr(known, "kind", "") == "pretrained":
        from jaxreason.cli.language import evaluate_language

        _refuse(arguments, ("generators", "bin_width", *_DIFFUSION), "language")
        evaluate_language(arguments)
        return
    diffusion = hasattr(known, "blocks")
    _refuse(arguments, _LANGUAGE, "masked-diffusion" if diffusion else "next-token")
    if diffusion:
        _refuse(arguments, _NEXT_TOKEN, "masked-diffusion")
    else:
        _refuse(arguments, _DIFFUSION, "next-token")
    settings = _diffusion_settings(arguments) if diffusion else _settings(arguments, chosen)
    from jaxreason.evaluation.documents import dump
    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache

    enable_compilation_cache()
    keep_freed_memory()
    document, path = _evaluate(arguments, settings, diffusion)
    if arguments.json:
        print(dump(document), end="")
    else:
        _show(document, path, diffusion)


def _evaluate(arguments: Evaluate, settings: Any, diffusion: bool) -> tuple[dict[str, Any], Path]:
    """The document and its path, with a bar on standard error meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from jaxreason.evaluation.diffusion.evaluating import evaluate_diffusion_run
    from jaxreason.evaluation.pipeline import evaluate_run

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading the checkpoint", total=None)
        evaluate: Any = evaluate_diffusion_run if diffusion else evaluate_run
        return evaluate(
            arguments.run,
            settings,
            name=arguments.name,
            step=arguments.checkpoint,
            on_progress=lambda label, done, total: progress.update(
                task, description=label, completed=done, total=total
            ),
        )


def _show(document: dict[str, Any], path: Path, diffusion: bool) -> None:
    """The table on standard output."""
    from rich.console import Console

    from jaxreason.evaluation.diffusion.terminal import diffusion_table
    from jaxreason.evaluation.terminal import evaluation_table

    out = Console()
    out.print(diffusion_table(document) if diffusion else evaluation_table(document))
    if diffusion:
        out.print("nats and perplexity: upper bounds; ~ from random masks", style="dim")
    for item in document.get("skipped", ()):
        out.print(f"{item['generator']} skipped: {item['reason']}", style="dim")
    out.print(f"per cent with one standard error; written to {path}", style="dim", soft_wrap=True)


def _refuse(arguments: Evaluate, names: Sequence[str], kind: str) -> None:
    """Options that say nothing about this kind of model."""
    for name in names:
        if getattr(arguments, name) is not None:
            other = "language" if name in _LANGUAGE else "masked-diffusion"
            if name in _NEXT_TOKEN:
                other = "next-token"
            raise InputError(
                f"--{name.replace('_', '-')} is for {other} models, and {arguments.run} is a "
                f"{kind} run; leave it out"
            )


def _settings(arguments: Evaluate, chosen: tuple[str, ...]) -> Any:
    from jaxreason.evaluation.settings import EvaluationSettings
    from jaxreason.mazes.generators import GENERATORS

    temperatures, samples = arguments.temperature, arguments.samples
    return EvaluationSettings(
        generators=GENERATORS if chosen == ("all",) else chosen,
        count=arguments.count,
        temperatures=(0.0, 1.0) if temperatures is None else temperatures,
        samples=1 if samples is None else samples,
        split=arguments.split,
        seed=arguments.seed,
        max_new_tokens=arguments.max_new_tokens,
        batch_size=arguments.batch_size,
        bin_width=arguments.bin_width,
    )


def _diffusion_settings(arguments: Evaluate) -> Any:
    from jaxreason.evaluation.diffusion.evaluating import DiffusionEvaluation
    from jaxreason.training.diffusion.bounds import BoundConfig

    defaults = BoundConfig()
    return DiffusionEvaluation(
        tasks=arguments.tasks or (),
        count=arguments.count,
        split=arguments.split,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        bounds=BoundConfig(
            draws=defaults.draws if arguments.draws is None else arguments.draws,
            padding=arguments.padding or defaults.padding,
        ),
    )
