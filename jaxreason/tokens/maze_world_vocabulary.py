"""One vocabulary for mazes in words and in pictures.

Order of the ids: the words of `MazeVocabulary` without its specials, the words of this file, the
special tokens, `<|pad|> <|unk|> <|bos|> <|eos|>`, then one id per image code.
"""

from functools import cached_property

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.chat import END_THINK, THINK, ChatTemplate
from jaxreason.tokens.maze_vocabulary import MazeVocabulary
from jaxreason.tokens.multimodal_vocabulary import MultimodalIds
from jaxreason.tokens.word_vocabulary import SPECIALS as ENDS
from jaxreason.tokens.word_vocabulary import WordVocabulary

CELL_WORDS = ("#", ".", "S", "G", "*")
"""The words of a map, in the order of `mazes.rasters.CELL_CLASSES`."""

WORLD_WORDS = (*CELL_WORDS, THINK, END_THINK, "user", "assistant", "<nl>", "draw", "solve", "read")

SPECIALS = (
    *("<|mask|>", "<|soi|>", "<|eoi|>", "<|t2i|>", "<|mmu|>", "<|r2i|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)

TEMPLATE = ChatTemplate(newline="<nl>", joiner=" ")
"""Turns in the words of this vocabulary."""


class MazeWorldVocabulary(WordVocabulary):
    """Words, special tokens and image codes for mazes of width x height cells.

    Attributes:
        width: columns.
        height: rows.
        image_codes: size of the codebook of the pictures.
        text_size: ids of words and specials.
        ids: all of them by name and range. Texts are padded with eos, as in LLaDA; `<|pad|>` is
            the padding that nobody sees.
        words, size, pad, unk, bos, eos: see `WordVocabulary`; image codes are words too, written
            `<|image:CODE|>`.

    Raises:
        InputError: a side or image_codes below 1.
    """

    def __init__(self, width: int, height: int, image_codes: int) -> None:
        if image_codes < 1:
            raise InputError(f"image_codes is {image_codes}; expected at least 1")
        self.width, self.height, self.image_codes = width, height, image_codes
        maze = MazeVocabulary(width, height)
        self._maze_words = maze.words[: maze.size - len(ENDS)]
        super().__init__(len(self._maze_words) + len(WORLD_WORDS) + len(SPECIALS))
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
        """`WIDTHxHEIGHT maze world`."""
        return f"{self.width}x{self.height} maze world"

    def __repr__(self) -> str:
        return f"MazeWorldVocabulary({self.width}, {self.height}, {self.image_codes})"

    def _list_words(self) -> tuple[str, ...]:
        return (*self._maze_words, *WORLD_WORDS, *SPECIALS)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in the order of their ids, image codes last."""
        images = (f"<|image:{code}|>" for code in range(self.image_codes))
        return (*self._list_words(), *ENDS, *images)

    @cached_property
    def cell_ids(self) -> np.ndarray:
        """int32 [5], the ids of `CELL_WORDS`."""
        return self.encode(CELL_WORDS)
