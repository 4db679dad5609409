"""Which ids are text, which are special, which are images: one range each, stored explicitly."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxreason.errors import InputError

SPECIAL_FIELDS = (
    *("bos", "eos", "pad", "mask", "soi", "eoi", "t2i", "mmu", "r2i"),
    *("image_pad", "start_header", "end_header", "end_of_turn"),
)
"""The fields of `MultimodalIds` that are the id of one special token."""


@dataclass(frozen=True)
class MultimodalIds:
    """The ids of one vocabulary over text and images.

    The image of a code is the id `image_offset + code`. The offset is part of the vocabulary and
    belongs into a checkpoint's metadata: it cannot be told from the number of rows.

    Attributes:
        text_size: ids 0..text_size - 1 are text and special tokens.
        image_offset: id of image code 0, at least `text_size`.
        image_codes: size of the image codebook.
        size: rows of the embedding; ids beyond the images are unused.
        bos: begins a text.
        eos: ends a text, and fills it up where padding is predicted.
        pad: what samplers put after an answer; the same as `eos` in LLaDA.
        mask: stands for a token that is to be predicted.
        soi: start of an image.
        eoi: end of an image.
        t2i: task token, text to image.
        mmu: task token, image and question to answer.
        r2i: task token, text to reasoning and image.
        image_pad: fills up the left of a text-to-image row; nobody sees it.
        start_header: begins the role of a turn.
        end_header: ends the role of a turn.
        end_of_turn: ends a turn.

    Raises:
        InputError: a special id outside the text, two that agree (pad and eos may), ranges that
            overlap or leave the vocabulary.
    """

    text_size: int
    image_offset: int
    image_codes: int
    size: int
    bos: int
    eos: int
    pad: int
    mask: int
    soi: int
    eoi: int
    t2i: int
    mmu: int
    r2i: int
    image_pad: int
    start_header: int
    end_header: int
    end_of_turn: int

    def __post_init__(self) -> None:
        if self.image_codes < 1:
            raise InputError(f"image_codes is {self.image_codes}; expected at least 1")
        if self.image_offset < self.text_size:
            raise InputError(
                f"image_offset is {self.image_offset}; the text takes the ids up to "
                f"{self.text_size - 1}, so expected at least {self.text_size}"
            )
        if self.image_offset + self.image_codes > self.size:
            raise InputError(
                f"size is {self.size}; {self.image_codes} image codes from {self.image_offset} on "
                f"need at least {self.image_offset + self.image_codes}"
            )
        taken: dict[int, str] = {}
        for name in SPECIAL_FIELDS:
            number = getattr(self, name)
            if not 0 <= number < self.text_size:
                raise InputError(f"{name} is {number}; expected an id in 0..{self.text_size - 1}")
            if name == "pad" and number == self.eos:
                continue
            if number in taken:
                raise InputError(f"{name} is {number}, and so is {taken[number]}")
            taken[number] = name

    @property
    def identity(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return asdict(self)

    def image_ids(self, codes: np.ndarray | Sequence[int]) -> np.ndarray:
        """The ids of image codes, int32 of the same shape.

        Raises:
            InputError: a code outside 0..image_codes - 1; names it and its place.
        """
        codes = whole_numbers(codes, "codes")
        check_range(codes, 0, self.image_codes, "image code")
        return codes.astype(np.int32) + np.int32(self.image_offset)

    def codes(self, ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """The codes of image ids, int32 of the same shape: the inverse of `image_ids`.

        Raises:
            InputError: an id that is no image; names it and its place.
        """
        ids = whole_numbers(ids, "ids")
        check_range(ids, self.image_offset, self.image_offset + self.image_codes, "image id")
        return ids.astype(np.int32) - np.int32(self.image_offset)

    def check_text(self, ids: np.ndarray | Sequence[int], what: str = "text") -> np.ndarray:
        """The ids of a clean text as int32.

        Raises:
            InputError: an id that is no text, or the mask; names it and its place.
        """
        ids = whole_numbers(ids, what)
        check_range(ids, 0, self.text_size, f"id in the {what}:")
        masked = np.flatnonzero(ids == self.mask)
        if masked.size:
            raise InputError(
                f"id {self.mask} at place {masked[0]} of the {what} is the mask; a clean text has "
                "none"
            )
        return ids.astype(np.int32)


def whole_numbers(values: np.ndarray | Sequence[int], what: str) -> np.ndarray:
    """The values as an integer array; an empty list is one too.

    Raises:
        InputError: not integers.
    """
    array = np.asarray(values)
    if array.size == 0:
        return array.astype(np.int32)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{what} has the type {array.dtype}; expected whole numbers")
    return array


def check_range(values: np.ndarray, low: int, high: int, what: str) -> None:
    """Refuses values outside low..high - 1.

    Raises:
        InputError: names the first one, its place and the range.
    """
    if not values.size or (values.min() >= low and values.max() < high):
        return
    place = np.argwhere((values < low) | (values >= high))[0]
    where = int(place[0]) if place.size == 1 else tuple(place.tolist())
    raise InputError(f"{what} {values[tuple(place)]} at place {where} is outside {low}..{high - 1}")


def mmada_ids(image_offset: int = 126_349) -> MultimodalIds:
    """The vocabulary of MMaDA: LLaDA's 126464 rows and 8192 image codes in 134656 rows.

    Special and task tokens are those of the Gen-Verse/MMaDA repository (reserved ids of LLaDA's
    tokenizer). There, an image id is its code plus the length of the text tokenizer.

    Args:
        image_offset: that length. 126349, one more than the highest id known, is assumed: read it
            from the tokenizer of the checkpoint in use. The order of the two header ids is assumed
            too.
    """
    return MultimodalIds(
        text_size=image_offset,
        image_offset=image_offset,
        image_codes=8192,
        size=134_656,
        bos=126_080,
        eos=126_081,
        pad=126_081,
        mask=126_336,
        soi=126_084,
        eoi=126_085,
        t2i=126_088,
        mmu=126_089,
        r2i=126_094,
        image_pad=126_093,
        start_header=126_346,
        end_header=126_347,
        end_of_turn=126_348,
    )
