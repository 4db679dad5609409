"""Whole words, special tokens and image codes as one vocabulary.

Order of the ids: the words, the special tokens, `<|pad|> <|unk|> <|bos|> <|eos|>`, then one id per
image code.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jaxreason.errors import InputError
from jaxreason.tokens.chat import END_THINK, THINK, ChatTemplate
from jaxreason.tokens.multimodal_vocabulary import MultimodalIds
from jaxreason.tokens.word_vocabulary import SPECIALS as ENDS
from jaxreason.tokens.word_vocabulary import WordVocabulary

TURN_WORDS = (THINK, END_THINK, "user", "assistant", "<nl>")
"""What turns and reasoning are written with, special tokens aside."""

SPECIALS = (
    *("<|mask|>", "<|soi|>", "<|eoi|>", "<|t2i|>", "<|mmu|>", "<|r2i|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)

TEMPLATE = ChatTemplate(newline="<nl>", joiner=" ")
"""Turns in the words of such a vocabulary."""


class MultimodalWords(WordVocabulary):
    """Words, special tokens and image codes.

    Args:
        words: before the special tokens, in the order of their ids.
        image_codes: size of the codebook of the pictures.

    Attributes:
        image_codes: as given.
        text_size: ids of words and specials.
        ids: all of them by name and range. Texts are padded with eos, as in LLaDA; `<|pad|>` is
            the padding that nobody sees.
        words, size, pad, unk, bos, eos: see `WordVocabulary`; image codes are words too, written
            `<|image:CODE|>`.

    Raises:
        InputError: a word that occurs twice or is a special token, image_codes below 1.
    """

    def __init__(self, words: Sequence[str], image_codes: int) -> None:
        if image_codes < 1:
            raise InputError(f"image_codes is {image_codes}; expected at least 1")
        taken = set((*SPECIALS, *ENDS))
        for word in words:
            if word in taken:
                raise InputError(f"words has {word!r} twice, or as a special token")
            taken.add(word)
        self._plain, self.image_codes = tuple(words), image_codes
        super().__init__(len(self._plain) + len(SPECIALS))
        self.text_size = self.size
        self.size = self.text_size + image_codes
        first = self.text_size - len(ENDS) - len(SPECIALS)
        mask, soi, eoi, t2i, mmu, r2i, start_header, end_header, end_of_turn = range(
            first, first + len(SPECIALS)
        )
        self.ids = MultimodalIds(
            text_size=self.text_size,
            image_offset=self.text_size,
            image_codes=image_codes,
            size=self.size,
            bos=self.bos,
            eos=self.eos,
            pad=self.eos,
            mask=mask,
            soi=soi,
            eoi=eoi,
            t2i=t2i,
            mmu=mmu,
            r2i=r2i,
            image_pad=self.pad,
            start_header=start_header,
            end_header=end_header,
            end_of_turn=end_of_turn,
        )

    @property
    def name(self) -> str:
        """`N-word`."""
        return f"{len(self._plain)}-word"

    @property
    def identity(self) -> dict[str, Any]:
        """Words and codes, as JSON holds them."""
        return {"words": list(self._plain), "image_codes": self.image_codes}

    @property
    def no_words(self) -> tuple[int, ...]:
        """Ids of special tokens and image codes: what never stands for a missing word."""
        return tuple(range(len(self._plain), self.size))

    def _list_words(self) -> tuple[str, ...]:
        return (*self._plain, *SPECIALS)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in the order of their ids, image codes last."""
        images = (f"<|image:{code}|>" for code in range(self.image_codes))
        return (*self._list_words(), *ENDS, *images)


def words_of(texts: Sequence[str]) -> tuple[str, ...]:
    """The words of some texts, `TURN_WORDS` first, then by their letters, specials left out."""
    found = {word for text in texts for word in text.split()}
    return (*TURN_WORDS, *sorted(found - {*TURN_WORDS, *SPECIALS, *ENDS}))
