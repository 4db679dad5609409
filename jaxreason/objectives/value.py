"""The critic's loss: clipped squared error, as in PPO's reference code."""

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Critic
from jaxreason.objectives.aggregation import aggregate, mean
from jaxreason.objectives.log_probabilities import counted
from jaxreason.types import Batch, Metrics, Objective, Params


def value_loss(critic: Critic, clip: float | None = 0.2) -> Objective:
    """0.5 max((V - R)^2, (clip(V, old - c, old + c) - R)^2), mean over all tokens.

    Source: PPO2 of OpenAI baselines; TRL's PPOTrainer and verl's `compute_value_loss`. TRL's factor
    0.1 (`vf_coef`) weighs this against the policy loss in one network; here the critic has its own
    optimizer, hence its own learning rate.

    Batch: `tokens`, `targets_mask`, `segments`, `positions`, `returns`, and with clipping
    `old_values`, each [B, T]. Metrics, (sum, count) over tokens: `loss`, `squared_error`, `value`,
    `return`, `clip_fraction`.

    Args:
        critic: gives `values`.
        clip: how far values may move from the old ones before the loss stops falling; None: any.

    Raises:
        InputError: `clip` is not above 0; with the first batch, one of its arrays is missing.
    """
    if clip is not None and not clip > 0:
        raise InputError(f"value_clip={clip}: expected more than 0, or none")
    needed = ("returns",) if clip is None else ("returns", "old_values")

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        for name in needed:
            if name not in batch:
                raise InputError(f"the batch lacks {name!r}, which the value loss needs")
        mask, returns = counted(batch), batch["returns"]
        values = critic.values(params, batch)
        errors = clipped = (values - returns) ** 2
        if clip is not None:
            old = batch["old_values"]
            clipped = (jnp.clip(values, old - clip, old + clip) - returns) ** 2
        watched = {
            "loss": 0.5 * jnp.maximum(errors, clipped),
            "squared_error": errors,
            "value": values,
            "return": returns,
            "clip_fraction": (clipped > errors).astype(values.dtype),
        }
        metrics = {name: aggregate(x, mask, "token_mean") for name, x in watched.items()}
        return mean(*metrics["loss"]), metrics

    return objective
