"""`jaxreason score`: official scores of predictions of models that see, or that draw."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError

HELP = "official scores of a predictions file: VQAv2, POPE, GQA, MME, GenEval, CLIP, ImageReward"

_PICTURES = ("clip", "image_reward")


@dataclass(frozen=True)
class Score:
    """Score predictions by the rules of the benchmark's official scorer.

    vqav2:        --predictions results.json --data annotations.json
    pope:         --predictions ANSWERS... --data coco_pope_random.json ... (as many, in order)
    gqa:          --predictions predictions.json --data questions.json [choices.json]
    mme:          --predictions FOLDER [--data FOLDER], of SUBTASK.txt
    geneval:      --predictions detections.jsonl --data evaluation_metadata.jsonl
    clip, image_reward: --predictions pairs.jsonl ({image, text}) --images FOLDER --model FOLDER
    """

    benchmark: Annotated[str, tyro.conf.Positional]
    """vqav2, pope, gqa, mme, geneval, clip or image_reward"""
    predictions: tuple[str, ...]
    """of the model, in the official form; `jaxreason answer` writes them"""
    data: tuple[str, ...] = ()
    """files of the benchmark"""
    partial: bool = False
    """score what is answered, though questions are missing"""
    consistency: bool = False
    """gqa: also consistency, for which all questions must be answered"""
    images: str | None = None
    """clip, image_reward: folder of the pictures"""
    model: str | None = None
    """clip: published folder of a CLIP; image_reward: folder with ImageReward's safetensors and
    tokenizer.json of bert-base-uncased"""
    clipscore_prompt: bool = False
    """clip: put "A photo depicts " before every text, as CLIPScore does for captions"""
    batch_size: int = 32
    """clip, image_reward: pictures at a time"""
    json: bool = False
    """print the whole document instead of the table"""
    out: str | None = None
    """folder for BENCHMARK.json and BENCHMARK.md"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an unknown benchmark, an option of another one, files that do not fit.
        FailureError: a file cannot be read, or the disk refuses.
    """
    arguments = parse_options(Score, argv, "jaxreason score")
    from jaxreason.evaluation.vision.report import write_report

    drawn = arguments.benchmark in _PICTURES
    _refuse(arguments, drawn)
    report = _pictures(arguments) if drawn else _predictions(arguments)
    path = None if arguments.out is None else write_report(report, arguments.out)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
        return
    _show(report)
    if path is not None:
        print(f"written to {path}")


def _refuse(arguments: Score, drawn: bool) -> None:
    """Options that say nothing about this benchmark."""
    others = ("data", "partial", "consistency") if drawn else ("images", "model")
    if arguments.benchmark != "clip":
        others = (*others, "clipscore_prompt")
    for name in others:
        if getattr(arguments, name):
            raise InputError(f"--{name.replace('_', '-')} is not for {arguments.benchmark}")
    for name in ("images", "model") if drawn else ():
        if getattr(arguments, name) is None:
            raise InputError(f"{arguments.benchmark} needs --{name}")
    if arguments.batch_size < 1:
        raise InputError(f"batch_size is {arguments.batch_size}; it must be at least 1")


def _predictions(arguments: Score) -> Any:
    from jaxreason.evaluation.vision.benchmarks import ScoreOptions, score

    a: Any = arguments
    return score(a.benchmark, ScoreOptions(a.predictions, a.data, a.partial, a.consistency))


def _pictures(arguments: Score) -> Any:
    from jaxreason.evaluation.vision.picture_scores import (
        CLIPSCORE_PROMPT,
        read_pairs,
        score_pictures,
    )
    from jaxreason.evaluation.vision.published import published_notes
    from jaxreason.training.cache import enable_compilation_cache
    from jaxreason.training.diffusion.image_reward_scorer import load_image_reward_scorer
    from jaxreason.training.diffusion.picture_scorers import load_clip_scorer

    a: Any = arguments
    if len(a.predictions) != 1:
        raise InputError(f"predictions has {len(a.predictions)} files; expected one")
    pairs = read_pairs(a.predictions[0], a.images)
    if a.clipscore_prompt:
        pairs = [pair._replace(text=CLIPSCORE_PROMPT + pair.text) for pair in pairs]
    enable_compilation_cache()
    if a.benchmark == "clip":
        scorer: Any = load_clip_scorer(a.model, scale=1.0, batch_size=a.batch_size)
    else:
        scorer = load_image_reward_scorer(a.model, a.batch_size)
    report = score_pictures(a.benchmark, pairs, scorer, a.batch_size)
    files = {"predictions": list(a.predictions), "images": a.images, "model": a.model}
    return replace(report, notes=(*report.notes, *published_notes(a.benchmark)), files=files)


def _show(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxreason.evaluation.vision.report import cell_text

    console = Console()
    for section in report.sections:
        table = Table(
            title=section.title, title_justify="left", header_style="dim", box=None, pad_edge=False
        )
        for number, column in enumerate(section.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=not number)
        for row in section.rows:
            table.add_row(*(cell_text(cell, section.digits) for cell in row))
        console.print(table)
    for note in report.notes:
        console.print(note, style="dim", markup=False, highlight=False)
