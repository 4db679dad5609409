"""log p(token at a masked place | noisy input), for every loss and estimate of masked diffusion."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Transformer
from jaxreason.models.attention import MaskMode
from jaxreason.objectives.next_token import token_losses
from jaxreason.types import Params


class TokenScores(NamedTuple):
    """What the model says about the token at each place, given the noisy input.

    Attributes:
        losses: [B, T] float32, -log-probability of the target at that place, in nats.
        correct: [B, T] bool, whether the target is the most likely token.
    """

    losses: Float[Array, "B T"]
    correct: Bool[Array, "B T"]


def token_scores(
    model: Transformer,
    params: Params,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    keys: Bool[Array, "B T"] | None = None,
    mask_mode: MaskMode = "bool",
    chunk: int | None = None,
    block: int = 0,
) -> TokenScores:
    """Scores of `targets` at every place, each from the whole of `inputs`.

    There is no shift: the state at a place predicts the token at that place. The distribution is
    over the whole vocabulary, for image tokens too.

    Args:
        model: a transformer; its attention is made bidirectional here.
        params: its parameters.
        inputs: [B, T] int32, masked.
        targets: [B, T] int32, clean.
        keys: [B, T] bool, False marks padding that nobody sees; None if there is none.
        mask_mode: what `keys` does, see `jaxreason.models.attention.AttentionSpec`.
        chunk: targets of a device whose logits exist at once; None computes all together.
        block: 0, or the block length of a block-diffusion model, which sees its own noisy block
            and the *clean* blocks before it (arXiv 2503.09573).

    Raises:
        InputError: `block` does not divide T.
    """
    length = inputs.shape[1]
    if block:
        check_block(block, length)
        positions = jnp.broadcast_to(jnp.tile(jnp.arange(length), 2), (len(inputs), 2 * length))
        both = None if keys is None else jnp.concatenate([keys, keys], axis=1)
        spec = AttentionSpec("block_diffusion", block, keys=both, mask_mode=mask_mode)
        pair = jnp.concatenate([inputs, targets], axis=1)
        hidden = model.apply(params, pair, positions, spec)[0][:, :length]
    else:
        spec = AttentionSpec("bidirectional", keys=keys, mask_mode=mask_mode)
        hidden = model.apply(params, inputs, attention=spec)[0]
    return TokenScores(*token_losses(model, params, hidden, targets, chunk))


def token_log_probabilities(
    model: Transformer,
    params: Params,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    where: Bool[Array, "B T"],
    keys: Bool[Array, "B T"] | None = None,
    mask_mode: MaskMode = "bool",
    chunk: int | None = None,
    block: int = 0,
) -> Float[Array, "B T"]:
    """log p(target | inputs) at the places marked in `where`, 0 elsewhere; see `token_scores`."""
    scores = token_scores(model, params, inputs, targets, keys, mask_mode, chunk, block)
    return jnp.where(where, -scores.losses, 0.0)


def check_block(block: int, length: int) -> None:
    """Raises InputError unless `block` is positive and divides `length`."""
    if block < 1 or length % block:
        raise InputError(
            f"block={block} with rows of {length} tokens: expected a block that divides them"
        )
