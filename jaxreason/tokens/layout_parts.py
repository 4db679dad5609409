"""What the rows of all tasks are made of: their sizes, and the pieces that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.multimodal_vocabulary import MultimodalIds, whole_numbers

TASKS = ("t2i", "lm", "lm_chat", "mmu", "r2i")
"""A batch's `task` column holds places in this list."""

OVERFLOWS = ("error", "truncate")

Ids = np.ndarray | Sequence[int]


@dataclass(frozen=True)
class LayoutConfig:
    """The sizes all rows of a batch share.

    Attributes:
        text_length: S, places for text; in mmu and r2i rows it holds bos and eos too.
        image_tokens: N, codes per picture.
        ids: the vocabulary.
        overflow: what to do about a text that is too long: "error", or "truncate" as the reference
            does (t2i keeps its first S tokens and ends in eos, mmu and r2i their first S - 1, lm
            and lm_chat are cut without eos).

    Raises:
        InputError: a size below 1 (S below 2), or an unknown overflow.
    """

    text_length: int
    image_tokens: int
    ids: MultimodalIds
    overflow: str = "error"

    def __post_init__(self) -> None:
        for name, least in (("text_length", 2), ("image_tokens", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if self.overflow not in OVERFLOWS:
            raise InputError(
                f"overflow is {self.overflow!r}; expected one of {', '.join(OVERFLOWS)}"
            )

    @property
    def length(self) -> int:
        """Tokens per row, S + N + 3."""
        return self.text_length + self.image_tokens + 3

    def image_slice(self, task: str) -> slice:
        """The places of the image tokens; empty for lm and lm_chat."""
        starts = {"t2i": self.text_length + 2, "r2i": self.text_length + 2, "mmu": 2}
        check_task(task)
        start = starts.get(task)
        return slice(0, 0) if start is None else slice(start, start + self.image_tokens)


class LayoutRow(NamedTuple):
    """One clean training row; every array is [T].

    Attributes:
        tokens: int32 ids.
        maskable: bool, places that may be masked.
        keys: bool, False for padding that nobody sees.
        image: bool, image tokens.
        visible_targets: bool, places that the reference's t2i loss counts though they are never
            masked (soi and eoi).
    """

    tokens: np.ndarray
    maskable: np.ndarray
    keys: np.ndarray
    image: np.ndarray
    visible_targets: np.ndarray


def check_task(task: str) -> None:
    """Refuses a task that is not in `TASKS`."""
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; expected one of {', '.join(TASKS)}")


def visible_row(
    layout: LayoutConfig, tokens: np.ndarray, maskable: np.ndarray, task: str
) -> LayoutRow:
    """A row without hidden padding and without visible targets."""
    image = np.zeros(len(tokens), bool)
    image[layout.image_slice(task)] = True
    everything, nothing = np.ones(len(tokens), bool), np.zeros(len(tokens), bool)
    return LayoutRow(tokens, maskable, everything, image, nothing)


def with_bos(ids: MultimodalIds, text: Ids) -> np.ndarray:
    """The checked ids of a text, bos before them, int32."""
    checked = ids.check_text(text)
    if checked.size and checked[0] == ids.bos:
        return checked
    return np.concatenate([[ids.bos], checked]).astype(np.int32)


def fitted(layout: LayoutConfig, tokens: np.ndarray, room: int, task: str) -> np.ndarray:
    """The first `room` tokens; InputError if there are more and the layout cuts nothing."""
    if len(tokens) > room and layout.overflow == "error":
        raise InputError(
            f"a {task} row has {len(tokens)} tokens before its image or end, but room for {room} "
            f"(text_length is {layout.text_length}); raise text_length, or set overflow to "
            "'truncate'"
        )
    return tokens[:room]


def t2i_prompt(layout: LayoutConfig, text: Ids) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [T] of which only the text is set, and keys [T]."""
    ids, room = layout.ids, layout.text_length + 1
    written = np.concatenate([[ids.t2i], with_bos(ids, text), [ids.eos]]).astype(np.int32)
    if len(written) > room:
        written = fitted(layout, written, room, "t2i")
        written[-1] = ids.eos
    tokens, keys = np.empty(layout.length, np.int32), np.ones(layout.length, bool)
    tokens[: room - len(written)] = ids.image_pad
    keys[: room - len(written)] = False
    tokens[room - len(written) : room] = written
    return tokens, keys


def fixed_text(layout: LayoutConfig, text: Ids) -> np.ndarray:
    """bos text eos [eos]* in S places."""
    ids, room = layout.ids, layout.text_length
    written = np.append(with_bos(ids, text), np.int32(ids.eos))
    body = np.full(room, ids.eos, np.int32)
    kept = fitted(layout, written, room, "mmu or r2i")
    body[: len(kept)] = kept
    body[-1] = ids.eos  # it is already, unless the text was cut
    return body


def long_text(layout: LayoutConfig, text: Ids, length: int | None, task: str) -> np.ndarray:
    """bos text eos [eos]* in `length` places, all of the row if None."""
    ids = layout.ids
    room = layout.length if length is None else length
    kept = fitted(layout, np.append(with_bos(ids, text), np.int32(ids.eos)), room, task)
    tokens = np.full(room, ids.eos, np.int32)
    tokens[: len(kept)] = kept
    return tokens


def prompt_length(tokens: np.ndarray, ids: MultimodalIds) -> int:
    """Tokens up to and including the last end_header; 0 without one."""
    places = np.flatnonzero(tokens == ids.end_header)
    return int(places[-1]) + 1 if places.size else 0


def image_ids(layout: LayoutConfig, codes: Ids) -> np.ndarray:
    """The ids of a picture's codes; InputError unless there are N of them in the codebook."""
    codes = whole_numbers(codes, "codes")
    if codes.shape != (layout.image_tokens,):
        raise InputError(f"codes has shape {codes.shape}; expected [{layout.image_tokens}]")
    return layout.ids.image_ids(codes)
