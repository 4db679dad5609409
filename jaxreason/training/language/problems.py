"""Prompts with verifiable answers as the problems of reinforcement learning, and their judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxreason.data.language import PromptRecord, prompt_source
from jaxreason.errors import InputError
from jaxreason.rewards import Reward
from jaxreason.rewards.math_answers import AnswerPlace, gold_answer, math_reward
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.language.completions import completion_texts
from jaxreason.types import Completions


class Asked(NamedTuple):
    """A prompt: int32 [n] tokens, and the record they are made of."""

    tokens: np.ndarray
    record: PromptRecord


class PromptVocabulary(NamedTuple):
    """What rollouts want of a vocabulary; see `prompt_rows.Task`."""

    pad: int
    eos: tuple[int, ...]

    def encode_prompt(self, problem: Asked) -> np.ndarray:
        """The prompt, encoded when the data were opened."""
        return problem.tokens


class Problems:
    """Prompts by index.

    Args:
        records: of kind "prompts".
        tokenizer: of the model.
        length: most tokens of a prompt.
        template: see `data.language.prompt_source`.
        overflow: of prompts that are longer; see there.

    Raises:
        InputError: a prompt that is too long or that the template refuses; names file and line.
    """

    def __init__(
        self,
        records: Sequence[PromptRecord],
        tokenizer: PretrainedTokenizer,
        *,
        length: int,
        template: str,
        overflow: str,
    ) -> None:
        self._source = prompt_source(
            records, tokenizer, length, template=template, overflow=overflow
        )
        self.tokenizer = tokenizer
        self.vocabulary = PromptVocabulary(tokenizer.pad, tokenizer.stops_for(template))

    def __len__(self) -> int:
        return len(self._source)

    @property
    def identity(self) -> Any:
        """Plain JSON that changes with the prompts."""
        return self._source.identity

    @property
    def dropped(self) -> int:
        """Prompts left out for being too long."""
        return self._source.dropped

    @property
    def truncated(self) -> int:
        """Prompts whose beginning was cut off."""
        return self._source.truncated

    @property
    def counts(self) -> dict[str, int]:
        """How many are `kept`, and of how many too long ones this was not so."""
        return {"kept": len(self), "dropped": self.dropped, "truncated": self.truncated}

    def problem(self, index: int) -> Asked:
        """The prompt with its record."""
        return Asked(self._source[index]["tokens"], self._source.problem(index))

    def check_answers(self) -> None:
        """Refuse prompts without an answer that completions can be judged against.

        Raises:
            InputError: names file and line.
        """
        for index in range(len(self)):
            record = self._source.problem(index)
            try:
                gold_answer(record.answer)
            except InputError as error:
                raise InputError(f"{record.where}: {error}") from error


@dataclass(frozen=True)
class AnswerReward:
    """`(problems, completions) -> Reward` by `math_reward`; the breakdown also holds `finished`.

    Attributes:
        tokenizer: of the model.
        weights: see `math_reward`.
        place: where answers are looked for.
        seconds: limit of one comparison.
    """

    tokenizer: PretrainedTokenizer
    weights: Mapping[str, float]
    place: AnswerPlace
    seconds: float

    def __call__(self, problems: Sequence[Asked], completions: Completions) -> Reward:
        """What completions earn, as text."""
        texts = completion_texts(completions, self.tokenizer)
        answers = [problem.record.answer for problem in problems]
        found = math_reward(answers, texts, self.weights, place=self.place, seconds=self.seconds)
        finished = np.asarray(completions.finished).astype(np.float32)
        return Reward(found.values, {**found.breakdown, "finished": finished})
