"""Countdown examples by index: a problem and its canonical solution, as token ids."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxreason.countdown import SPLITS, CountdownConfig, Problem, canonical_solution, generate
from jaxreason.errors import InputError
from jaxreason.tokens import CountdownVocabulary

CACHE_EXAMPLES = 500_000
"""Bound on the encoded examples that later epochs use again."""


@dataclass(frozen=True)
class CountdownData:
    """A data set of Countdown examples; with an index it determines every token.

    Attributes:
        numbers, largest, largest_target: see `CountdownConfig`.
        count: number of examples; small configurations repeat problems within a split.
        seed: of the problems.
        split: "train", "validation" or "test"; disjoint by content.

    Raises:
        InputError: a field outside its range.
    """

    numbers: int = 3
    largest: int = 20
    largest_target: int = 100
    count: int = 50_000
    seed: int = 0
    split: str = "train"

    def __post_init__(self) -> None:
        _ = self.problems  # checks the fields that describe the problems
        if self.split not in SPLITS:
            raise InputError(f"split is {self.split!r}; expected one of {', '.join(SPLITS)}")
        if self.count < 1:
            raise InputError(f"count is {self.count}; it must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; expected a whole number in 0..2^63-1")

    @property
    def problems(self) -> CountdownConfig:
        """What kind of problem to draw."""
        return CountdownConfig(self.numbers, self.largest, self.largest_target)

    def vocabulary(self) -> CountdownVocabulary:
        """The words for every number and target that can occur."""
        return CountdownVocabulary(self.problems.limit)


class CountdownSource:
    """Random access to the encoded examples of a `CountdownData`; see `countdown_source`.

    Attributes:
        config: the data set.
        vocabulary: its words.
        identity: what a saved data position must agree with.
    """

    def __init__(self, config: CountdownData):
        self.config = config
        self.vocabulary = config.vocabulary()
        self.identity = {"task": "countdown", **asdict(config)}
        # Solving takes most of the time, and an example is some two hundred bytes.
        self._cache: dict[int, tuple[np.ndarray, int]] = {}

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`tokens` int32 [n] from bos to eos, `prompt_length` (to and with the target), `index`."""
        index = self._checked(index)
        entry = self._cache.get(index)
        if entry is None:
            entry = self._encode(self.problem(index))
            # An epoch visits every example once, so evicting to make room would gain nothing.
            if len(self._cache) < CACHE_EXAMPLES:
                self._cache[index] = entry
        tokens, prompt_length = entry
        return {"tokens": tokens.copy(), "prompt_length": prompt_length, "index": index}

    def problem(self, index: int) -> Problem:
        """Problem `index`."""
        config = self.config
        return generate(config.problems, config.seed, self._checked(index), config.split)

    def _checked(self, index: int) -> int:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the data set of {len(self)} examples")
        return index

    def _encode(self, problem: Problem) -> tuple[np.ndarray, int]:
        prompt = self.vocabulary.encode_prompt(problem)
        completion = self.vocabulary.encode_completion(canonical_solution(problem))
        return np.concatenate([prompt, completion]), len(prompt)


def countdown_source(config: CountdownData) -> CountdownSource:
    """The examples of a data set, generated and solved when first asked for."""
    return CountdownSource(config)
