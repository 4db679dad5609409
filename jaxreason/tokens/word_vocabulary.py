"""What the vocabularies of all tasks share: a fixed list of words, four specials at its end."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from jaxreason.errors import InputError

SPECIALS = ("<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>")


class WordVocabulary(ABC):
    """Words and ids; a word's place in the list is its id.

    Args:
        words: how many words there are before the specials.

    Attributes:
        size: number of words, specials included.
        pad: id of padding.
        unk: id of an unknown word.
        bos: id that begins a sequence.
        eos: id that ends a sequence.
    """

    def __init__(self, words: int) -> None:
        self.pad, self.unk, self.bos, self.eos = range(words, words + len(SPECIALS))
        self.size = words + len(SPECIALS)

    @property
    @abstractmethod
    def name(self) -> str:
        """What error messages call the vocabulary, as in "the 5x5 vocabulary"."""

    @abstractmethod
    def _list_words(self) -> Iterable[str]:
        """The words before the specials, in the order of their ids."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in the order of their ids."""
        return (*self._list_words(), *SPECIALS)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    def id(self, word: str) -> int:
        """The id of one word; InputError if there is none."""
        if word not in self._ids:
            raise InputError(f"word {word!r} is not in the {self.name} vocabulary")
        return self._ids[word]

    def encode(self, text: str | Sequence[str], allow_unknown: bool = False) -> np.ndarray:
        """Ids of the words of a text, int32 [words]; specials only where the text names them.

        Raises:
            InputError: a word outside the vocabulary, unless `allow_unknown` makes it `unk`.
        """
        words = text.split() if isinstance(text, str) else text
        ids = self._ids
        if allow_unknown:
            return np.array([ids.get(word, self.unk) for word in words], np.int32)
        try:
            return np.array([ids[word] for word in words], np.int32)
        except KeyError as error:
            place = words.index(error.args[0])
            raise InputError(
                f"word {place} of the text, {error.args[0]!r}, is not in the {self.name} vocabulary"
            ) from error

    def decode_words(self, ids: Iterable[int]) -> list[str]:
        """The words of a sequence of ids; InputError if one lies outside the vocabulary."""
        numbers = np.asarray(ids).tolist()
        for place, number in enumerate(numbers):
            if not 0 <= number < self.size:
                raise InputError(f"id {number} at place {place} is outside 0..{self.size - 1}")
        return [self.words[number] for number in numbers]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a sequence of ids, specials included: the inverse of `encode`."""
        return " ".join(self.decode_words(ids))
