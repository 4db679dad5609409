"""Single answers of a masked-diffusion run, to look at and to edit."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS, TASKS_OF_WORLD
from jaxreason.errors import InputError
from jaxreason.evaluation.diffusion.animation import gif, picture_frames, word_frames
from jaxreason.mazes.problem import Problem
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.infill import infill
from jaxreason.sampling.diffusion.inpainting import box, inpaint, with_canvas
from jaxreason.training.diffusion.held_out import Judge
from jaxreason.types import Completions, Params

BLANK = "_"
"""The word that stands for one word to fill in."""


class Shown(NamedTuple):
    """One answer.

    Attributes:
        problem: the maze.
        question: words of the prompt.
        answer: words of the answer, the end token left out; empty for a picture.
        picture: uint8 [rows, columns, 3]; None for words.
        right: the judge's verdict.
        moving: GIF of the order in which its tokens came.
    """

    problem: Problem
    question: list[str]
    answer: list[str]
    picture: np.ndarray | None
    right: bool
    moving: bytes


def check_task(experiment: Any, task: str) -> None:
    """Refuse a task that the run was not trained on.

    Raises:
        InputError: names the task and those there are.
    """
    known = [name for name in TASKS_OF_WORLD if name in experiment.tasks()]
    if task not in known:
        raise InputError(f"task is {task!r}; the run was trained on {', '.join(known)}")


def answers(judge: Judge, params: Params, task: str, count: int, seed: int) -> list[Shown]:
    """Answers to the first mazes, decoded as the run says."""
    found = judge.answer(params, task, mazes=count, seed=seed)
    right = found.judgement.values > 0
    if found.pictures is None:
        assert found.words is not None
        return _in_words(judge, task, found.words, right)
    return _in_pictures(judge, task, found.pictures.codes, found.pictures.order, right)


def edited_words(
    judge: Judge, params: Params, task: str, count: int, text: str, seed: int
) -> list[Shown]:
    """The given answer to the first mazes, each `_` in it filled in, all else left as it is.

    A model of blocks decodes those it was trained on. Special tokens and image codes are no words
    to fill in.

    Args:
        judge: of the run.
        params: of its model.
        task: one that is answered in words.
        count: mazes.
        text: words of the vocabulary and `_`.
        seed: of the sampling.

    Raises:
        InputError: a picture task; no `_`; an unknown word; more words than an answer has room for.
    """
    if task in PICTURE_TASKS:
        raise InputError(f"task {task!r} is answered by a picture; redraw a part of it instead")
    source, room = judge.source, judge.source.answer_room(task)
    ids, words = source.vocabulary.ids, text.split()
    if BLANK not in words:
        raise InputError(f"the answer {text!r} has no {BLANK!r}, which marks a word to fill in")
    if len(words) > room:
        raise InputError(f"the answer has {len(words)} words; a {task} has room for {room}")
    written = [ids.mask if word == BLANK else source.vocabulary.id(word) for word in words]
    answer = np.full((count, room), ids.eos, np.int32)
    answer[:, : len(written)] = written
    prompts: Any = source.prompts(range(count), task)
    widths = np.asarray(prompts["lengths"])
    block = judge.decoding.block if judge.model.config.attention == "block_causal" else None
    unit = block or 1
    tokens = np.full((count, -(-(int(widths.max()) + room) // unit) * unit), ids.pad, np.int32)
    for row, width in enumerate(widths):
        tokens[row, :width] = prompts["tokens"][row, :width]
        tokens[row, width : width + room] = answer[row]
    keys = np.arange(tokens.shape[1]) < (widths + room)[:, None]
    mode: Any = judge.mask_mode
    config = TextDiffusionConfig(
        length=tokens.shape[1],
        block=block,
        temperature=judge.decoding.temperature,
        cache=judge.decoding.cache if block else "none",
        mask_mode=mode,
    )
    filler: Any = infill(judge.model, config, mask_id=ids.mask, banned=source.vocabulary.no_words)
    filled: Any = jax.device_get(
        filler(params, {"tokens": tokens, "keys": keys}, jax.random.key(seed))
    )
    columns = widths[:, None] + np.arange(len(written))
    lengths = np.full(count, len(written) + 1, np.int32)
    ended = np.pad(np.take_along_axis(filled.tokens, columns, 1), ((0, 0), (0, 1)))
    ended[:, -1] = ids.eos
    order = np.pad(np.take_along_axis(filled.order, columns, 1), ((0, 0), (0, 1)))
    fields: Any = ended, np.zeros(ended.shape), lengths, np.ones(count, bool), order
    made: Any = Completions(*fields)
    problems = [source.problem(i) for i in range(count)]
    return _in_words(judge, task, made, source.judge(task, problems, made).values > 0)


def redrawn(
    judge: Judge,
    params: Params,
    task: str,
    count: int,
    part: tuple[int, int, int, int],
    seed: int,
) -> list[Shown]:
    """The true pictures of the first mazes with one part drawn again.

    Args:
        judge: of the run.
        params: of its model.
        task: one that is answered by a picture.
        count: mazes.
        part: top, left, bottom and right of the part in tokens, bottom and right not included.
        seed: of the sampling.

    Raises:
        InputError: a task in words, one that reasons first, or a part outside the picture.
    """
    if task not in PICTURE_TASKS:
        raise InputError(f"task {task!r} is answered in words; edit those instead")
    source = judge.source
    if source.world.reasons:
        raise InputError(
            "the run reasons in words before it draws; redraw with a run that does not"
        )
    ids, (rows, columns) = source.vocabulary.ids, source.codec.grid
    hole = box(rows, columns, *part)
    solved = task == "draw_solution"
    truth = np.stack([source.codes(i, solved) for i in range(count)]).astype(np.int32)
    asked: Any = source.prompts(range(count), task)
    prompts = with_canvas(
        asked,
        inpaint(truth.reshape(count, rows, columns), hole),
        image_offset=ids.image_offset,
        image_codes=ids.image_codes,
        mask_id=ids.mask,
    )
    drawn = jax.device_get(judge.image_sampler(task)(params, prompts, jax.random.key(seed)))
    problems = [source.problem(i) for i in range(count)]
    right = source.judge(task, problems, drawn.codes).values > 0
    return _in_pictures(judge, task, drawn.codes, drawn.order, right)


def _question(judge: Judge, task: str, index: int) -> list[str]:
    source = judge.source
    words = source.vocabulary.decode_words(source.question(index, task))
    return [word for word in words if not word.startswith("<|")]


def _in_words(judge: Judge, task: str, words: Any, right: np.ndarray) -> list[Shown]:
    source, made = judge.source, []
    for i, good in enumerate(right):
        end = int(words.lengths[i]) - int(words.finished[i])
        answer = source.vocabulary.decode_words(words.tokens[i, :end])
        question = _question(judge, task, i)
        moving = gif(word_frames(answer, np.asarray(words.order)[i, :end], question))
        made.append(Shown(source.problem(i), question, answer, None, bool(good), moving))
    return made


def _in_pictures(judge: Judge, task: str, codes: Any, order: Any, right: Any) -> list[Shown]:
    source = judge.source
    codes, order = np.asarray(codes), np.asarray(order)
    images = source.codec.decode(codes)
    return [
        Shown(
            source.problem(i),
            _question(judge, task, i),
            [],
            images[i],
            bool(good),
            gif(picture_frames(source.codec, codes[i], order[i]), milliseconds=350),
        )
        for i, good in enumerate(right)
    ]
