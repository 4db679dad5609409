"""Countdown problems and answers as words: every number is one token.

Order of the ids: `0 .. limit`, `+ - * / ( )`, `query target answer end`, then the four specials.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.word_vocabulary import WordVocabulary

WORDS = ("+", "-", "*", "/", "(", ")", "query", "target", "answer", "end")


class CountdownProblem(Protocol):
    """What the vocabulary needs of a problem: whole numbers of at least 0."""

    @property
    def numbers(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def target(self) -> int: ...  # noqa: D102


class CountdownVocabulary(WordVocabulary):
    """Words and ids for numbers and targets of at most `limit`.

    Attributes:
        limit: the largest number that has a word.
        words, size, pad, unk, bos, eos: see `WordVocabulary`.

    Raises:
        InputError: a limit below 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise InputError(f"limit is {limit}; expected at least 1")
        self.limit = limit
        super().__init__(limit + 1 + len(WORDS))

    def __repr__(self) -> str:
        return f"CountdownVocabulary({self.limit})"

    @property
    def name(self) -> str:
        """`0..LIMIT countdown`."""
        return f"0..{self.limit} countdown"

    def _list_words(self) -> tuple[str, ...]:
        return (*(str(number) for number in range(self.limit + 1)), *WORDS)

    def encode_prompt(self, problem: CountdownProblem) -> np.ndarray:
        """`bos query NUMBER... target TARGET`.

        Returns:
            int32 [4 + numbers].

        Raises:
            InputError: a number or target above the limit.
        """
        for what, number in (*(("number", n) for n in problem.numbers), ("target", problem.target)):
            if not 0 <= number <= self.limit:
                raise InputError(
                    f"{what} {number} of the problem has no word; the vocabulary ends at "
                    f"{self.limit}"
                )
        query, target = self.id("query"), self.id("target")
        return np.array([self.bos, query, *problem.numbers, target, problem.target], np.int32)

    def encode_completion(self, expression: str | Sequence[str]) -> np.ndarray:
        """`answer EXPRESSION end eos`.

        Args:
            expression: its words, as a list or a text.

        Returns:
            int32 [3 + words].

        Raises:
            InputError: a word outside the vocabulary.
        """
        words = self.encode(expression)
        return np.array([self.id("answer"), *words, self.id("end"), self.eos], np.int32)
