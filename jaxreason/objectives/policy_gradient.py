"""Policy-gradient losses of all online algorithms, one objective for them all.

With l_t the log-probability of a token, r_t = exp(l_t - old l_t), A_t its advantage and sg the
stop-gradient, the loss of a token is

| surrogate       | loss                                                                      |
|-----------------|---------------------------------------------------------------------------|
| `clip`          | -min(r_t A_t, clip(r_t, 1 - low, 1 + high) A_t); PPO (arXiv 1707.06347)    |
| `gspo`          | the same with s = exp(mean_t(l_t - old l_t)); GSPO (arXiv 2507.18071)      |
| `gspo_token`    | the same with sg(s) exp(l_t - sg(l_t)); GSPO, section 4.3                  |
| `sequence_clip` | the same with exp(sum_t(l_t - old l_t)); TRL's RLOOTrainer                 |
| `cispo`         | -sg(min(r_t, cap)) A_t l_t; MiniMax-M1 (arXiv 2506.13585), eq. 4 and 5     |
| `reinforce`     | -A_t l_t; Williams 1992                                                    |

Differences of log-probabilities are clipped to +-20 first. At r = 1 each has the gradient of
`reinforce` (`sequence_clip` times the completion's length, which `seq_mean_token_mean` takes off
again), while the value says nothing about progress: with centred advantages it is about 0.

KL and entropy terms are added per token and aggregated with it, as in verl; TRL averages the
entropy over tokens whatever the aggregation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.aggregation import aggregate, check_aggregation, mean
from jaxreason.objectives.algorithm_config import AlgorithmConfig
from jaxreason.objectives.kl_divergence import bounded, kl_divergence
from jaxreason.objectives.log_probabilities import counted, token_statistics
from jaxreason.types import Batch, Metrics, Objective, Params

_GIVEN = ("advantages", "old_log_probabilities", "reference_log_probabilities")


def importance_ratios(
    surrogate: str,
    log_probabilities: Float[Array, "B T"],
    old_log_probabilities: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
) -> Float[Array, "B T"]:
    """The ratio that the surrogate multiplies the advantage by, per token."""
    difference = jnp.where(mask, log_probabilities - old_log_probabilities, 0.0)
    if surrogate in ("gspo", "gspo_token", "sequence_clip"):
        over = difference.sum(axis=1, keepdims=True)
        if surrogate != "sequence_clip":
            over = over / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        if surrogate == "gspo_token":
            # The value is that of the completion, the gradient the token's own.
            own = log_probabilities - jax.lax.stop_gradient(log_probabilities)
            over = jax.lax.stop_gradient(over) + jnp.where(mask, own, 0.0)
        difference = jnp.broadcast_to(over, difference.shape)
    return jnp.exp(bounded(difference))


def surrogate_losses(
    config: AlgorithmConfig,
    log_probabilities: Float[Array, "B T"],
    old_log_probabilities: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
) -> tuple[Float[Array, "B T"], Float[Array, "B T"], Bool[Array, "B T"]]:
    """Loss and importance ratio of each token, see the table of the module, and whether the clip
    stops its gradient (CISPO: cuts its weight); garbage outside the mask.
    """
    ratios = importance_ratios(config.surrogate, log_probabilities, old_log_probabilities, mask)
    if config.surrogate == "reinforce":
        return -advantages * log_probabilities, ratios, jnp.zeros_like(mask)
    low, high = 1 - config.clip_low, 1 + config.clip_high
    clipped = jnp.clip(ratios, low, high)
    if config.surrogate == "cispo":
        cap = config.ratio_cap
        weights = jax.lax.stop_gradient(clipped if cap is None else jnp.minimum(ratios, cap))
        return -weights * advantages * log_probabilities, ratios, weights != ratios
    gains = jnp.minimum(ratios * advantages, clipped * advantages)
    stopped = jnp.where(advantages > 0, ratios > high, ratios < low) & (advantages != 0)
    if config.dual_clip is not None:
        bound = config.dual_clip * advantages
        stopped |= (advantages < 0) & (gains < bound)
        gains = jnp.where(advantages < 0, jnp.maximum(gains, bound), gains)
    return -gains, ratios, stopped


def token_losses(
    config: AlgorithmConfig,
    log_probabilities: Float[Array, "B T"],
    entropies: Float[Array, "B T"],
    batch: Batch,
    mask: Bool[Array, "B T"],
) -> dict[str, Float[Array, "B T"]]:
    """`loss` of each token with KL and entropy terms, and what is worth watching, each [B, T].

    Batch: `advantages`, `old_log_probabilities` (without it the current ones, detached), and
    `reference_log_probabilities` where the KL divergence is in the loss.
    """
    # What lies outside the mask may be anything, even NaN.
    given = {name: jnp.where(mask, batch[name], 0.0) for name in _GIVEN if name in batch}
    current = jax.lax.stop_gradient(log_probabilities)
    old, advantages = given.get("old_log_probabilities", current), given["advantages"]
    policy, ratios, clipped = surrogate_losses(config, log_probabilities, old, advantages, mask)
    loss = policy - config.entropy_coefficient * entropies
    values = {"policy_loss": policy, "ratio": ratios, "entropy": entropies}
    if config.kl_placement.startswith("loss") and config.needs_reference:
        reference = given["reference_log_probabilities"]
        penalty = kl_divergence(log_probabilities, reference, config.kl_estimator)
        if config.kl_placement == "loss_is_corrected":
            penalty = penalty * jnp.exp(bounded(log_probabilities - old))
        loss = loss + config.kl_coefficient * penalty
    if "reference_log_probabilities" in given:
        values["kl"] = kl_divergence(current, given["reference_log_probabilities"], "k3")
    return values | {
        "loss": loss,
        "advantage": advantages,
        "clip_fraction": clipped.astype(loss.dtype),
        # k3 of samples of the old policy, which is the one they were drawn from.
        "approximate_kl": kl_divergence(old, current, "k3"),
    }


def policy_gradient(
    model: Transformer,
    config: AlgorithmConfig,
    *,
    max_tokens: int | None = None,
    batch_rows: int | None = None,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Objective:
    """The loss of an online algorithm on a rollout.

    Batch: `tokens`, `targets_mask`, `segments`, `positions`, `advantages`, each [B, T];
    `old_log_probabilities [B, T]` of the policy that sampled (without it the current ones,
    detached: right for a single update); `reference_log_probabilities [B, T]` where the KL
    divergence is in the loss, and to report it.

    Metrics, (sum, count): `loss` and `policy_loss` as aggregated; over tokens `entropy`, `ratio`,
    `advantage`, `approximate_kl` (k3 of old against current), `clip_fraction` (tokens whose
    gradient the clip stops, or whose weight it cuts with CISPO) and, with a reference, `kl` (k3).

    Args:
        model: the policy.
        config: the algorithm.
        max_tokens: limit of new tokens, for the aggregations over a constant.
        batch_rows: rows of the whole batch of a step, for `sum_over_constant`.
        temperature: that the completions were sampled with.
        chunk: tokens whose logits exist at once; None computes all of them together.

    Raises:
        InputError: a constant of the aggregation is missing; with the first batch, one of its
            arrays is.
    """
    check_aggregation(config.aggregation, max_tokens, batch_rows)
    if not temperature > 0:
        raise InputError(f"temperature={temperature}: expected more than 0")
    needed = ["advantages"]
    if config.kl_placement.startswith("loss") and config.needs_reference:
        needed.append("reference_log_probabilities")

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        for name in needed:
            if name not in batch:
                raise InputError(f"the batch lacks {name!r}, which the policy gradient needs")
        mask = counted(batch)
        statistics = token_statistics(model, params, batch, chunk, temperature)
        values = token_losses(config, *statistics, batch, mask)
        how = (config.aggregation, max_tokens, batch_rows)
        total, count = aggregate(values.pop("loss"), mask, *how)
        policy = aggregate(values.pop("policy_loss"), mask, *how)
        metrics = {name: aggregate(x, mask, "token_mean") for name, x in values.items()}
        metrics |= {"loss": (total, count), "policy_loss": policy}
        return mean(total, count), metrics

    return objective
