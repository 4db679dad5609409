"""Exact verdicts on answers about mazes, in words and in pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxreason.data.multimodal.maze_sentences import MazeSentences
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import InputError
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.raster_judges import judge_maze_picture, judge_solution_picture, summarise
from jaxreason.mazes.rasters import read_raster
from jaxreason.mazes.validation import Verdict, judge
from jaxreason.tokens.chat import parse_reasoning
from jaxreason.tokens.image_codec import ImageCodec


class Answers(Protocol):
    """What `types.Completions` and its like hold: ids, and where each row ends."""

    @property
    def tokens(self) -> np.ndarray: ...  # noqa: D102
    @property
    def lengths(self) -> np.ndarray: ...  # noqa: D102
    @property
    def finished(self) -> np.ndarray: ...  # noqa: D102


class Judgement(NamedTuple):
    """Verdicts on a batch of answers.

    Attributes:
        values: [batch] float32, 1 for a correct answer, else 0.
        breakdown: name to [batch] float32, all in [0, 1].
    """

    values: np.ndarray
    breakdown: Mapping[str, np.ndarray]


def judge_pictures(
    task: str,
    problems: Sequence[Problem],
    codes: np.ndarray,
    codec: ImageCodec,
    world: MazeWorld,
) -> Judgement:
    """Whether the picture of each row of codes is the maze (draw_maze) or solves it.

    The breakdown: `correct`; `share`, the cells that are right; for draw_solution `optimal` (the
    plan is a shortest one) and `maze`, the walls, start and goal are all right.

    Args:
        task: "draw_maze" or "draw_solution".
        problems: one per row.
        codes: whole numbers [B, N].
        codec: makes pictures of them.
        world: the size of the grid.
    """
    if len(problems) != len(codes):
        raise InputError(
            f"there are {len(problems)} problems for {len(codes)} pictures; expected one each"
        )
    images = codec.decode(codes)
    cells = read_raster(images, world.width, world.height).cells
    rule = judge_maze_picture if task == "draw_maze" else judge_solution_picture
    verdicts = [rule(problem, row) for problem, row in zip(problems, cells, strict=True)]
    return _judgement(summarise(verdicts, task == "draw_solution"))


def judge_texts(
    task: str,
    problems: Sequence[Problem],
    answers: Answers | np.ndarray,
    sentences: MazeSentences,
    world: MazeWorld,
) -> Judgement:
    """Whether each answer in words is right.

    Plans are right if they are valid and the answer ended; the breakdown holds `correct`,
    `plan_valid`, `optimal`, `format`, `soft_format`, `finished`, and with reasoning `trace_valid`
    (level reference) and `trace_strict`. Descriptions are right if every word is; the breakdown
    holds `correct`, `share` of the words, `format`, `soft_format` and `finished`.

    `format` asks for `<think> REASONING </think> ANSWER` and nothing else, each part of the kind of
    words it should have; without reasoning, for the answer alone. `soft_format` asks for the tags
    in order, and an answer after them.

    Args:
        task: "read_plan", "read_maze", "plan" or "text"; for drawings with reasoning, nothing.
        problems: one per answer.
        answers: `Completions`, or ids [B, n] that follow the prompt.
        sentences: vocabulary and form of description.
        world: whether answers carry reasoning.
    """
    rows, finished = written_ids(answers, sentences.vocabulary.eos)
    if len(problems) != len(rows):
        raise InputError(
            f"there are {len(problems)} problems for {len(rows)} answers; expected one each"
        )
    rule = _judge_description if task == "read_maze" else _judge_plan
    verdicts = [
        rule(problem, row, sentences, world.reasons)
        for problem, row in zip(problems, rows, strict=True)
    ]
    named: dict[str, np.ndarray] = {
        name: np.array([verdict[name] for verdict in verdicts])
        for name in (verdicts[0] if verdicts else {"right": 0})
    }
    right = named.pop("right").astype(bool)
    return _judgement({"correct": right & finished, **named, "finished": finished})


def written_ids(answers: Answers | np.ndarray, eos: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The ids of each answer up to its end token, and whether it had one [B]."""
    if not isinstance(answers, np.ndarray):
        tokens = np.asarray(answers.tokens)
        lengths, finished = np.asarray(answers.lengths), np.asarray(answers.finished, bool)
        return [
            row[: length - int(ended)]
            for row, length, ended in zip(tokens, lengths, finished, strict=True)
        ], finished
    tokens = np.asarray(answers)
    ended = tokens == eos
    finished = ended.any(1)
    lengths = tokens.shape[1] - np.logical_or.accumulate(ended, axis=1).sum(1)
    return [row[:length] for row, length in zip(tokens, lengths, strict=True)], finished


def _judgement(named: Mapping[str, Any]) -> Judgement:
    arrays = {name: np.asarray(value, np.float32) for name, value in named.items()}
    return Judgement(arrays["correct"], arrays)


def _judge_plan(
    problem: Problem, row: np.ndarray, sentences: MazeSentences, reasons: bool
) -> dict[str, float]:
    text = sentences.vocabulary.decode(row)
    parsed = parse_reasoning(text)
    verdict = judge(problem, f"{parsed.reasoning or ''} solution {parsed.answer}")
    named: dict[str, float] = {
        "right": verdict.plan.valid,
        "plan_valid": verdict.plan.valid,
        "optimal": verdict.optimal,
        "format": _plan_format(verdict, parsed.strict if reasons else parsed.reasoning is None),
        "soft_format": parsed.soft if reasons else True,
    }
    if reasons:
        named["trace_valid"] = verdict.has_trace and verdict.reference.valid
        named["trace_strict"] = verdict.has_trace and verdict.strict.valid
    return named


def _plan_format(verdict: Verdict, tags: bool) -> bool:
    return tags and verdict.ended and verdict.plan.error != "plan_syntax_error"


def _judge_description(
    problem: Problem, row: np.ndarray, sentences: MazeSentences, reasons: bool
) -> dict[str, float]:
    parsed = parse_reasoning(sentences.vocabulary.decode(row))
    expected = sentences.vocabulary.decode_words(sentences.describe(problem))
    words = parsed.answer.split()
    same = sum(one == other for one, other in zip(words, expected, strict=False))
    share = same / max(len(words), len(expected))
    tags = parsed.strict if reasons else parsed.reasoning is None
    return {
        "right": words == expected,
        "share": share,
        "format": tags and len(words) == len(expected),
        "soft_format": parsed.soft if reasons else True,
    }
