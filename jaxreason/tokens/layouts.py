"""How text and image tokens share one row, for every task, in training and at inference.

With S text tokens and N image tokens a row has S + N + 3 places (MMaDA, Yang et al. 2025, arXiv
2505.15809, and the Gen-Verse/MMaDA repository, whose rows these are token for token):

    t2i      [image_pad]* <t2i> bos text eos | <soi> image <eoi>         padded on the left
    mmu      <mmu> <soi> image <eoi> | bos text eos [eos]*
    lm       bos text eos [eos]*
    lm_chat  bos text eos [eos]*                       the prompt stays visible
    r2i      <r2i> | bos text eos [eos]* | <soi> image <eoi>

In a text with headers all up to and including the last `end_header` is the prompt. Padding with eos
is predicted like any other token; `image_pad` is hidden from everybody.
"""

from collections.abc import Mapping, Sequence
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
        _check_task(task)
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


def t2i(layout: LayoutConfig, text: Ids, codes: Ids, drop_text: bool = False) -> LayoutRow:
    """Text to image: the image may be masked, the text stays.

    Args:
        layout: sizes and ids.
        text: ids of the description; bos is put before it if missing.
        codes: [N] image codes.
        drop_text: replaces the text by the empty one, for guidance without classifier.

    Raises:
        InputError: a token outside its range, codes of another length, a text that overflows.
    """
    ids = layout.ids
    tokens, keys = _t2i_prompt(layout, () if drop_text else text)
    image = np.zeros(layout.length, bool)
    image[layout.image_slice("t2i")] = True
    visible = np.zeros(layout.length, bool)
    visible[[layout.text_length + 1, -1]] = True
    tokens[layout.text_length + 1 :] = [ids.soi, *_image_ids(layout, codes), ids.eoi]
    return LayoutRow(tokens, image.copy(), keys, image, visible)


def mmu(layout: LayoutConfig, text: Ids, codes: Ids) -> LayoutRow:
    """Image and question to answer: what follows the prompt may be masked.

    Arguments and errors as for `t2i`; `text` is question and answer.
    """
    ids = layout.ids
    body = _fixed_text(layout, text)
    before = layout.image_tokens + 3
    tokens = np.array([ids.mmu, ids.soi, *_image_ids(layout, codes), ids.eoi, *body], np.int32)
    prompt = before + _prompt_length(body, ids)
    return _row(layout, tokens, np.arange(layout.length) >= prompt, "mmu")


def lm(layout: LayoutConfig, text: Ids, length: int | None = None) -> LayoutRow:
    """Plain text, all of which may be masked.

    Args:
        layout: ids, and the length of the row unless given.
        text: ids; bos is put before them if missing.
        length: tokens of the row; None: S + N + 3, as all other rows.

    Raises:
        InputError: a token outside its range, a text that overflows.
    """
    tokens = _long_text(layout, text, length, "lm")
    return _row(layout, tokens, np.ones(len(tokens), bool), "lm")


def lm_chat(layout: LayoutConfig, text: Ids, length: int | None = None) -> LayoutRow:
    """As `lm`, but what comes before the last answer stays visible."""
    tokens = _long_text(layout, text, length, "lm_chat")
    maskable = np.arange(len(tokens)) >= _prompt_length(tokens, layout.ids)
    return _row(layout, tokens, maskable, "lm_chat")


def r2i(layout: LayoutConfig, text: Ids, codes: Ids) -> LayoutRow:
    """Text to reasoning and image: the answer's text with its padding, and the image.

    Without a header the whole text is the prompt. Arguments and errors as for `t2i`.
    """
    ids = layout.ids
    body = _fixed_text(layout, text)
    tokens = np.array([ids.r2i, *body, ids.soi, *_image_ids(layout, codes), ids.eoi], np.int32)
    prompt = _prompt_length(body, ids) or len(body)
    maskable = np.arange(layout.length) > prompt
    maskable[[layout.text_length + 1, -1]] = False
    return _row(layout, tokens, maskable, "r2i")


def t2i_inference(
    layout: LayoutConfig, text: Ids, codes: Ids | None = None
) -> dict[str, np.ndarray]:
    """What an image sampler gets for a description.

    Args:
        layout: sizes and ids.
        text: ids of the description.
        codes: [N] codes that are known, -1 where one is to be drawn; None draws all.

    Returns:
        `tokens` int32 [T] with the mask id for what is to be drawn, `keys` bool [T], `image` bool
        [T], and `unconditional_tokens`, `unconditional_keys` of the empty text.

    Raises:
        InputError: as `t2i`.
    """
    return _canvas(layout, "t2i", _t2i_prompt(layout, text), _t2i_prompt(layout, ()), codes)


def r2i_inference(layout: LayoutConfig, text: Ids) -> np.ndarray:
    """Ids of the prompt of the reasoning: `<r2i> bos text`; the answer has `text_length - len + 1`
    places, of which what `r2i_image_inference` gets is made.

    Returns:
        int32 [1 + n].
    """
    return np.concatenate([[layout.ids.r2i], _with_bos(layout.ids, text)]).astype(np.int32)


def r2i_image_inference(
    layout: LayoutConfig, text: Ids, codes: Ids | None = None
) -> dict[str, np.ndarray]:
    """What an image sampler gets once the reasoning is there; as `t2i_inference`.

    Args:
        layout: sizes and ids.
        text: ids of prompt and reasoning.
        codes: as for `t2i_inference`.
    """

    def prompt(text: Ids) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.empty(layout.length, np.int32)
        tokens[: layout.text_length + 1] = [layout.ids.r2i, *_fixed_text(layout, text)]
        return tokens, np.ones(layout.length, bool)

    return _canvas(layout, "r2i", prompt(text), prompt(()), codes)


def mmu_inference(layout: LayoutConfig, text: Ids, codes: Ids) -> np.ndarray:
    """Ids of the prompt `<mmu> <soi> image <eoi> bos text`, int32 [N + 3 + n], no padding.

    `text` ends in the header of the answer.
    """
    ids = layout.ids
    image = _image_ids(layout, codes)
    return np.array([ids.mmu, ids.soi, *image, ids.eoi, *_with_bos(ids, text)], np.int32)


def lm_inference(layout: LayoutConfig, text: Ids) -> np.ndarray:
    """Ids of the prompt `bos text`, int32 [n], no padding; for lm and lm_chat."""
    return _with_bos(layout.ids, text)


def pad_prompts(prompts: Sequence[np.ndarray], pad: int) -> dict[str, np.ndarray]:
    """Prompts of any length, filled up on the right, as text samplers take them.

    Returns:
        `tokens` int32 [B, P] and `lengths` int32 [B].

    Raises:
        InputError: no prompt at all.
    """
    if not len(prompts):
        raise InputError("there is no prompt; expected at least one")
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    tokens = np.full((len(prompts), lengths.max()), pad, np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return {"tokens": tokens, "lengths": lengths}


def stack_prompts(prompts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Prompts of image samplers (`t2i_inference`) as one batch [B, T] under the same names.

    Raises:
        InputError: no prompt at all.
    """
    if not len(prompts):
        raise InputError("there is no prompt; expected at least one")
    return {name: np.stack([prompt[name] for prompt in prompts]) for name in prompts[0]}


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; expected one of {', '.join(TASKS)}")


def _row(layout: LayoutConfig, tokens: np.ndarray, maskable: np.ndarray, task: str) -> LayoutRow:
    """A row without hidden padding and without visible targets."""
    image = np.zeros(len(tokens), bool)
    image[layout.image_slice(task)] = True
    everything, nothing = np.ones(len(tokens), bool), np.zeros(len(tokens), bool)
    return LayoutRow(tokens, maskable, everything, image, nothing)


def _with_bos(ids: MultimodalIds, text: Ids) -> np.ndarray:
    checked = ids.check_text(text)
    if checked.size and checked[0] == ids.bos:
        return checked
    return np.concatenate([[ids.bos], checked]).astype(np.int32)


def _fitted(layout: LayoutConfig, tokens: np.ndarray, room: int, task: str) -> np.ndarray:
    if len(tokens) > room and layout.overflow == "error":
        raise InputError(
            f"a {task} row has {len(tokens)} tokens before its image or end, but room for {room} "
            f"(text_length is {layout.text_length}); raise text_length, or set overflow to "
            "'truncate'"
        )
    return tokens[:room]


def _t2i_prompt(layout: LayoutConfig, text: Ids) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [T] of which only the text is set, and keys [T]."""
    ids, room = layout.ids, layout.text_length + 1
    written = np.concatenate([[ids.t2i], _with_bos(ids, text), [ids.eos]]).astype(np.int32)
    if len(written) > room:
        written = _fitted(layout, written, room, "t2i")
        written[-1] = ids.eos
    tokens, keys = np.empty(layout.length, np.int32), np.ones(layout.length, bool)
    tokens[: room - len(written)] = ids.image_pad
    keys[: room - len(written)] = False
    tokens[room - len(written) : room] = written
    return tokens, keys


def _fixed_text(layout: LayoutConfig, text: Ids) -> np.ndarray:
    """bos text eos [eos]* in S places."""
    ids, room = layout.ids, layout.text_length
    written = np.append(_with_bos(ids, text), np.int32(ids.eos))
    body = np.full(room, ids.eos, np.int32)
    kept = _fitted(layout, written, room, "mmu or r2i")
    body[: len(kept)] = kept
    body[-1] = ids.eos  # it is already, unless the text was cut
    return body


def _long_text(layout: LayoutConfig, text: Ids, length: int | None, task: str) -> np.ndarray:
    ids = layout.ids
    room = layout.length if length is None else length
    kept = _fitted(layout, np.append(_with_bos(ids, text), np.int32(ids.eos)), room, task)
    tokens = np.full(room, ids.eos, np.int32)
    tokens[: len(kept)] = kept
    return tokens


def _prompt_length(tokens: np.ndarray, ids: MultimodalIds) -> int:
    """Tokens up to and including the last end_header; 0 without one."""
    places = np.flatnonzero(tokens == ids.end_header)
    return int(places[-1]) + 1 if places.size else 0


def _image_ids(layout: LayoutConfig, codes: Ids) -> np.ndarray:
    codes = whole_numbers(codes, "codes")
    if codes.shape != (layout.image_tokens,):
        raise InputError(f"codes has shape {codes.shape}; expected [{layout.image_tokens}]")
    return layout.ids.image_ids(codes)


def _canvas(
    layout: LayoutConfig,
    task: str,
    conditional: tuple[np.ndarray, np.ndarray],
    unconditional: tuple[np.ndarray, np.ndarray],
    codes: Ids | None,
) -> dict[str, np.ndarray]:
    ids, place = layout.ids, layout.image_slice(task)
    shown = np.full(layout.image_tokens, -1) if codes is None else whole_numbers(codes, "codes")
    known = _image_ids(layout, np.where(shown == -1, 0, shown))
    tail = np.array([ids.soi, *np.where(shown == -1, ids.mask, known), ids.eoi], np.int32)
    image = np.zeros(layout.length, bool)
    image[place] = True
    for tokens, _ in (conditional, unconditional):
        tokens[place.start - 1 :] = tail
    return {
        "tokens": conditional[0],
        "keys": conditional[1],
        "image": image,
        "unconditional_tokens": unconditional[0],
        "unconditional_keys": unconditional[1],
    }
