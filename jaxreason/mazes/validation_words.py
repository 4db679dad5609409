"""The words of a response as numbers the kernels can read.

What a word can stand for (a keyword, a coordinate, a cost) is looked up once per word of the
vocabulary; a response is then an array of places in that table. Words beyond the table, which a
word-level tokenizer cannot produce but a text can hold, are added for one response.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

OTHER, CREATE, CLOSE, PLAN, BOS, EOS, SOLUTION, END, REASONING, STOP = range(10)
_KEYWORDS = {
    "create": CREATE,
    "close": CLOSE,
    "plan": PLAN,
    "bos": BOS,
    "eos": EOS,
    "solution": SOLUTION,
    "end": END,
    "reasoning": REASONING,
    "<|eos|>": STOP,
}

HOLDS_CREATE, HOLDS_CLOSE, HOLDS_EOS, HOLDS_PLAN = 1, 2, 4, 8
_HELD = {"create": HOLDS_CREATE, "close": HOLDS_CLOSE, "eos": HOLDS_EOS, "plan": HOLDS_PLAN}

NO_NUMBER = -(2**62)
LARGEST_NUMBER = 2**59
"""A number beyond it is read as no number at all, so that sums of two stay within 64 bits."""

PLAIN, COORDINATE, COST = range(3)


class WordTable(NamedTuple):
    """What each word can stand for.

    Attributes:
        words: the words, in the order of their codes.
        kind: int8 [words], keyword or `OTHER`.
        holds: int8 [words], bits of the keywords inside the word ("xplan" holds "plan").
        number: int64 [words], the word as an integer, or `NO_NUMBER`.
        cost: int64 [words], the word without its first letter as an integer, or `NO_NUMBER`.
        form: int8 [words], `COORDINATE` if written as 7, `COST` if written as c7, else `PLAIN`.
    """

    words: tuple[str, ...]
    kind: np.ndarray
    holds: np.ndarray
    number: np.ndarray
    cost: np.ndarray
    form: np.ndarray


class Words(NamedTuple):
    """A response: int64 [length] codes into a table of words."""

    codes: np.ndarray
    table: WordTable

    def word(self, place: int) -> str:
        """The word at that place."""
        return self.table.words[self.codes[place]]


def _number(text: str) -> int:
    # Exactly what Python's int() takes, as in the authors' validator: "+5", "1_0", "007" too.
    try:
        value = int(text)
    except ValueError:
        return NO_NUMBER
    return value if abs(value) <= LARGEST_NUMBER else NO_NUMBER


def _form(word: str, number: int, cost: int) -> int:
    if number >= 0 and word == str(number):
        return COORDINATE
    return COST if cost >= 0 and word == f"c{cost}" else PLAIN


def word_table(words: Sequence[str]) -> WordTable:
    """The table of these words, code i for word i."""
    numbers = [_number(word) for word in words]
    costs = [_number(word[1:]) for word in words]
    parts = zip(words, numbers, costs, strict=True)
    holds = [sum(bit for part, bit in _HELD.items() if part in word) for word in words]
    return WordTable(
        tuple(words),
        np.array([_KEYWORDS.get(word, OTHER) for word in words], np.int8),
        np.array(holds, np.int8),
        np.array(numbers, np.int64),
        np.array(costs, np.int64),
        np.array([_form(*part) for part in parts], np.int8),
    )


_vocabulary_table = lru_cache(maxsize=16)(word_table)


@lru_cache(maxsize=1)
def _common_table() -> tuple[WordTable, dict[str, int]]:
    words = [*_KEYWORDS, *map(str, range(256)), *(f"c{cost}" for cost in range(4096))]
    return word_table(words), {word: code for code, word in enumerate(words)}


def read_words(response: Sequence[str] | str) -> Words:
    """The words of a response, given as such or as one text with any white space between them."""
    words = response.split() if isinstance(response, str) else list(response)
    table, codes = _common_table()
    found = list(map(codes.get, words))
    if None not in found:
        return Words(np.array(found, np.int64), table)
    added = {word: code for word, code in zip(words, found, strict=True) if code is None}
    extra = word_table(list(added))
    joined = WordTable(
        table.words + extra.words,
        *(np.concatenate(pair) for pair in zip(table[1:], extra[1:], strict=True)),
    )
    added_codes = {word: len(table.words) + place for place, word in enumerate(added)}
    every = [added_codes[w] if c is None else c for w, c in zip(words, found, strict=True)]
    return Words(np.array(every, np.int64), joined)


def read_ids(ids: np.ndarray, vocabulary: tuple[str, ...]) -> Words:
    """The words of a response given as token ids: faster than words, equal in every verdict.

    Args:
        ids: integers [length], each a place in the vocabulary.
        vocabulary: its words, such as `MazeVocabulary(30, 30).words`.
    """
    return Words(np.asarray(ids, np.int64), _vocabulary_table(vocabulary))
