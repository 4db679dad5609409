"""A token for every masked place, and how confident the model is of it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.sampling.diffusion.config import TextDiffusionConfig

_LEAST = -1e30  # stands for log 0, so that a place stays above those that may not be chosen


class Proposal(NamedTuple):
    """What one step would write at each place of a block.

    Attributes:
        token: [R, b] int32.
        log_probability: [R, b] float32 of the token, without noise.
        confidence: [R, b] float32, finite; log-probabilities, or uniform for random remasking.
    """

    token: Int[Array, "R b"]
    log_probability: Float[Array, "R b"]
    confidence: Float[Array, "R b"]


def least_confidence(config: TextDiffusionConfig) -> float | None:
    """`config.threshold` on the scale of `Proposal.confidence`."""
    if config.threshold is None:
        return None
    return math.log(config.threshold) if config.threshold > 0 else -math.inf


def without(logits: Float[Array, "... V"], ids: tuple[int, ...]) -> Float[Array, "... V"]:
    """Logits under which the tokens `ids` have probability 0."""
    if not ids:
        return logits
    return logits.at[..., jnp.asarray(ids)].set(-jnp.inf)


def log_probability_of(
    logits: Float[Array, "... V"], token: Int[Array, "..."]
) -> Float[Array, "..."]:
    """log softmax(logits)[token], exact to float32 however close the probability is to 1.

    The largest term is kept out of the sum and log1p taken of the rest. A plain softmax rounds all
    confident places to 1, and the order of unmasking would be that of the places; the reference
    avoids it with float64.
    """
    best = jnp.argmax(logits, axis=-1, keepdims=True)
    shifted = logits - jnp.take_along_axis(logits, best, axis=-1)
    others = jnp.where(jnp.arange(logits.shape[-1]) == best, 0.0, jnp.exp(shifted)).sum(axis=-1)
    return jnp.take_along_axis(shifted, token[..., None], axis=-1)[..., 0] - jnp.log1p(others)


def propose(
    logits: Float[Array, "R b V"],
    config: TextDiffusionConfig,
    keys: PRNGKeyArray,
    banned: tuple[int, ...],
    deferred: tuple[int, ...],
) -> Proposal:
    """Draw a token for each place.

    With a temperature t the token is argmax(logits + t * Gumbel), the reference's
    argmax(exp(logits) / (-log u)^t). The reference computes it in float64, because a coarse u cuts
    off the Gumbel's tail and so sharpens the distribution (Zheng et al. 2024). Here everything is
    float32, with u drawn to twice the bits, which puts the cut-off far below any probability that
    matters.

    Args:
        logits: [R, b, V] float32, guidance included.
        config: temperature and remasking.
        keys: [R] one per row and step.
        banned: ids that are never drawn.
        deferred: ids that are kept last: they get no confidence.
    """
    logits = without(logits, banned)
    token = jnp.argmax(logits, axis=-1)
    if config.temperature > 0:

        def noise(key: PRNGKeyArray) -> Array:
            return jax.random.gumbel(key, logits.shape[1:], jnp.float32, mode="high")

        token = jnp.argmax(logits + config.temperature * jax.vmap(noise)(keys), axis=-1)
    log_probability = log_probability_of(logits, token)
    if config.remasking == "random":

        def uniform(key: PRNGKeyArray) -> Array:
            return jax.random.uniform(jax.random.fold_in(key, 1), logits.shape[1:2])

        confidence = jax.vmap(uniform)(keys)
    elif deferred:
        confidence = log_probability_of(without(logits, deferred), token)
    else:
        confidence = log_probability
    return Proposal(token.astype(jnp.int32), log_probability, jnp.maximum(confidence, _LEAST))
