"""Prompts and masked places laid out for decoding in blocks."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.checks import check_ids, check_integers, readable
from jaxreason.types import Batch


class Canvas(NamedTuple):
    """Rows with masked places to fill, S slots wide.

    Attributes:
        tokens: [R, S] int32, the mask id where there is something to fill in.
        keys: [R, S] bool, False for padding.
        positions: [R, S] int32, counted from a row's own start.
        open: [R, S] bool, places to fill in.
    """

    tokens: Int[Array, "R S"]
    keys: Bool[Array, "R S"]
    positions: Int[Array, "R S"]
    open: Bool[Array, "R S"]


class Blocks(NamedTuple):
    """Static places of the blocks: `number` blocks of `length` slots, from slot `first` on."""

    first: int
    length: int
    number: int


def blocks_of(prompt_length: int, length: int, block: int, aligned: bool) -> Blocks:
    """Where the blocks lie that follow prompts padded to `prompt_length`.

    Args:
        prompt_length: P.
        length: tokens to generate.
        block: length of a block.
        aligned: blocks are counted from the start of the prompt, as block-diffusion models are
            trained, so that a prompt may end inside the first block: one more block is needed.
    """
    if not aligned:
        return Blocks(prompt_length, block, length // block)
    first = max(prompt_length // block, 1) * block
    return Blocks(first, block, length // block + (block > 1))


def lay_out(
    prompts: Batch, length: int, blocks: Blocks, aligned: bool, mask_id: int, pad: int
) -> tuple[Canvas, Int[Array, "R N"]]:
    """Right-padded prompts as a canvas whose rows begin their blocks in the same slots.

    Padding goes to the left; with `aligned` a row starts at a multiple of the block length, so
    that its blocks are those of its own positions.

    Args:
        prompts: `tokens [R, P]`, `lengths [R]`.
        length: N, tokens to generate.
        blocks: as `blocks_of` gives them.
        aligned: as for `blocks_of`.
        mask_id: id of a masked place.
        pad: id of a slot that is nothing.

    Returns:
        the canvas, and [R, N] the slots of the tokens to generate.
    """
    tokens, lengths = prompts["tokens"], prompts["lengths"][:, None]
    whole_blocks = lengths // blocks.length * blocks.length if aligned else lengths
    start = blocks.first - whole_blocks
    index = jnp.arange(blocks.first + blocks.number * blocks.length) - start
    prompt = (index >= 0) & (index < lengths)
    masked = (index >= lengths) & (index < lengths + length)
    source = jnp.take_along_axis(tokens, jnp.clip(index, 0, tokens.shape[1] - 1), axis=1)
    laid = jnp.where(prompt, source, jnp.where(masked, mask_id, pad)).astype(jnp.int32)
    canvas = Canvas(laid, prompt | masked, jnp.maximum(index, 0), masked)
    return canvas, start + lengths + jnp.arange(length)


def check_prompts(prompts: Batch, mask_id: int, vocabulary_size: int) -> None:
    """Shapes and types always; values only if they are all here (not within a jitted function,
    nor partly with other processes).

    Raises:
        InputError: a missing or misshapen array, a length out of range, a masked prompt, an id
            that is no whole number or that the model does not have.
    """
    for name in ("tokens", "lengths"):
        if name not in prompts:
            raise InputError(f"prompts have no {name!r}; expected tokens [B, P] and lengths [B]")
    tokens, lengths = prompts["tokens"], prompts["lengths"]
    if tokens.ndim != 2 or lengths.shape != tokens.shape[:1] or 0 in tokens.shape:
        raise InputError(
            f"prompts have tokens {tokens.shape} and lengths {lengths.shape}; "
            "expected tokens [B, P] and lengths [B], neither empty"
        )
    for name in ("tokens", "lengths"):
        check_integers(prompts[name], f"prompts have {name}")
    if not (readable(lengths) and readable(tokens)):
        return
    ids, widths = np.asarray(tokens), np.asarray(lengths)
    wrong = np.flatnonzero((widths < 0) | (widths > tokens.shape[1]))
    if wrong.size:
        row = int(wrong[0])
        raise InputError(
            f"prompt {row} has length {int(widths[row])}; expected 0 to {tokens.shape[1]}"
        )
    real = np.arange(tokens.shape[1]) < widths[:, None]
    check_ids(ids, vocabulary_size, "prompt", real)
    masked = np.argwhere(real & (ids == mask_id))
    if masked.size:
        row, column = (int(i) for i in masked[0])
        raise InputError(
            f"prompt {row} has the mask id {mask_id} at index {column}; "
            "use infill to fill in places of a given text"
        )
