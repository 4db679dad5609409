"""PRIME's process reward: a language model trained on outcomes alone (arXiv 2502.01456)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.advantage_estimators import last_tokens, rewards_to_go
from jaxreason.objectives.aggregation import mean
from jaxreason.objectives.algorithm_config import AlgorithmConfig
from jaxreason.objectives.log_probabilities import counted, token_statistics
from jaxreason.types import Batch, Metrics, Objective, Params

NORMALISATION_EPSILON = 1e-6
"""Added to the largest sum-to-go (verl's recipe)."""


def implicit_rewards(
    config: AlgorithmConfig,
    log_probabilities: Float[Array, "B T"],
    reference_log_probabilities: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
) -> Float[Array, "B T"]:
    """Process rewards beta (l_t - reference l_t) (arXiv 2502.01456, eq. 3), 0 outside the mask.

    As in verl's recipe, "token" leaves the last token without one, "whole" puts the sum of all on
    the last token, and normalised ones are divided by the largest absolute sum-to-go of the batch.

    Args:
        config: `process_beta`, `process_granularity` and `process_normalised`.
        log_probabilities: [B, T] of the completions under the reward model.
        reference_log_probabilities: [B, T] under the model it started from.
        mask: [B, T], tokens of the completions.
    """
    difference = log_probabilities - reference_log_probabilities
    rewards = config.process_beta * jnp.where(mask, difference, 0.0)
    last = last_tokens(mask)
    if config.process_granularity == "token":
        rewards = jnp.where(last, 0.0, rewards)
    else:
        rewards = jnp.where(last, rewards.sum(axis=1, keepdims=True), 0.0)
    if config.process_normalised:
        largest = jnp.max(jnp.abs(rewards_to_go(rewards, mask)))
        rewards = rewards / (largest + NORMALISATION_EPSILON)
    return rewards


def process_reward_loss(
    model: Transformer, beta: float = 0.05, chunk: int | None = None
) -> Objective:
    """Cross-entropy of sigmoid(beta sum_t (l_t - reference l_t)) against the verdict (eq. 4).

    Batch: `tokens`, `targets_mask`, `segments`, `positions`, `reference_log_probabilities`, each
    [B, T]; `correct [B]` float, 1 for completions the verifier accepts. Rows without a counted
    token count nothing. Metrics, (sum, count) over rows: `loss`, `accuracy` (right side of 1/2)
    and `score` (the logit).

    Args:
        model: the reward model, a causal transformer.
        beta: scale of the logit, `process_beta` of the algorithm.
        chunk: tokens whose logits exist at once; None computes all of them together.

    Raises:
        InputError: `beta` is not above 0; with the first batch, one of its arrays is missing.
    """
    if not beta > 0:
        raise InputError(f"process_beta={beta}: expected more than 0")

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        for name in ("correct", "reference_log_probabilities"):
            if name not in batch:
                raise InputError(f"the batch lacks {name!r}, which the process reward needs")
        mask, correct = counted(batch), batch["correct"]
        found = token_statistics(model, params, batch, chunk).log_probabilities
        difference = jnp.where(mask, found - batch["reference_log_probabilities"], 0.0)
        scores = beta * difference.sum(axis=1)
        losses = -correct * jax.nn.log_sigmoid(scores)
        losses = losses - (1 - correct) * jax.nn.log_sigmoid(-scores)
        rows = mask.any(axis=1).astype(losses.dtype)
        watched = {
            "loss": losses,
            "accuracy": (scores > 0) == (correct > 0.5),
            "score": scores,
        }
        metrics = {name: (jnp.sum(x * rows), rows.sum()) for name, x in watched.items()}
        return mean(*metrics["loss"]), metrics

    return objective
