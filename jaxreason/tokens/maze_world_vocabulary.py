"""One vocabulary for mazes in words and in pictures.

Order of the ids: the words of `MazeVocabulary` without its specials, the words of this file, and
then as in `MultimodalWords`.
"""

from functools import cached_property

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.maze_vocabulary import MazeVocabulary
from jaxreason.tokens.multimodal_words import SPECIALS, TEMPLATE, TURN_WORDS, MultimodalWords
from jaxreason.tokens.word_vocabulary import SPECIALS as ENDS

__all__ = ["CELL_WORDS", "SPECIALS", "TEMPLATE", "WORLD_WORDS", "MazeWorldVocabulary"]

CELL_WORDS = ("#", ".", "S", "G", "*")
"""The words of a map, in the order of `mazes.rasters.CELL_CLASSES`."""

WORLD_WORDS = (*CELL_WORDS, *TURN_WORDS, "draw", "solve", "read")


class MazeWorldVocabulary(MultimodalWords):
    """Words, special tokens and image codes for mazes of width x height cells.

    Attributes:
        width: columns.
        height: rows.
        image_codes, text_size, ids, words, size, pad, unk, bos, eos: see `MultimodalWords`.

    Raises:
        InputError: a side or image_codes below 1.
    """

    def __init__(self, width: int, height: int, image_codes: int) -> None:
        if image_codes < 1:
            raise InputError(f"image_codes is {image_codes}; expected at least 1")
        self.width, self.height = width, height
        maze = MazeVocabulary(width, height)
        super().__init__((*maze.words[: maze.size - len(ENDS)], *WORLD_WORDS), image_codes)

    @property
    def name(self) -> str:
        """`WIDTHxHEIGHT maze world`."""
        return f"{self.width}x{self.height} maze world"

    def __repr__(self) -> str:
        return f"MazeWorldVocabulary({self.width}, {self.height}, {self.image_codes})"

    @cached_property
    def cell_ids(self) -> np.ndarray:
        """int32 [5], the ids of `CELL_WORDS`."""
        return self.encode(CELL_WORDS)
