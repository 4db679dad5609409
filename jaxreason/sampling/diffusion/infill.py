"""Filling in any places of a given text, and nothing else."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.canvas import Blocks, Canvas
from jaxreason.sampling.diffusion.checks import check_ids, check_integers, readable
from jaxreason.sampling.diffusion.config import TextDiffusionConfig, check_model
from jaxreason.sampling.diffusion.decoding import Ids, fill_in
from jaxreason.types import Batch, Completions, Params

Infiller = Callable[[Params, Batch, PRNGKeyArray], Completions]
"""`(params, canvas, key) -> Completions` as wide as the canvas."""


def infill(
    model: Transformer,
    config: TextDiffusionConfig,
    *,
    mask_id: int,
    banned: Sequence[int] = (),
) -> Infiller:
    """A sampler that fills in every mask id of a text and leaves all other tokens as they are.

    The infiller takes a canvas `{tokens [B, T] int32}` with mask ids wherever something is to be
    written, T equal to `config.length`, and optionally `keys [B, T]` bool (False for padding, which
    is neither seen nor filled in; all True if absent). It returns `Completions` as wide as the
    canvas: `tokens` is the filled text, with padding as it was; `log_probabilities` are 0 and
    `order` -1 at places that were given; `lengths` counts the tokens that are no padding;
    `finished` says that no mask is left.

    Blocks of `config.block` are counted from the first column; steps are per block, spread over the
    masks in it, at least one token each. With guidance, the given tokens are what the unconditional
    branch does not see.

    Args:
        model: bidirectional or block-causal.
        config: how tokens are filled in.
        mask_id: id of a masked token.
        banned: ids that are never written, such as the end tokens (LLaDA readily writes them into
            a gap) or image ids where words are wanted.

    Raises:
        InputError: an argument out of range, ban_eos or defer_eos (no end token is known here);
            from the infiller, a canvas of a wrong shape, without a mask, or with an id that the
            model does not have, padding included.
    """
    check_model(model, config, mask_id=mask_id)
    size = model.config.vocabulary_size
    never = _checked_banned(banned, mask_id, size)
    if config.ban_eos or config.defer_eos:
        raise InputError(
            "ban_eos and defer_eos do not go with infill, which knows no end token; name it in "
            "banned"
        )
    block = config.block_length
    # The first call of a block with an exact cache runs over the block before it, too.
    lead = block if config.cache == "block" else 0

    @jax.jit
    def decode(params: Params, canvas: Batch, key: PRNGKeyArray) -> Completions:
        tokens, keys = canvas["tokens"], canvas["keys"]

        def led(x: Array) -> Array:
            return jnp.pad(x, ((0, 0), (lead, 0)))

        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        masked = (tokens == mask_id) & keys
        laid = Canvas(led(tokens), led(keys), led(positions), led(masked))
        blocks = Blocks(lead, block, config.length // block)
        filled = fill_in(model, config, Ids(mask_id, banned=never), blocks, params, laid, key)
        written = filled.tokens[:, lead:]
        return Completions(
            tokens=written,
            log_probabilities=filled.log_probabilities[:, lead:],
            lengths=keys.sum(axis=1, dtype=jnp.int32),
            finished=~jnp.any((written == mask_id) & keys, axis=1),
            order=filled.order[:, lead:],
            steps=filled.steps,
        )

    def fill(params: Params, canvas: Batch, key: PRNGKeyArray) -> Completions:
        return decode(params, _checked(canvas, config.length, mask_id, size), key)

    return fill


def span(
    tokens: np.ndarray, first: int, end: int, *, mask_id: int, keys: np.ndarray | None = None
) -> dict:
    """A canvas for `infill` in which tokens `first` to `end - 1` of every row are to be filled in.

    Args:
        tokens: [T] or [B, T] int, the text.
        first: the first place to fill in.
        end: the place after the last one.
        mask_id: id of a masked token.
        keys: [B, T] bool, False for padding; None if there is none.

    Raises:
        InputError: the span is empty or leaves the text.

    Example:
        `infill(model, TextDiffusionConfig(length=12), mask_id=mask)(params,
        span(text, 4, 7, mask_id=mask), key)` writes tokens 4, 5 and 6 of 12 again.
    """
    tokens = np.atleast_2d(np.asarray(tokens))
    if not 0 <= first < end <= tokens.shape[1]:
        raise InputError(
            f"span {first} to {end} (not included) is empty or leaves the text of "
            f"{tokens.shape[1]} tokens"
        )
    inside = (np.arange(tokens.shape[1]) >= first) & (np.arange(tokens.shape[1]) < end)
    canvas = {"tokens": np.where(inside, mask_id, tokens)}
    return canvas if keys is None else {**canvas, "keys": np.atleast_2d(np.asarray(keys))}


def _checked_banned(banned: Sequence[int], mask_id: int, size: int) -> tuple[int, ...]:
    never = tuple(sorted({int(i) for i in banned} - {mask_id}))
    for i in never:
        if not 0 <= i < size:
            raise InputError(f"banned has {i}; the model has ids 0 to {size - 1}")
    if len(never) >= size - 1:
        raise InputError(f"banned has all {size - 1} ids that could be written; leave some")
    return never


def _checked(canvas: Batch, length: int, mask_id: int, vocabulary_size: int) -> Batch:
    if "tokens" not in canvas:
        raise InputError("the canvas has no 'tokens'; expected tokens [B, T] with mask ids")
    tokens = jnp.asarray(canvas["tokens"])
    check_integers(tokens, "the canvas has tokens")
    if tokens.ndim != 2 or tokens.shape[1] != length or tokens.shape[0] < 1:
        raise InputError(
            f"the canvas has tokens {tokens.shape}; expected [B, {length}], as wide as length"
        )
    keys = jnp.asarray(canvas.get("keys", jnp.ones(tokens.shape, bool)), bool)
    if keys.shape != tokens.shape:
        raise InputError(f"the canvas has keys {keys.shape}; expected {tokens.shape} as its tokens")
    if readable(tokens) and readable(keys):
        ids = np.asarray(tokens)
        check_ids(ids, vocabulary_size, "row")
        if not np.any((ids == mask_id) & np.asarray(keys)):
            raise InputError(
                f"the canvas has no mask id {mask_id}, so there is nothing to fill in; write it "
                "wherever a token is wanted"
            )
    return {"tokens": tokens.astype(jnp.int32), "keys": keys}
