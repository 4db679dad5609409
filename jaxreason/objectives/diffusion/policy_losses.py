"""Losses of diffusion policies as functions of log-probabilities under given masks.

Arrays are [B, K, T]: response, draw of noise, token. `weights` are those of
`jaxreason.objectives.diffusion.noising.Noise`; entries of weight 0 count nowhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig
from jaxreason.objectives.kl_divergence import bounded, kl_divergence

Draws = Float[Array, "B K T"]


class Scored(NamedTuple):
    """One batch as the losses see it.

    Attributes:
        new: [B, K, T], log-probabilities under the policy that learns.
        old: under the policy that sampled.
        reference: under the frozen reference; None without one.
        weights: of the tokens.
        advantages: [B].
        lengths: [B] float32, tokens of each response.
    """

    new: Draws
    old: Draws
    reference: Draws | None
    weights: Draws
    advantages: Float[Array, " B"]
    lengths: Float[Array, " B"]


class Losses(NamedTuple):
    """Per token, or per response as [B, 1, 1], before aggregation.

    Attributes:
        policy: what the advantage multiplies, clipped, negated.
        kl: estimate of the KL divergence; None where none is used.
        ratio: of new to old probability.
        clipped: 1 where the clip stops the gradient.
        weights: of the entries.
    """

    policy: Array
    kl: Array | None
    ratio: Array
    clipped: Array
    weights: Array


def sequence_elbo(log_probabilities: Draws, weights: Draws) -> Float[Array, " B"]:
    """sum_{k,t} w log p: with the weights of "exact_pairs" an unbiased estimate of the ELBO."""
    return jnp.sum(weights * log_probabilities, axis=(1, 2))


def sequence_eubo(log_probabilities: Draws, weights: Draws, power: float) -> Float[Array, " B"]:
    """(1 / power) sum_i log sum_k w_ik p_ik^power, the evidence upper bound of SPG.

    For exact expectations it rises with `power`, from the ELBO in the limit 0. It is guaranteed to
    lie above the log-likelihood, the log of the mean over orders of the product of the n tokens'
    probabilities, where power >= n (Hoelder's inequality); below that it need not. Tokens that no
    draw masked are left out, and the others stand for them.
    """
    seen = jnp.any(weights > 0, axis=1)
    safe = jnp.where(weights > 0, weights, 1.0)
    terms = jnp.where(weights > 0, power * log_probabilities + jnp.log(safe), -jnp.inf)
    terms = jnp.where(seen[:, None], terms, 0.0)
    values = jnp.where(seen, jax.nn.logsumexp(terms, axis=1) / power, 0.0)
    return values.sum(axis=1)


def clipped_gains(
    config: DiffusionAlgorithmConfig, ratio: Array, advantages: Array
) -> tuple[Array, Array]:
    """min(r A, clip(r) A) (PPO, arXiv 1707.06347), and where the clip stops the gradient."""
    low, high = 1 - config.clip_low, 1 + config.clip_high
    gains = jnp.minimum(ratio * advantages, jnp.clip(ratio, low, high) * advantages)
    stopped = jnp.where(advantages > 0, ratio > high, ratio < low) & (advantages != 0)
    return gains, stopped.astype(gains.dtype)


def token_losses(config: DiffusionAlgorithmConfig, scored: Scored) -> Losses:
    """Of the surrogates "token", "coupled" and "reinforce"."""
    new, old, reference, weights = scored.new, scored.old, scored.reference, scored.weights
    if config.surrogate == "coupled":
        # One log-probability per token, made of its draws; then as with any other.
        new, old = ((weights * x).sum(1, keepdims=True) for x in (new, old))
        if reference is not None:
            reference = (weights * reference).sum(1, keepdims=True)
        weights = jnp.any(weights > 0, axis=1, keepdims=True).astype(new.dtype)
    advantages = scored.advantages[:, None, None]
    ratio = jnp.exp(bounded(new - old))
    if config.surrogate == "reinforce":
        policy, clipped = -advantages * new, jnp.zeros_like(new)
    else:
        gains, clipped = clipped_gains(config, ratio, advantages)
        policy = -gains
    target = old if config.kl_target == "old" else reference
    kl = None if target is None else kl_divergence(new, target, config.kl_estimator)
    return Losses(policy, kl, ratio, clipped, weights)


def sequence_losses(config: DiffusionAlgorithmConfig, scored: Scored) -> Losses:
    """Of "sequence" (ESPO): one ratio and one KL per response, both by its length if so asked."""
    per = scored.lengths if config.aggregation == "response_length" else 1.0
    new = sequence_elbo(scored.new, scored.weights)
    old = sequence_elbo(scored.old, scored.weights)
    ratio = jnp.exp(bounded((new - old) / per))
    gains, clipped = clipped_gains(config, ratio, scored.advantages)
    target = old
    if config.kl_target == "reference" and scored.reference is not None:
        target = sequence_elbo(scored.reference, scored.weights)
    if config.kl_estimator == "k2":  # whole responses may differ by more than `bounded` lets pass
        kl = (new - target) ** 2 / 2 / per
    else:
        kl = kl_divergence(new, target, config.kl_estimator) / per
    used = config.kl_target == "old" or scored.reference is not None
    return _per_response(-gains, kl if used else None, ratio, clipped, jnp.ones_like(new))


def bound_losses(config: DiffusionAlgorithmConfig, scored: Scored) -> Losses:
    """Of "bounds" (SPG): -A ELBO where A >= 0, else -A of a mix of upper bound and ELBO."""
    lower = sequence_elbo(scored.new, scored.weights)
    seen = jnp.any(scored.weights > 0, axis=1).sum(axis=1)
    upper = sequence_eubo(scored.new, scored.weights, config.upper_power)
    upper = upper * scored.lengths / jnp.maximum(seen, 1)
    mixed = config.upper_share * upper + (1 - config.upper_share) * lower
    value = jnp.where(scored.advantages >= 0, lower, mixed)
    weights = jnp.ones_like(lower)
    if config.aggregation != "response_sum":
        # Per token: pooled, long responses weigh more; else each response the same.
        value = value / scored.lengths
        weights = scored.lengths if config.aggregation == "token_pool" else weights
    one = jnp.ones_like(lower)
    return _per_response(-scored.advantages * value, None, one, 0 * one, weights)


def _per_response(
    policy: Array, kl: Array | None, ratio: Array, clipped: Array, weights: Array
) -> Losses:
    policy, ratio, clipped, weights = (x[:, None, None] for x in (policy, ratio, clipped, weights))
    return Losses(policy, None if kl is None else kl[:, None, None], ratio, clipped, weights)


def aggregate_draws(
    values: Array, weights: Array, how: str, lengths: Float[Array, " B"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) whose quotient is the aggregated loss; sums and counts of micro-batches add up.

    Args:
        values: [B, K, T], or [B, 1, 1] of whole responses.
        weights: of the entries.
        how: see `DiffusionAlgorithmConfig.aggregation`; of whole responses "token_pool" weighs by
            `weights`, and the others take their mean.
        lengths: [B], for "response_length" of tokens.
    """
    products = weights * values
    if how == "token_pool":
        return products.sum(), weights.sum()
    if how == "masked_tokens":
        total = weights.sum(axis=2)
        means = products.sum(axis=2) / jnp.where(total > 0, total, 1.0)
        return means.sum(), jnp.sum(total > 0).astype(values.dtype)
    rows = products.sum(axis=(1, 2))
    if how == "response_length":
        rows = rows / jnp.maximum(lengths, 1)
    return rows.sum(), jnp.asarray(values.shape[0], values.dtype)
