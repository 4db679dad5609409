"""`jaxreason benchmark`: GSM8K, MATH500, MMLU and their like, by published prompts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import refuse_several
from jaxreason.errors import InputError
from jaxreason.paths import as_path

HELP = "GSM8K, MATH500, MMLU and their like, by published prompts and settings"


@dataclass(frozen=True)
class Benchmark:
    """Ask a run or a published folder the questions of a benchmark; judge and keep every answer.

    `jaxreason benchmark list` shows the benchmarks and their settings. Writes NAME.json (share of
    right answers with its error, all settings) and NAME.jsonl (every answer); started again after a
    stop it goes on where it was.
    """

    run: Annotated[str, tyro.conf.Positional]
    """run directory, or a published folder with a tokenizer"""
    benchmark: str
    """gsm8k, math500, mmlu, arc_challenge or truthfulqa_mc1"""
    data: str
    """its file or folder, in the official layout"""
    settings: str | None = None
    """which published settings; the first in the list by default"""
    examples: str = ""
    """file or folder that solved examples come from: GSM8K's train split, MMLU's dev split"""
    split: str = ""
    """word in the names of a folder's data files, such as test"""
    limit: int = 0
    """only the first so many questions; 0 for all"""
    shots: int | None = None
    """solved examples, if not as published"""
    new_tokens: int | None = None
    """longest answer, if not as published"""
    temperature: float | None = None
    """of sampling, if not as published"""
    block: int | None = None
    """tokens decoded together, if not as published; diffusion models"""
    steps: int | None = None
    """of decoding an answer, if not as published; diffusion models"""
    draws: int = 128
    """masks per choice, where choices are compared; diffusion models"""
    max_length: int | None = None
    """tokens that the model sees; what its config.json says by default"""
    thinking: bool | None = None
    """enable_thinking of the chat template, for those that have it"""
    batch_size: int = 8
    """rows of a batch"""
    fsdp: int = 0
    """devices to spread the model over, -1 for all; 0 takes the first one"""
    checkpoint: int | None = None
    """step of the checkpoint; the newest by default"""
    tokenizer: str | None = None
    """folder of the tokenizer, where the run has none"""
    seed: int = 0
    """of sampling and masks"""
    name: str | None = None
    """of the two files; BENCHMARK-SETTINGS by default"""
    out: str | None = None
    """their folder; RUN/evaluation by default, required for published weights"""
    restart: bool = False
    """answer again what is answered"""
    json: bool = False
    """print the result as JSON instead of a table"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an argument outside its range, answers of other settings under this name.
        FailureError: no run there, a damaged one, or a file that cannot be read or written.
    """
    if list(argv[:1]) == ["list"]:
        if len(argv) > 1:
            raise InputError(f"`jaxreason benchmark list` takes nothing more, not {argv[1]!r}")
        from jaxreason.evaluation.benchmarks.terminal import settings_lines

        print("\n".join(settings_lines()))
        return
    arguments = parse_options(Benchmark, argv, "jaxreason benchmark")
    from jaxreason.evaluation.benchmarks.settings import find_setting

    setting = find_setting(arguments.benchmark, arguments.settings)
    names = ("shots", "new_tokens", "temperature", "block", "steps")
    changes = {name: getattr(arguments, name) for name in names}
    changed = setting.with_changes(**changes)
    refuse_several("benchmark")
    document, path = _run(
        arguments,
        changed,
        tuple(name for name in names if getattr(changed, name) != getattr(setting, name)),
    )
    if arguments.json:
        print(json.dumps(document, allow_nan=False))
    else:
        _show(document, path)


def _run(arguments: Benchmark, setting: Any, changed: tuple[str, ...]) -> tuple[Any, Path]:
    """The document and its path, with a bar on standard error meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from jaxreason.evaluation.benchmarks.running import (
        BenchmarkRequest,
        results_folder,
        run_benchmark,
    )
    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache

    request = BenchmarkRequest(
        setting,
        arguments.data,
        arguments.examples,
        arguments.split,
        changed,
        arguments.limit,
        arguments.batch_size,
        arguments.seed,
        arguments.draws,
        arguments.max_length,
        arguments.thinking,
    )
    results_folder(arguments.run, arguments.out)
    enable_compilation_cache()
    keep_freed_memory()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading the model", total=None)
        return run_benchmark(
            as_path(arguments.run),
            request,
            out=arguments.out,
            name=arguments.name,
            step=arguments.checkpoint,
            tokenizer=arguments.tokenizer,
            fsdp=arguments.fsdp,
            restart=arguments.restart,
            on_progress=lambda label, done, total: progress.update(
                task, description=label, completed=done, total=total
            ),
        )


def _show(document: dict[str, Any], path: Path) -> None:
    from rich.console import Console

    from jaxreason.evaluation.benchmarks.terminal import result_table, setting_words

    out = Console()
    out.print(setting_words(document), style="bold", soft_wrap=True)
    out.print(result_table(document))
    notes = []
    if document["count"] < document["available"]:
        notes.append(f"the first {document['count']:,} of {document['available']:,} questions")
    if document["cut"]:
        notes.append(f"{document['cut']:,} prompts were too long and lost their beginning")
    if document["estimate"] != "exact":
        notes.append(f"probabilities are an {document['estimate']}")
    for note in notes:
        out.print(note, style="dim")
    out.print(f"per cent with one standard error; written to {path}", style="dim", soft_wrap=True)
