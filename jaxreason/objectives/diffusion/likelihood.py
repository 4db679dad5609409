"""Evidence bounds of responses under a masked-diffusion model, and perplexity from them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.attention import MaskMode
from jaxreason.objectives.diffusion.mask_draws import (
    MaskDrawConfig,
    MaskDraws,
    check_longest,
    draw_masks,
    enumerate_masks,
)
from jaxreason.objectives.diffusion.tasks import TASKS, require, require_token
from jaxreason.objectives.diffusion.token_scores import token_log_probabilities
from jaxreason.types import Batch, Params

Likelihood = Callable[[Params, Batch, PRNGKeyArray], Float[Array, " B"]]
"""`(params, batch, key) -> [B]` float32 nats; batch: `tokens`, `maskable`, optionally `keys`."""


def bound_of(
    model: Transformer,
    params: Params,
    batch: Batch,
    draws: MaskDraws,
    *,
    mask_id: int,
    mask_mode: MaskMode = "bool",
    at_once: int = 1,
    chunk: int | None = None,
    block: int = 0,
) -> Float[Array, " B"]:
    """Sum over draws and tokens of weight times log-probability, per row, in nats.

    Differentiable; what one group of draws makes on the way is computed again in the backward
    pass, so that memory does not grow with the number of draws. Scoring two models with the same
    `draws` makes their difference far less noisy than either (VRPO, arXiv 2505.19223).

    Args:
        model: a transformer, used bidirectionally.
        params: its parameters.
        batch: `tokens` [B, T] int32 clean, optionally `keys` [B, T] bool.
        draws: masks and weights, from `draw_masks` or `enumerate_masks`.
        mask_id: the token that stands for a masked one.
        mask_mode: what `keys` does to attention.
        at_once: draws per call of the model.
        chunk: see `token_scores`.
        block: see `token_scores`.

    Raises:
        InputError: `at_once` is not positive; `block` does not divide T.
    """
    if at_once < 1:
        raise InputError(f"at_once={at_once}: expected at least 1")
    tokens, keys = batch["tokens"], batch.get("keys")
    rows, count, length = draws.masked.shape
    padding = ((0, 0), (0, -count % at_once), (0, 0))
    targets = jnp.repeat(tokens, at_once, axis=0)
    seen = None if keys is None else jnp.repeat(keys, at_once, axis=0)

    @jax.checkpoint
    def group(total: Array, draw: MaskDraws) -> tuple[Array, None]:
        masked, weights = (x.reshape(-1, length) for x in draw)
        inputs = jnp.where(masked, mask_id, targets)
        scores = token_log_probabilities(
            model, params, inputs, targets, masked, seen, mask_mode, chunk, block
        )
        return total + jnp.sum((scores * weights).reshape(rows, -1), axis=1), None

    grouped = jax.tree.map(
        lambda x: jnp.pad(x, padding).reshape(rows, -1, at_once, length).swapaxes(0, 1), draws
    )
    return jax.lax.scan(group, jnp.zeros((rows,), jnp.float32), grouped)[0]


def elbo(
    model: Transformer,
    *,
    mask_id: int,
    config: MaskDrawConfig | None = None,
    mask_mode: MaskMode = "bool",
    at_once: int = 1,
    chunk: int | None = None,
    block: int = 0,
) -> Likelihood:
    """Monte-Carlo evidence bound of each row's maskable tokens given the others.

    One jitted call with static shapes. On average below the log of the response's probability
    averaged over all orders of decoding it. A row without maskable tokens has 0.

    Args:
        model: a transformer, used bidirectionally.
        mask_id: the token that stands for a masked one.
        config: estimator and number of draws; LLaDA's (128 stratified counts) if None.
        mask_mode: what `keys` does to attention.
        at_once: draws per call of the model.
        chunk: see `token_scores`.
        block: see `token_scores`; the bound is then the sum of the blocks' bounds, each given the
            clean blocks before it.
    """
    chosen = MaskDrawConfig() if config is None else config
    require_token("mask_id", mask_id, model.config.vocabulary_size)

    @jax.jit
    def likelihood(params: Params, batch: Batch, key: PRNGKeyArray) -> Array:
        require(batch, ("tokens", "maskable"))
        draws = draw_masks(batch["maskable"], key, chosen, block)
        return bound_of(
            model,
            params,
            batch,
            draws,
            mask_id=mask_id,
            mask_mode=mask_mode,
            at_once=at_once,
            chunk=chunk,
            block=block,
        )

    return likelihood


def exact_elbo(
    model: Transformer,
    *,
    mask_id: int,
    longest: int,
    mask_mode: MaskMode = "bool",
    at_once: int = 1,
    chunk: int | None = None,
    block: int = 0,
) -> Likelihood:
    """The evidence bound itself, from all 2^n - 1 masks of n <= `longest` maskable tokens.

    The key is not used. One jitted call. With a `block`, n counts the tokens of one block: a
    block-diffusion model is evaluated exactly whatever the length of the response.

    Raises:
        InputError: `longest` outside 1..16; a row with more maskable tokens.
    """
    require_token("mask_id", mask_id, model.config.vocabulary_size)

    @jax.jit
    def enumerated(params: Params, batch: Batch) -> Array:
        draws = enumerate_masks(batch["maskable"], longest, block)
        return bound_of(
            model,
            params,
            batch,
            draws,
            mask_id=mask_id,
            mask_mode=mask_mode,
            at_once=at_once,
            chunk=chunk,
            block=block,
        )

    def likelihood(params: Params, batch: Batch, key: PRNGKeyArray) -> Array:
        del key
        require(batch, ("tokens", "maskable"))
        check_longest(batch["maskable"], longest, block)
        return enumerated(params, batch)

    return likelihood


def perplexity(
    bounds: Float[Array, " B"], maskable: Array, task: Array | None = None
) -> dict[str, float]:
    """exp(-bound per maskable token), over all rows of each task that has any.

    An upper bound of the model's perplexity, as the evidence bound is a lower one of its
    log-likelihood.

    Args:
        bounds: [B] nats, from `elbo` or `exact_elbo`.
        maskable: [B, T] bool, what the bounds are over.
        task: [B] int32 into `TASKS`; None puts all rows under "all".

    Raises:
        InputError: a task with rows but without a single maskable token.
    """
    values, tokens = np.asarray(bounds, np.float64), np.asarray(maskable).sum(axis=1)
    if task is None:
        groups = {"all": np.ones(len(values), bool)}
    else:
        groups = {name: np.asarray(task) == index for index, name in enumerate(TASKS)}
    result = {}
    for name, rows in groups.items():
        if not rows.any():
            continue
        if not tokens[rows].sum():
            raise InputError(f"maskable has no token in the rows of {name!r}: no perplexity")
        result[name] = float(np.exp(-values[rows].sum() / tokens[rows].sum()))
    return result
