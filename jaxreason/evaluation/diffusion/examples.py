"""What a trained model makes of a few mazes, to look at: sheets and animations of a report."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.evaluation.diffusion.animation import MASKED, gif, picture_frames, word_frames
from jaxreason.evaluation.diffusion.pictures import Panel, sheet
from jaxreason.evaluation.diffusion.report import Moving, Sheet
from jaxreason.mazes.plan_validation import validate_plan
from jaxreason.mazes.rasters import rasterise, read_raster
from jaxreason.sampling.diffusion.inpainting import (
    UNKNOWN,
    box,
    inpaint,
    slide,
    stitch,
    with_canvas,
)
from jaxreason.tokens.chat import parse_reasoning
from jaxreason.training.diffusion.held_out import Answered, Judge
from jaxreason.types import Params

CELL_PIXELS = 8


def drawn_sheet(judge: Judge, params: Params, task: str, count: int, title: str) -> Sheet:
    """The first `count` pictures of a drawing task beside the truth, wrong cells outlined."""
    source = judge.source
    answered = judge.answer(params, task, mazes=count)
    assert answered.pictures is not None
    world = source.world
    truth, made = [], []
    images = source.codec.decode(np.asarray(answered.pictures.codes))
    seen = read_raster(images, world.width, world.height).cells
    for i, problem in enumerate(answered.problems):
        solved = task == "draw_solution"
        expected = rasterise(problem, source.trace(i).plan if solved else None, CELL_PIXELS)
        right = bool(answered.judgement.values[i])
        wrong = seen[i] != read_raster(expected, world.width, world.height).cells
        # Another valid plan is no error, so cells are only outlined where the answer is wrong.
        truth.append(Panel(expected))
        made.append(
            Panel(images[i], "right" if right else "wrong", right, wrong & ~np.bool_(right))
        )
    label = "shortest plan" if task == "draw_solution" else "described"
    return Sheet(task, title, "", sheet([truth, made], [label, "drawn"]))


def read_sheet(judge: Judge, params: Params, count: int, title: str) -> Sheet:
    """The first `count` pictures given to the model, and the plans it answered, drawn."""
    source = judge.source
    answered = judge.answer(params, "read_plan", mazes=count)
    given, plans = [], []
    for i, problem in enumerate(answered.problems):
        given.append(Panel(source.codec.decode(source.codes(i)[None])[0]))
        words = " ".join(_words(source, answered, i))
        plan = validate_plan(problem, f"solution {parse_reasoning(words).answer}")
        right = bool(answered.judgement.values[i])
        caption = "right" if right else (plan.error or "never ended").replace("_", " ")
        cells = _inside(np.asarray(plan.cells, np.int64).reshape(-1, 2), problem)
        plans.append(Panel(rasterise(problem, cells, CELL_PIXELS), caption, right))
    return Sheet("read_plan", title, "", sheet([given, plans], ["picture", "answered plan"]))


def inpainting_sheet(judge: Judge, params: Params, count: int, title: str) -> Sheet:
    """A hole in each picture, filled in with the description at hand and without it."""
    source, (rows, columns) = judge.source, judge.source.codec.grid
    top, left = rows // 4, columns // 4
    hole = box(rows, columns, top, left, max(top + 1, rows - top), max(left + 1, columns - left))
    truth = np.stack([source.codes(i) for i in range(count)]).astype(np.int32)
    grids = truth.reshape(count, rows, columns)
    told = source.prompts(range(count), "draw_maze")
    alone = {
        **told,
        "tokens": told["unconditional_tokens"],
        "keys": told["unconditional_keys"],
    }
    canvas = inpaint(grids, hole)
    filled = [_fill(judge, params, prompts, canvas) for prompts in (told, alone)]
    problems = [source.problem(i) for i in range(count)]
    verdict = source.judge("draw_maze", problems, filled[0]).values
    lines = [
        [Panel(image) for image in source.codec.decode(truth)],
        [Panel(image) for image in _masked_images(source, truth, canvas)],
        [
            Panel(image, "right" if good else "wrong", bool(good))
            for image, good in zip(source.codec.decode(filled[0]), verdict, strict=True)
        ],
        [Panel(image) for image in source.codec.decode(filled[1])],
    ]
    names = ["whole", "hole", "filled, told", "filled, not told"]
    note = "Nothing was trained for it: known tokens are simply not masked."
    return Sheet("inpainting", title, note, sheet(lines, names))


def extrapolation_sheet(judge: Judge, params: Params, count: int, title: str) -> Sheet:
    """Pictures continued beyond their right edge by moving the window, without a description."""
    source, (rows, columns) = judge.source, judge.source.codec.grid
    move = max(1, columns // 2)
    truth = np.stack([source.codes(i) for i in range(count)]).astype(np.int32)
    grids = truth.reshape(count, rows, columns)
    told = source.prompts(range(count), "draw_maze")
    alone = {**told, "tokens": told["unconditional_tokens"], "keys": told["unconditional_keys"]}
    drawn = _fill(judge, params, alone, slide(grids, 0, move)).reshape(grids.shape)
    wide = stitch(grids, drawn, 0, move)
    # The codec knows one size: the right window is decoded by itself and put beside the left one.
    first = source.codec.decode(truth)
    second = source.codec.decode(np.ascontiguousarray(wide[:, :, move:]).reshape(count, -1))
    split = first.shape[2] - move * first.shape[2] // columns
    whole = np.concatenate([first, second[:, :, split:]], axis=2)
    lines = [[Panel(image) for image in first], [Panel(image) for image in whole]]
    return Sheet("extrapolation", title, "", sheet(lines, ["given", "continued"]))


def moving_words(judge: Judge, params: Params, task: str, among: int, name: str) -> Moving:
    """How the words of one answer appeared; the first right answer of `among`, if there is one."""
    source = judge.source
    answered = judge.answer(params, task, mazes=among)
    assert answered.words is not None
    assert answered.words.order is not None
    i = _first_right(answered)
    words = _words(source, answered, i)
    order = np.asarray(answered.words.order)[i, : len(words)]
    asked = source.vocabulary.decode_words(source.question(i, task))
    prompt = [word for word in asked if not word.startswith("<")]
    frames = word_frames(words, order, prompt)
    return Moving(name, f"{name.replace('_', ' ')} ({_verdict(answered, i)})", gif(frames))


def moving_picture(judge: Judge, params: Params, task: str, among: int, name: str) -> Moving:
    """How one picture appeared; the first right one of `among`, if there is one."""
    answered = judge.answer(params, task, mazes=among)
    assert answered.pictures is not None
    i = _first_right(answered)
    codes = np.asarray(answered.pictures.codes)[i]
    order = np.asarray(answered.pictures.order)[i]
    frames = picture_frames(judge.source.codec, codes, order)
    title = f"{name.replace('_', ' ')} ({_verdict(answered, i)})"
    return Moving(name, title, gif(frames, milliseconds=350))


def _fill(judge: Judge, params: Params, prompts: Any, canvas: np.ndarray) -> np.ndarray:
    """Codes [n, N] of the finished canvases."""
    ids = judge.source.vocabulary.ids
    filled = with_canvas(
        prompts,
        canvas,
        image_offset=ids.image_offset,
        image_codes=ids.image_codes,
        mask_id=ids.mask,
    )
    sampler = judge.image_sampler("draw_maze")
    return np.asarray(sampler(params, filled, jax.random.key(0)).codes)


def _masked_images(source: MazeWorldSource, codes: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    images = source.codec.decode(codes).copy()
    rows, columns = source.codec.grid
    tall, wide = images.shape[1] // rows, images.shape[2] // columns
    hidden = (canvas.reshape(-1, rows, columns) == UNKNOWN).repeat(tall, 1).repeat(wide, 2)
    images[hidden] = MASKED
    return images


def _words(source: MazeWorldSource, answered: Answered, i: int) -> list[str]:
    """The words of answer i, its end token left out."""
    assert answered.words is not None
    length = answered.words.lengths[i] - int(answered.words.finished[i])
    return source.vocabulary.decode_words(answered.words.tokens[i, :length])


def _inside(cells: np.ndarray, problem: Any) -> np.ndarray:
    kept = ((cells >= 0) & (cells < (problem.width, problem.height))).all(axis=1)
    return cells[kept]


def _first_right(answered: Answered) -> int:
    return int(np.argmax(answered.judgement.values))


def _verdict(answered: Answered, i: int) -> str:
    return "right" if answered.judgement.values[i] else "wrong"


def sheets_of(
    judge: Judge, params: Params, tasks: Sequence[str], count: int, stage: str
) -> list[Sheet]:
    """The sheets of all picture tasks among `tasks`, named after the stage."""
    made = []
    titles = {"draw_maze": "Mazes drawn", "draw_solution": "Solutions drawn"}
    for task in tasks:
        if task in titles:
            made.append(drawn_sheet(judge, params, task, count, f"{titles[task]}, {stage}"))
        elif task == "read_plan":
            made.append(read_sheet(judge, params, count, f"Pictures solved, {stage}"))
    slug = stage.replace(" ", "_")
    return [one._replace(name=f"{one.name}_{slug}") for one in made]
