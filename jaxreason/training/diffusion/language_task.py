"""Questions in words for a diffusion policy: prompts, rows, rewards of decoded answers, held out.

A row is a prompt and the canvas of its answer, and nothing else: the padding that makes a batch of
prompts of different lengths is hidden from the sampler and from the scorer, which gives the same
numbers as leaving it out. So a base is sampled and scored as published code samples one prompt at a
time, whatever it was trained to see of padding (`mask_mode`): LLaDA's padding in training, the end
tokens after an answer, is part of the canvas and seen by all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data.language.records import PromptRecord
from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.rewards import Reward
from jaxreason.rewards.math_answers import gold_answer
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.language_base import TextCoder
from jaxreason.training.diffusion.pictured_prompts import Picture, PictureCoder, without_mark
from jaxreason.training.diffusion.rollouts import AnswerReward, AnswerRows, text_rows
from jaxreason.training.held_out import Watch
from jaxreason.training.judging import draw, judge_rows
from jaxreason.types import Completions, Params, Sampler

WIDTH_STEP = 64
"""Prompts are padded to multiples of this, so that few programs are compiled."""

TextReward = Callable[[Sequence[PromptRecord], Sequence[str]], Reward]
"""`(problems, texts) -> Reward` of decoded answers."""


@dataclass(frozen=True)
class Question:
    """One problem.

    Attributes:
        record: what is asked, and the expected answer.
        tokens: of the prompt, int32 [n], without those of a picture.
        picture: before the prompt; None for none.
    """

    record: PromptRecord
    tokens: np.ndarray
    picture: Picture | None = None


def encode_questions(
    records: Sequence[PromptRecord],
    coder: TextCoder,
    longest: int,
    overflow: str,
    picture: Callable[[PromptRecord], Picture | None] = lambda record: None,
) -> list[Question]:
    """The problems whose prompts have at most `longest` tokens.

    Args:
        records: what is asked.
        coder: of the model.
        longest: tokens of a prompt.
        overflow: "error" refuses longer ones, "drop" leaves them out.
        picture: the picture of a record, if it asks about one.

    Raises:
        InputError: a prompt that cannot be encoded or is too long, one without an answer, or none
            is left; names file and line.
    """
    found = []
    for record in records:
        try:
            gold_answer(record.answer)
            shown = picture(record)
            words = record.messages if shown is None else without_mark(record.messages)
            prompt = coder.prompt(words)
        except InputError as error:
            told = str(error) if record.where in str(error) else f"{record.where}: {error}"
            raise InputError(told) from error
        if prompt.size <= longest:
            found.append(Question(record, prompt, shown))
        elif overflow == "error":
            raise InputError(
                f"{record.where}: the prompt has {prompt.size} tokens, prompt_tokens is {longest}; "
                "raise it, or leave such prompts out with `--overflow drop`"
            )
    if not found:
        raise InputError(f"no prompt has at most {longest} tokens (prompt_tokens)")
    return found


def padded_prompts(prompts: Sequence[np.ndarray], width: int, pad: int) -> dict[str, np.ndarray]:
    """`tokens [B, width]` and `lengths [B]`, int32, right-padded."""
    tokens = np.full((len(prompts), width), pad, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : prompt.size] = prompt
    return {"tokens": tokens, "lengths": np.array([len(one) for one in prompts], np.int32)}


@dataclass(frozen=True)
class LanguageAnswers:
    """An `AnswerTask` of questions in words.

    Attributes:
        questions: the problems.
        coder: of the model.
        longest: tokens of a prompt, at most, those of a picture aside.
        pictures: of those that are asked about; None if none are.
    """

    questions: Sequence[Question]
    coder: TextCoder
    longest: int
    pictures: PictureCoder | None = None

    @property
    def room(self) -> int:
        """Tokens of a prompt, at most; no batch is wider."""
        return self.longest + (0 if self.pictures is None else self.pictures.room)

    def size(self, index: int) -> int:
        """Tokens of a prompt."""
        question = self.questions[index]
        pictured = question.picture is not None and self.pictures is not None
        return question.tokens.size + (self.pictures.room if pictured and self.pictures else 0)

    def prompts(self, indices: Sequence[int], width: int = 0) -> dict[str, np.ndarray]:
        """See `AnswerTask`; as wide as the longest of them needs, or `width`."""
        widest = WIDTH_STEP * -(-max(self.size(index) for index in indices) // WIDTH_STEP)
        tokens = [self.questions[index].tokens for index in indices]
        shown = [i for i, index in enumerate(indices) if self.questions[index].picture is not None]
        if shown and self.pictures is not None:
            asked = [self.questions[indices[i]] for i in shown]
            before = self.pictures.prefixes(
                [question.picture for question in asked if question.picture is not None],
                [question.record.where for question in asked],
            )
            for i, prefix in zip(shown, before, strict=True):
                tokens[i] = np.concatenate([prefix, tokens[i]])
        return padded_prompts(tokens, width or min(widest, self.room), self.coder.ids.eos)

    def problem(self, index: int) -> Question:
        """See `AnswerTask`."""
        return self.questions[index]

    def shown(self, answers: Completions) -> Completions:
        """See `AnswerTask`."""
        return answers

    def rows(self, prompts: dict[str, np.ndarray], answers: Completions, group: int) -> AnswerRows:
        """See `AnswerTask`; what follows an answer is filled with its end token, as in LLaDA."""
        rows = text_rows(prompts, answers, group, self.coder.ids.eos)
        rows = {**rows, "targets_mask": rows["counted"]}
        return AnswerRows(rows, np.asarray(answers.finished), np.asarray(answers.lengths))


def texts_of(coder: TextCoder, answers: Completions) -> list[str]:
    """Decoded answers, without their end tokens."""
    lengths = np.asarray(answers.lengths).tolist()
    tokens = np.asarray(answers.tokens)
    return [coder.answer(row, length) for row, length in zip(tokens, lengths, strict=True)]


def decoded(reward: TextReward, coder: TextCoder) -> AnswerReward:
    """A reward of texts as one of `Completions`, with `finished` in its breakdown."""

    def judge(problems: Sequence[Question], answers: Completions) -> Reward:
        found = reward([problem.record for problem in problems], texts_of(coder, answers))
        finished = np.asarray(answers.finished).astype(np.float32)
        return Reward(found.values, {**found.breakdown, "finished": finished})

    return judge


def language_sampler(
    model: Transformer, coder: TextCoder, decoding: DecodingConfig, samples: int = 1
) -> tuple[Sampler, int]:
    """The sampler of answers, and the most denoising steps it takes.

    Raises:
        InputError: settings that do not go with each other or the model.
    """
    config = decoding.text(decoding.length, "bool")
    ids = coder.ids
    sampler = diffusion_text(
        model,
        config,
        mask_id=ids.mask,
        eos=ids.eos,
        eot=ids.eot if ids.eot != ids.eos else None,
        pad=ids.eos,
        samples=samples,
    )
    return sampler, config.block_steps * (config.length // config.block_length)


def held_out_texts(
    model: Transformer,
    task: LanguageAnswers,
    judge: AnswerReward,
    decoding: DecodingConfig,
    batch: int,
    mesh: Mesh | None,
    watch: Watch,
) -> Callable[[Params, int], Mapping[str, float]]:
    """`(params, step) -> numbers`: `held_out_*` of the most likely answers, one to each question.

    Args:
        model: the policy's.
        task: the held-out questions.
        judge: of their answers, see `decoded`.
        decoding: of the rollouts; temperature 0 takes its place here.
        batch: questions decoded together.
        mesh: devices; None for one.
        watch: told of the answers.
    """
    greedy = replace(decoding, temperature=0.0)
    sampler, _ = language_sampler(model, task.coder, greedy)
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    count = len(task.questions)
    rows = ways * -(-min(batch, count) // ways)
    problems = list(task.questions)
    widest = max(task.size(index) for index in range(count))
    width = min(WIDTH_STEP * -(-widest // WIDTH_STEP), task.room)

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        parts = []
        for first in range(0, count, rows):
            # The last batch is filled up, so that nothing is compiled again.
            places = np.minimum(np.arange(first, first + rows), count - 1)
            prompts = task.prompts(places.tolist(), width)
            key = jax.random.fold_in(jax.random.key(0), first)
            parts.append(draw(sampler, params, prompts, key, mesh))
        answers = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
        judged = judge_rows(judge, problems, answers, mesh)
        watch(step, problems, answers, judged)
        means = {"reward": judged.values, **judged.breakdown}
        numbers = {f"held_out_{name}": float(np.mean(x)) for name, x in means.items()}
        tokens = float(np.mean(answers.lengths))
        return {"held_out_prompts": float(count), "held_out_tokens": tokens, **numbers}

    return evaluate
