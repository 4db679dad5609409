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

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.layout_parts import (
    OVERFLOWS,
    TASKS,
    Ids,
    LayoutConfig,
    LayoutRow,
    fixed_text,
    image_ids,
    long_text,
    prompt_length,
    t2i_prompt,
    visible_row,
    with_bos,
)
from jaxreason.tokens.multimodal_vocabulary import whole_numbers

__all__ = [
    "OVERFLOWS",
    "TASKS",
    "Ids",
    "LayoutConfig",
    "LayoutRow",
    "lm",
    "lm_chat",
    "lm_inference",
    "mmu",
    "mmu_inference",
    "pad_prompts",
    "r2i",
    "r2i_image_inference",
    "r2i_inference",
    "stack_prompts",
    "t2i",
    "t2i_inference",
]


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
    tokens, keys = t2i_prompt(layout, () if drop_text else text)
    image = np.zeros(layout.length, bool)
    image[layout.image_slice("t2i")] = True
    visible = np.zeros(layout.length, bool)
    visible[[layout.text_length + 1, -1]] = True
    tokens[layout.text_length + 1 :] = [ids.soi, *image_ids(layout, codes), ids.eoi]
    return LayoutRow(tokens, image.copy(), keys, image, visible)


def mmu(layout: LayoutConfig, text: Ids, codes: Ids) -> LayoutRow:
    """Image and question to answer: what follows the prompt may be masked.

    Arguments and errors as for `t2i`; `text` is question and answer.
    """
    ids = layout.ids
    body = fixed_text(layout, text)
    before = layout.image_tokens + 3
    tokens = np.array([ids.mmu, ids.soi, *image_ids(layout, codes), ids.eoi, *body], np.int32)
    prompt = before + prompt_length(body, ids)
    return visible_row(layout, tokens, np.arange(layout.length) >= prompt, "mmu")


def lm(layout: LayoutConfig, text: Ids, length: int | None = None) -> LayoutRow:
    """Plain text, all of which may be masked.

    Args:
        layout: ids, and the length of the row unless given.
        text: ids; bos is put before them if missing.
        length: tokens of the row; None: S + N + 3, as all other rows.

    Raises:
        InputError: a token outside its range, a text that overflows.
    """
    tokens = long_text(layout, text, length, "lm")
    return visible_row(layout, tokens, np.ones(len(tokens), bool), "lm")


def lm_chat(layout: LayoutConfig, text: Ids, length: int | None = None) -> LayoutRow:
    """As `lm`, but what comes before the last answer stays visible."""
    tokens = long_text(layout, text, length, "lm_chat")
    maskable = np.arange(len(tokens)) >= prompt_length(tokens, layout.ids)
    return visible_row(layout, tokens, maskable, "lm_chat")


def r2i(layout: LayoutConfig, text: Ids, codes: Ids) -> LayoutRow:
    """Text to reasoning and image: the answer's text with its padding, and the image.

    Without a header the whole text is the prompt. Arguments and errors as for `t2i`.
    """
    ids = layout.ids
    body = fixed_text(layout, text)
    tokens = np.array([ids.r2i, *body, ids.soi, *image_ids(layout, codes), ids.eoi], np.int32)
    prompt = prompt_length(body, ids) or len(body)
    maskable = np.arange(layout.length) > prompt
    maskable[[layout.text_length + 1, -1]] = False
    return visible_row(layout, tokens, maskable, "r2i")


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
    return _canvas(layout, "t2i", t2i_prompt(layout, text), t2i_prompt(layout, ()), codes)


def r2i_inference(layout: LayoutConfig, text: Ids) -> np.ndarray:
    """Ids of the prompt of the reasoning: `<r2i> bos text`; the answer has `text_length - len + 1`
    places, of which what `r2i_image_inference` gets is made.

    Returns:
        int32 [1 + n].
    """
    return np.concatenate([[layout.ids.r2i], with_bos(layout.ids, text)]).astype(np.int32)


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
        tokens[: layout.text_length + 1] = [layout.ids.r2i, *fixed_text(layout, text)]
        return tokens, np.ones(layout.length, bool)

    return _canvas(layout, "r2i", prompt(text), prompt(()), codes)


def mmu_inference(layout: LayoutConfig, text: Ids, codes: Ids) -> np.ndarray:
    """Ids of the prompt `<mmu> <soi> image <eoi> bos text`, int32 [N + 3 + n], no padding.

    `text` ends in the header of the answer.
    """
    ids = layout.ids
    image = image_ids(layout, codes)
    return np.array([ids.mmu, ids.soi, *image, ids.eoi, *with_bos(ids, text)], np.int32)


def lm_inference(layout: LayoutConfig, text: Ids) -> np.ndarray:
    """Ids of the prompt `bos text`, int32 [n], no padding; for lm and lm_chat."""
    return with_bos(layout.ids, text)


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
    for place, prompt in enumerate(prompts):
        tokens[place, : len(prompt)] = prompt
    return {"tokens": tokens, "lengths": lengths}


def stack_prompts(prompts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Prompts of image samplers (`t2i_inference`) as one batch [B, T] under the same names.

    Raises:
        InputError: no prompt at all.
    """
    if not len(prompts):
        raise InputError("there is no prompt; expected at least one")
    return {name: np.stack([prompt[name] for prompt in prompts]) for name in prompts[0]}


def _canvas(
    layout: LayoutConfig,
    task: str,
    conditional: tuple[np.ndarray, np.ndarray],
    unconditional: tuple[np.ndarray, np.ndarray],
    codes: Ids | None,
) -> dict[str, np.ndarray]:
    ids, place = layout.ids, layout.image_slice(task)
    shown = np.full(layout.image_tokens, -1) if codes is None else whole_numbers(codes, "codes")
    known = image_ids(layout, np.where(shown == -1, 0, shown))
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
