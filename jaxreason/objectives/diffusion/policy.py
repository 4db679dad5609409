"""The loss of every online algorithm for masked diffusion models, as one objective.

With l the log-probability of a masked token given the others, new under the policy that learns and
old under the one that sampled, both under the same mask, r = exp(l_new - l_old), A the advantage:

| surrogate   | loss                                                                            |
|-------------|---------------------------------------------------------------------------------|
| `token`     | -min(r A, clip(r) A) per masked token; UniGRPO (arXiv 2505.15809, eq. 5), d1     |
| `coupled`   | the same with l = (l_all + w l_part) / 2; coupled-GRPO (arXiv 2506.20639)        |
| `sequence`  | the same with r = exp((ELBO_new - ELBO_old) / L); ESPO (arXiv 2512.03759)        |
| `reinforce` | -A l per masked token; wd1                                                      |
| `bounds`    | -A ELBO where A >= 0, -A (mix of upper bound and ELBO) below; SPG               |

At the first update r = 1: with advantages that sum to 0 in each group the loss of the first three
is 0 if every response weighs the same, while its gradient is that of -A l. (Pooled tokens of
responses of different lengths give another value.)

Log-probabilities are those of the model without temperature and guidance, whatever the sampler
used, as in all published code. The mask id is not taken out of the softmax, as in training.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.aggregation import mean
from jaxreason.objectives.diffusion.algorithm_config import (
    SEQUENCE_LEVEL,
    DiffusionAlgorithmConfig,
)
from jaxreason.objectives.diffusion.policy_losses import (
    Losses,
    Scored,
    aggregate_draws,
    bound_losses,
    sequence_losses,
    token_losses,
)
from jaxreason.objectives.diffusion.token_scores import token_log_probabilities
from jaxreason.objectives.kl_divergence import kl_divergence
from jaxreason.types import Batch, Metrics, Objective, Params


def noised_log_probabilities(
    model: Transformer,
    params: Params,
    batch: Batch,
    *,
    mask_id: int,
    mask_mode: Any = "bool",
    chunk: int | None = None,
) -> Float[Array, "B K T"]:
    """log p(token | noised row) of the masked tokens that count, 0 for all others.

    Batch: `tokens [B, T]`, `keys [B, T]`, `masked [B, K, T]`, `weights [B, K, T]`.
    """
    masked, tokens = batch["masked"], batch["tokens"]
    rows, draws, length = masked.shape

    def flat(x: Array) -> Array:
        return jnp.broadcast_to(x, masked.shape).reshape(rows * draws, length)

    targets = flat(tokens[:, None])
    inputs = jnp.where(flat(masked), mask_id, targets)
    where: Bool[Array, "N T"] = flat(masked & (batch["weights"] > 0))
    keys = flat(batch["keys"][:, None])
    scores = token_log_probabilities(model, params, inputs, targets, where, keys, mask_mode, chunk)
    return scores.reshape(masked.shape)


def policy_losses(config: DiffusionAlgorithmConfig, scored: Scored) -> Losses:
    """The losses of the configured surrogate."""
    rule: Callable[[DiffusionAlgorithmConfig, Scored], Losses] = token_losses
    if config.surrogate in SEQUENCE_LEVEL:
        rule = sequence_losses if config.surrogate == "sequence" else bound_losses
    return rule(config, scored)


def policy_loss(
    config: DiffusionAlgorithmConfig, scored: Scored
) -> tuple[Float[Array, ""], Metrics]:
    """Loss and metrics from log-probabilities; see `diffusion_policy`."""
    losses = policy_losses(config, scored)
    whole = config.surrogate in SEQUENCE_LEVEL
    how = config.aggregation
    if whole and how != "token_pool":
        how = "response_sum"  # each response has its one value already
    total, count = aggregate_draws(losses.policy, losses.weights, how, scored.lengths)
    metrics: dict[str, Any] = {"policy_loss": (total, count)}
    if losses.kl is not None and config.kl_coefficient > 0:
        kl = aggregate_draws(losses.kl, losses.weights, how, scored.lengths)
        if config.kl_summed:
            kl = _summed(losses.kl, losses.weights, how)
        metrics["kl_loss"] = kl
        total = total + config.kl_coefficient * kl[0]
    metrics["loss"] = (total, count)
    watched = {"ratio": losses.ratio, "clip_fraction": losses.clipped}
    for name, values in watched.items():
        metrics[name] = aggregate_draws(values, losses.weights, "token_pool", scored.lengths)
    counted = (scored.weights > 0).astype(scored.new.dtype)
    current = jax.lax.stop_gradient(scored.new)
    # k3 of samples of the old policy, which is the one they were drawn from.
    pairs = {"approximate_kl": (scored.old, current)}
    if scored.reference is not None:
        pairs["kl"] = (current, scored.reference)
    for name, (first, second) in pairs.items():
        values = kl_divergence(first, second, "k3")
        metrics[name] = aggregate_draws(values, counted, "token_pool", scored.lengths)
    draws = counted.sum(axis=2)
    share = draws / jnp.maximum(scored.lengths, 1)[:, None]
    metrics["masked"] = (share.sum(), jnp.asarray(share.size, share.dtype))
    return mean(total, count), metrics


def _summed(kl: Array, weights: Array, how: str) -> tuple[Array, Array]:
    """Sum over masked tokens, in the same units as the policy's aggregation counts."""
    if how == "masked_tokens":
        counted = (weights > 0).astype(kl.dtype)
        return jnp.sum(kl * counted), jnp.sum(counted.any(axis=2)).astype(kl.dtype)
    return jnp.sum(kl * weights), jnp.asarray(kl.shape[0], kl.dtype)


def diffusion_policy(
    model: Transformer,
    config: DiffusionAlgorithmConfig,
    *,
    mask_id: int,
    mask_mode: Any = "bool",
    chunk: int | None = None,
) -> Objective:
    """The loss of an online algorithm on noised responses.

    Batch: `tokens [B, T]` (prompt and response, clean), `keys [B, T]` (False: padding), `masked
    [B, K, T]`, `weights [B, K, T]` (see `noising.Noise`), `advantages [B]`, `lengths [B]` float32;
    `old_log_probabilities [B, K, T]` (without it the current ones, detached: right for a single
    update); `reference_log_probabilities [B, K, T]` where the KL to the reference is used, and to
    report it.

    Metrics, (sum, count): `loss`, `policy_loss` and, where used, `kl_loss` as aggregated; `ratio`
    and `clip_fraction` over what the surrogate has ratios of; over masked tokens `approximate_kl`
    (k3 of old against current) and, with a reference, `kl`; `masked`, the share of a response.

    Args:
        model: the policy.
        config: the algorithm.
        mask_id: of the mask token.
        mask_mode: how padding is hidden, see `jaxreason.models.attention.AttentionSpec`.
        chunk: tokens whose logits exist at once; None computes all of them together.

    Raises:
        InputError: with the first batch, one of its arrays is missing.
    """
    needed = ["tokens", "keys", "masked", "weights", "advantages", "lengths"]
    if config.needs_reference:
        needed.append("reference_log_probabilities")

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        for name in needed:
            if name not in batch:
                raise InputError(f"the batch lacks {name!r}, which a diffusion policy needs")
        new = noised_log_probabilities(
            model, params, batch, mask_id=mask_id, mask_mode=mask_mode, chunk=chunk
        )
        old = batch.get("old_log_probabilities", jax.lax.stop_gradient(new))
        scored = Scored(
            new,
            old,
            batch.get("reference_log_probabilities"),
            batch["weights"],
            batch["advantages"],
            batch["lengths"],
        )
        return policy_loss(config, scored)

    return objective
