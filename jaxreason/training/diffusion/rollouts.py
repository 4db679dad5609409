"""From mazes to judged answers of a diffusion policy, in words or in pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.models.attention import MaskMode
from jaxreason.rewards import Reward
from jaxreason.sampling.diffusion.images import ImageCompletions, diffusion_image
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.judging import checked, draw, judge_rows
from jaxreason.training.rollouts import Rollout
from jaxreason.types import Completions, Params

WIDTH_STEP = 8
"""Prompts in words are padded to multiples of this, so that few programs are compiled."""


@dataclass(frozen=True)
class DiffusionRolloutConfig:
    """How many answers a step learns from.

    Attributes:
        prompts: mazes per step.
        group: answers to each, G (the UniGRPO paper does not say how many; d1 takes 6).
        minibatches: updates for each of the algorithm's `updates`; each sees 1 / minibatches of
            the answers.

    Raises:
        InputError: a number out of range.
    """

    prompts: int = 8
    group: int = 8
    minibatches: int = 1

    def __post_init__(self) -> None:
        for name in ("prompts", "group", "minibatches"):
            if getattr(self, name) < 1:
                raise InputError(f"rollout.{name} is {getattr(self, name)}; it must be at least 1")
        if self.rows % self.minibatches:
            raise InputError(
                f"rollout.minibatches is {self.minibatches}; it must divide prompts x group "
                f"= {self.rows}"
            )

    @property
    def rows(self) -> int:
        """Answers a step learns from."""
        return self.prompts * self.group


AnswerReward = Callable[[Sequence[Any], Any], Reward]
"""`(problems, answers) -> Reward`; answers are `Completions`, or codes [B, N] of pictures."""


class AnswerRows(NamedTuple):
    """Answers beside their prompts, on the host, one row per answer.

    Attributes:
        rows: `tokens [B, T]` int32, clean; `keys [B, T]`, False for padding; `maskable [B, T]`, the
            places of the answer; `counted [B, T]`, those up to its end token; `order [B, T]` int32,
            the denoising step that revealed a token, -1 elsewhere; `segments [B, T]`, `keys` as
            numbers.
        finished: [B] bool, the answer has its end token.
        lengths: [B] int32, tokens of the answer.
    """

    rows: dict[str, np.ndarray]
    finished: np.ndarray
    lengths: np.ndarray


class AnswerTask(Protocol):
    """What is asked, and how answers become rows to learn from."""

    def prompts(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """What the sampler is given for problems."""
        ...

    def problem(self, index: int) -> Any:
        """What the reward is given for a problem."""
        ...

    def shown(self, answers: Any) -> Any:
        """What the reward is given of the sampler's answers, one per row."""
        ...

    def rows(self, prompts: dict[str, np.ndarray], answers: Any, group: int) -> AnswerRows:
        """The answers beside their prompts, `group` to each."""
        ...


@dataclass(frozen=True)
class MazeAnswers:
    """A task of a maze world; a picture's answer is all of its image tokens.

    Attributes:
        source: the mazes.
        task: of the world.
    """

    source: MazeWorldSource
    task: str

    @property
    def drawing(self) -> bool:
        """Whether answers are pictures."""
        return self.task in PICTURE_TASKS

    def prompts(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """See `AnswerTask`."""
        prompts = self.source.prompts(indices, self.task)
        if not self.drawing:
            prompts = widen_prompts(prompts, self.source.vocabulary.ids.pad)
        return prompts

    def problem(self, index: int) -> Any:
        """See `AnswerTask`."""
        return self.source.problem(index)

    def shown(self, answers: Any) -> Any:
        """Codes of pictures, or `Completions`."""
        return answers.codes if self.drawing else answers

    def rows(self, prompts: dict[str, np.ndarray], answers: Any, group: int) -> AnswerRows:
        """See `AnswerTask`."""
        ids = self.source.vocabulary.ids
        if not self.drawing:
            rows = text_rows(prompts, answers, group, ids.pad)
            return AnswerRows(rows, np.asarray(answers.finished), np.asarray(answers.lengths))
        rows = picture_rows(prompts, answers, group, ids.image_offset)
        count, length = answers.codes.shape
        return AnswerRows(rows, np.ones(count, bool), np.full(count, length, np.int32))


@dataclass(frozen=True)
class DiffusionRollouts:
    """Draws and judges answers.

    Attributes:
        config: how many.
        task: what is asked.
        sampler: of the policy, `config.group` answers per prompt.
        reward: of answers.
        mesh: devices the prompts are split over; None for one.
        measure: context manager by phase name, such as `Clock.measure`.
    """

    config: DiffusionRolloutConfig
    task: AnswerTask
    sampler: Any
    reward: AnswerReward
    mesh: Mesh | None
    measure: Callable[[str], Any]

    def __call__(self, params: Params, indices: np.ndarray, key: jax.Array) -> Rollout:
        """Answers to some problems, judged."""
        chosen = [int(index) for index in indices]
        prompts = self.task.prompts(chosen)
        with self.measure("sampling"):
            answers = draw(self.sampler, params, prompts, key, self.mesh)
        group = self.config.group
        with self.measure("reward"):
            problems = [self.task.problem(i) for i in chosen for _ in range(group)]
            shown = self.task.shown(answers)
            reward = judge_rows(checked(self.reward), problems, shown, self.mesh)
        laid = self.task.rows(prompts, answers, group)
        total = np.asarray(answers.log_probabilities).sum(axis=1)
        return Rollout(laid.rows, laid.finished, total, laid.lengths, reward)


def widen_prompts(prompts: dict[str, np.ndarray], pad: int) -> dict[str, np.ndarray]:
    """Prompts in words, padded to a multiple of `WIDTH_STEP`."""
    more = -prompts["tokens"].shape[1] % WIDTH_STEP
    tokens = np.pad(prompts["tokens"], ((0, 0), (0, more)), constant_values=pad)
    return {**prompts, "tokens": tokens}


def text_rows(
    prompts: dict[str, np.ndarray], completions: Completions, group: int, pad: int
) -> dict[str, np.ndarray]:
    """Each prompt with its answers, one row per answer, [B, P + N].

    The answer begins where the prompt ends and is as long as the sampler's canvas. After its end
    token it is filled with `pad`, which the model sees; what the sampler had there, tokens revealed
    early or masks, is not kept, so that along a trace these places differ from what it saw; where
    it had `pad` itself (LLaDA's end tokens) they do not, and `order` says when. What follows the
    canvas is padding that nobody sees.
    """
    drawn = np.asarray(completions.tokens)
    start = np.repeat(prompts["lengths"], group)[:, None]
    canvas = drawn.shape[1]
    column = np.arange(prompts["tokens"].shape[1] + canvas)
    keys = column < start + canvas
    maskable = keys & (column >= start)
    counted = maskable & (column < start + np.asarray(completions.lengths)[:, None])
    place = np.clip(column - start, 0, canvas - 1)
    wide = np.pad(prompts["tokens"], ((0, 0), (0, canvas)), constant_values=pad)
    given = np.where(column < start, np.repeat(wide, group, axis=0), pad)
    rows = {
        "tokens": np.where(maskable, np.take_along_axis(drawn, place, axis=1), given),
        "keys": keys,
        "maskable": maskable,
        "counted": counted,
        "segments": keys.astype(np.int32),
    }
    order = np.take_along_axis(np.asarray(completions.order), place, axis=1)
    return {**rows, "order": np.where(maskable, order, -1).astype(np.int32)}


def picture_rows(
    prompts: dict[str, np.ndarray], pictures: ImageCompletions, group: int, offset: int
) -> dict[str, np.ndarray]:
    """Each prompt with its pictures, one row per picture, [B, T]; the answer is all image slots."""
    tokens, keys, image = (
        np.repeat(prompts[name], group, axis=0) for name in ("tokens", "keys", "image")
    )
    tokens = tokens.copy()
    tokens[image] = np.asarray(pictures.codes).ravel() + offset
    order = np.full(tokens.shape, -1, np.int32)
    order[image] = np.asarray(pictures.order).ravel()
    return {
        "tokens": tokens,
        "keys": keys,
        "maskable": image,
        "counted": image,
        "segments": keys.astype(np.int32),
        "order": order,
    }


def sampler_of(
    model: Any,
    source: MazeWorldSource,
    task: str,
    decoding: DecodingConfig,
    samples: int,
    mask_mode: MaskMode = "bool",
) -> tuple[Any, int]:
    """The sampler of a task's answers, and the most denoising steps it takes.

    `mask_mode` is that of padding, as the model was trained and as its answers are scored.

    Raises:
        InputError: settings that do not fit the task, such as blocks that do not divide.
    """
    ids = source.vocabulary.ids
    if task in PICTURE_TASKS:
        config = decoding.image(source.codec.tokens, mask_mode=mask_mode)
        sampler: Any = diffusion_image(
            model,
            config,
            image_offset=ids.image_offset,
            image_codes=ids.image_codes,
            mask_id=ids.mask,
            samples=samples,
        )
        return sampler, config.steps
    text = decoding.text(source.answer_room(task), mask_mode)
    sampler = diffusion_text(
        model, text, mask_id=ids.mask, eos=ids.eos, pad=ids.pad, samples=samples
    )
    return sampler, text.block_steps * (text.length // text.block_length)
