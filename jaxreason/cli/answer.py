"""`jaxreason answer`: an image-text diffusion model answers a benchmark's questions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import refuse_several
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path, local_path

HELP = "answers of an image-text model to VQAv2, POPE, GQA or MME, for `jaxreason score`"


@dataclass(frozen=True)
class Answer:
    """Put a benchmark's questions to MMaDA and keep the answers as they come.

    The same command again goes on where it was stopped. Prompts and decoding are those of MMaDA's
    published evaluation code as far as it says; the command prints what is published and what is
    ours. At the end the answers are written in the benchmark's official form.
    """

    run: Annotated[str, tyro.conf.Positional]
    """published folder of MMaDA, or run directory made of one"""
    benchmark: str
    """vqav2, pope, gqa or mme"""
    data: str
    """questions: the official file, or the folder of MME's SUBTASK.txt"""
    images: str
    """folder of the pictures; nothing outside of it is read"""
    image_tokenizer: str
    """folder with the safetensors of MAGVIT-v2 (showlab/magvitv2)"""
    out: str
    """folder for the answers"""
    tokenizer: str | None = None
    """folder with tokenizer.json, where the run has none"""
    ids: tuple[int, int, int] | None = None
    """ids of <mmu>, <soi> and <eoi>, where the vocabulary is not MMaDA's"""
    length: int | None = None
    """tokens of an answer"""
    steps: int | None = None
    """denoising steps"""
    block: int | None = None
    """tokens of a block"""
    temperature: float | None = None
    """0 takes the most likely tokens"""
    suffix: str | None = None
    """after every question"""
    resolution: int | None = None
    """rows and columns of the pictures in pixels"""
    fit: str | None = None
    """crop or squash"""
    limit: int | None = None
    """the first so many questions only; score them with --partial"""
    batch_size: int = 8
    """questions at a time"""
    seed: int = 0
    """of the sampling"""
    checkpoint: int | None = None
    """step of the checkpoint; the newest by default"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an unknown benchmark, a setting out of range, a model of another kind, a
            picture that is not there, a folder with answers of other settings.
        FailureError: no model there, or a damaged file.
    """
    arguments = parse_options(Answer, argv, "jaxreason answer")
    from jaxreason.evaluation.vision.answer_settings import BENCHMARKS, SETTINGS

    if arguments.benchmark not in BENCHMARKS:
        raise InputError(
            f"benchmark is {arguments.benchmark!r}; expected one of {', '.join(BENCHMARKS)}"
        )
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"limit is {arguments.limit}; it must be at least 1")
    source = SETTINGS[arguments.benchmark]
    names = ("length", "steps", "block", "temperature", "suffix", "resolution", "fit")
    given = {name: getattr(arguments, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    settings = replace(source.settings, **given)
    images, out = local_path(arguments.images, "images"), local_path(arguments.out, "out")
    if not images.is_dir():
        raise InputError(f"images {images} is no folder")
    if not (as_path(arguments.run) / "config.json").is_file():
        raise FailureError(f"{arguments.run} is no run or model folder: it has no config.json")
    refuse_several("answer")
    print(f"published: {source.published}")
    print(f"ours: {source.ours or 'nothing besides'}")
    if given:
        print(f"changed: {', '.join(f'{name} {value!r}' for name, value in given.items())}")
    path = _answer(arguments, settings, images, out)
    print(f"answers: {path}")


def _answer(arguments: Answer, settings: Any, images: Any, out: Any) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from jaxreason.evaluation.identity import digest
    from jaxreason.evaluation.vision.answering import answer_questions
    from jaxreason.evaluation.vision.asked import read_asked, write_answers
    from jaxreason.training.cache import enable_compilation_cache

    enable_compilation_cache()
    a = arguments
    every = read_asked(a.benchmark, a.data)
    questions = every[: a.limit]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading the model", total=None)
        answerer, about = _answerer(arguments, settings)
        answers = answer_questions(
            answerer,
            questions,
            images,
            settings,
            out,
            about={"benchmark": a.benchmark, "questions": digest(every), **about},
            batch_size=a.batch_size,
            seed=a.seed,
            on_progress=lambda done, total: progress.update(
                task, description="answering", completed=done, total=total
            ),
        )
    return write_answers(a.benchmark, a.data, answers, out)


def _answerer(arguments: Answer, settings: Any) -> tuple[Any, dict[str, Any]]:
    """The model, and what says which one it is."""
    from jaxreason.evaluation.identity import model_identity
    from jaxreason.evaluation.vision.answering import Answerer, vision_tokens
    from jaxreason.training.diffusion.image_codec import published_codec
    from jaxreason.training.pretrained import tokenizer_of
    from jaxreason.training.runs import load_run, read_experiment

    a = arguments
    tokenizer = tokenizer_of(a.tokenizer or a.run)
    if tokenizer is None:
        raise InputError(
            f"{a.tokenizer or a.run} has no tokenizer.json; name the folder of the model's "
            "tokenizer by --tokenizer"
        )
    codec = published_codec(a.image_tokenizer, settings.resolution)
    tokens = vision_tokens(read_experiment(a.run), tokenizer, codec, a.ids)
    loaded = load_run(a.run, a.checkpoint, merge=False)
    answerer = Answerer(loaded.experiment, loaded.model, loaded.params, tokenizer, codec, tokens)
    about = {
        "run": str(a.run),
        **model_identity(loaded),
        "tokenizer": tokenizer.identity,
        "codec": codec.identity,
        "tokens": tokens._asdict(),
    }
    return answerer, about
