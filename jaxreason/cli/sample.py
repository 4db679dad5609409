"""`jaxreason sample`: single answers of a masked-diffusion run, edited ones too, and of language
models.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import refuse_several
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

HELP = "answers of a masked-diffusion run: words, pictures, parts filled in again"


@dataclass(frozen=True)
class Sample:
    """Let a masked-diffusion run answer a few mazes, and see in which order its tokens came.

    Prints question, answer and verdict of each maze. With --out, pictures (PNG) and animations of
    the denoising (GIF) are written there. Language models answer a --prompt.
    """

    run: Annotated[str, tyro.conf.Positional]
    """run directory of masked diffusion, post-trained or not"""
    task: str = "plan"
    """plan, read_plan, read_maze, draw_maze or draw_solution"""
    count: int = 2
    """mazes"""
    split: str = "test"
    """train, validation or test"""
    seed: int = 0
    """of the sampling"""
    edit: str | None = None
    """an answer in which each _ is filled in and all else kept, as in "plan 0 1 plan _ _ end" """
    redraw: tuple[int, int, int, int] | None = None
    """top left bottom right (not included) of the part of the true picture to draw again"""
    out: str | None = None
    """folder for pictures and animations"""
    checkpoint: int | None = None
    """step of the checkpoint; the newest by default"""
    prompt: str | None = None
    """of language models, runs or published: a user's turn; of imported LLaDA or MMaDA without
    --tokenizer ids such as "12 5 7" """
    tokenizer: str | None = None
    """of imported weights: tokenizer.json; of other language models the folder, where it is not
    the run's"""
    plain: bool = False
    """the prompt is a text to go on with, not a user's turn"""
    length: int = 128
    """tokens of the answer to a prompt; made longer to hold whole blocks"""
    block: int = 32
    """tokens of it that are decoded together"""
    temperature: float = 0.0
    """of the answer to a prompt; 0 takes the most likely token"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an argument outside its range, or not for this run.
        FailureError: no run there, or a damaged one.
    """
    arguments = parse_options(Sample, argv, "jaxreason sample")
    if arguments.count < 1:
        raise InputError(f"count is {arguments.count}; it must be at least 1")
    if arguments.edit is not None and arguments.redraw is not None:
        raise InputError("edit is for words and redraw for pictures; give one of them")
    if not (as_path(arguments.run) / "config.json").is_file():
        raise FailureError(f"{arguments.run} is not a run directory: it has no config.json")
    refuse_several("sample")
    # JAX takes a second to import; usage errors above do not wait for it.
    from jaxreason.training.cache import enable_compilation_cache

    enable_compilation_cache()
    if arguments.prompt is not None:
        print(_answer(arguments, arguments.prompt))
        return
    for number, shown in enumerate(_answers(arguments)):
        verdict = "right" if shown.right else "wrong"
        print(f"[{number}] {' '.join(shown.question)}")
        print(f"    {' '.join(shown.answer) or 'a picture'}  ({verdict})")
        if arguments.out is not None:
            _write(as_path(arguments.out), f"{arguments.task}_{number}", shown)


def _answers(arguments: Sample) -> Any:
    from jaxreason.evaluation.diffusion import answering
    from jaxreason.evaluation.diffusion.measuring import judge_of
    from jaxreason.training.runs import load_run, read_experiment

    experiment: Any = read_experiment(arguments.run)
    if not hasattr(experiment, "world"):
        kind = getattr(experiment, "kind", "maze")
        hint = {
            "imported": "give it a --prompt",
            "pretrained": "give it a --prompt",
            "diffusion_records": "`jaxreason evaluate` bounds the perplexity of its answers",
        }
        raise InputError(
            f"{arguments.run} is no run of masked diffusion on mazes (kind {kind!r}); "
            + hint.get(kind, "`jaxreason evaluate` judges what such a model answers")
        )
    answering.check_task(experiment, arguments.task)
    loaded = load_run(arguments.run, arguments.checkpoint, merge=False)
    count = arguments.count
    judge = judge_of(loaded, mazes=count, batch=count, split=arguments.split)
    asked = judge, loaded.params, arguments.task, count
    if arguments.edit is not None:
        return answering.edited_words(*asked, arguments.edit, arguments.seed)
    if arguments.redraw is not None:
        return answering.redrawn(*asked, arguments.redraw, arguments.seed)
    return answering.answers(*asked, arguments.seed)


def _answer(arguments: Sample, prompt: str) -> str:
    import jax

    from jaxreason.tokens.text_tokenizer import TokenizerFile
    from jaxreason.training.diffusion import imported_sampling
    from jaxreason.training.diffusion.decoding import DecodingConfig
    from jaxreason.training.runs import load_run, read_experiment

    experiment: Any = read_experiment(arguments.run)
    kind = getattr(experiment, "kind", "maze")
    if kind == "pretrained":
        from jaxreason.cli.language import answer

        if arguments.block != Sample.block:
            raise InputError(f"--block is for diffusion models, and {arguments.run} is none")
        return answer(arguments)
    if kind != "imported":
        raise InputError(
            f"{arguments.run} is of kind {kind!r}; a prompt is for imported weights of LLaDA or "
            "MMaDA, as they are published or made a run (`jaxreason convert`)"
        )
    config = DecodingConfig(
        length=arguments.length, block=arguments.block, temperature=arguments.temperature
    ).text(arguments.length)
    tokenizer = TokenizerFile(arguments.tokenizer) if arguments.tokenizer else None
    ids = imported_sampling.prompt_ids(prompt, tokenizer, not arguments.plain)
    loaded = load_run(arguments.run, arguments.checkpoint, merge=False)
    key = jax.random.key(arguments.seed)
    written = imported_sampling.answer(loaded, ids, config, key)
    return " ".join(map(str, written)) if tokenizer is None else tokenizer.decode(written)


def _write(folder: Path, name: str, shown: Any) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.gif").write_bytes(shown.moving)
    if shown.picture is not None:
        large = Image.fromarray(shown.picture)
        side = max(1, 320 // max(large.size))
        size = (large.width * side, large.height * side)
        picture = io.BytesIO()
        large.resize(size, Image.Resampling.NEAREST).save(picture, "PNG")
        (folder / f"{name}.png").write_bytes(picture.getvalue())
