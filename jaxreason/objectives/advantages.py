"""From rewards to one advantage per token. Nothing here is differentiated.

Rewards R are scalars per completion; the `group` completions of a prompt are neighbouring rows.
Penalties and the KL term of the reward are taken off R first; methods with token-level rewards
(PPO, REINFORCE++) put R on the last token and -beta kl_t on every token, the others take
beta sum_t kl_t off R.

| advantage                      | formula                                                         |
|--------------------------------|-----------------------------------------------------------------|
| `grpo`                         | (R - mean of the group) / (deviation + epsilon)                 |
| `centered`                     | R - mean of the group                                           |
| `rloo`                         | R - mean of the others of the group                             |
| `reinforce`                    | R                                                               |
| `reinforce_plus_plus`          | discounted rewards-to-go, whitened over the batch               |
| `reinforce_plus_plus_baseline` | R - mean of the group, whitened over the batch                  |
| `gae`                          | generalised advantage estimation, whitened over the batch       |
| `prime`                        | process and outcome leave-one-out rewards-to-go, whitened       |
| `positive`                     | 1 for correct completions, 0 for the others                     |

Sources are named at each algorithm in `jaxreason.objectives.algorithms`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxreason.errors import InputError
from jaxreason.objectives.advantage_estimators import (
    generalized_advantages,
    group_advantages,
    last_tokens,
    leave_one_out,
    overlong_penalties,
    prime_returns,
    rewards_to_go,
    whiten,
)
from jaxreason.objectives.algorithm_config import AlgorithmConfig, check_group
from jaxreason.objectives.kl_divergence import kl_divergence


def compute_advantages(
    config: AlgorithmConfig, rollout: Mapping[str, Array], *, group: int, max_tokens: int
) -> dict[str, Any]:
    """What the policy and the critic learn from a rollout.

    Completions dropped by `overlong="mask"` still count in their group's mean and deviation.

    Args:
        config: the algorithm.
        rollout: `rewards [B]`, `finished [B]` (ended by themselves), `targets_mask [B, T]` (tokens
            of the completions), `log_probabilities [B, T]` under the policy that sampled; and where
            the algorithm asks for them `reference_log_probabilities`, `values` and
            `process_rewards`, each [B, T].
        group: completions per prompt, next to each other.
        max_tokens: limit of new tokens.

    Returns:
        `advantages [B, T]` float, 0 outside the mask; `targets_mask [B, T]`; with a critic
        `returns [B, T]`; and `metrics`: name -> (sum, count).

    Raises:
        InputError: an array is missing, or `group` does not go with the rows.
    """
    _check_rollout(config, rollout, group)
    rewards, mask = rollout["rewards"], rollout["targets_mask"]
    finished = rollout["finished"]
    shaped = rewards - config.missing_end_penalty * ~finished
    lengths = mask.sum(axis=1)
    if config.overlong == "soft":
        shaped = shaped + overlong_penalties(lengths, config.buffer(max_tokens), max_tokens)
    kept = mask & finished[:, None] if config.overlong == "mask" else mask

    divergence = jnp.zeros_like(rollout["log_probabilities"])
    if config.kl_placement == "reward" and config.needs_reference:
        reference = rollout["reference_log_probabilities"]
        estimate = kl_divergence(rollout["log_probabilities"], reference, config.kl_estimator)
        divergence = jnp.where(mask, estimate, 0.0)
    penalties = config.kl_coefficient * divergence

    result = _advantages(config, rollout, shaped, penalties, kept, group)
    result["advantages"] = jnp.where(kept, result["advantages"], 0.0)
    result["targets_mask"] = kept
    one = jnp.ones_like(rewards)
    alike = jnp.ptp(rewards.reshape(-1, group), axis=1) == 0
    result["metrics"] = {
        "reward": (rewards.sum(), one.sum()),
        "shaped_reward": (jnp.sum(shaped - penalties.sum(axis=1)), one.sum()),
        "groups_alike": (alike.sum().astype(one.dtype), one.sum() / group),
        "finished": (finished.sum().astype(one.dtype), one.sum()),
        "dropped": (jnp.sum(mask.any(1) & ~kept.any(1)).astype(one.dtype), one.sum()),
        "completion_tokens": (lengths.sum().astype(one.dtype), one.sum()),
    }
    return result


def _advantages(
    config: AlgorithmConfig,
    rollout: Mapping[str, Array],
    shaped: Float[Array, " B"],
    penalties: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    group: int,
) -> dict[str, Any]:
    by_token = jnp.where(last_tokens(mask), shaped[:, None], 0.0) - penalties
    total = shaped - penalties.sum(axis=1)
    match config.advantage:
        case "grpo":
            deviation = config.standard_deviation
            per_row = group_advantages(
                total, group, deviation, config.degrees_of_freedom, config.epsilon
            )
        case "centered" | "reinforce_plus_plus_baseline":
            per_row = group_advantages(total, group, "none")
        case "rloo":
            per_row = leave_one_out(total, group)
        case "reinforce":
            per_row = total
        case "positive":
            per_row = (rollout["rewards"] > config.correct_above).astype(total.dtype)
        case "reinforce_plus_plus":
            return {"advantages": whiten(rewards_to_go(by_token, mask, config.discount), mask)}
        case "gae":
            advantages, returns = generalized_advantages(
                by_token, rollout["values"], mask, config.discount, config.trace_decay
            )
            return {"advantages": whiten(advantages, mask), "returns": returns}
        case _:
            weights = (config.process_weight, config.outcome_weight)
            returns = prime_returns(rollout["process_rewards"], shaped, mask, group, *weights)
            return {"advantages": whiten(returns, mask)}
    advantages = jnp.broadcast_to(per_row[:, None], mask.shape)
    if config.advantage == "reinforce_plus_plus_baseline":
        advantages = whiten(advantages, mask)
    return {"advantages": advantages}


def _check_rollout(config: AlgorithmConfig, rollout: Mapping[str, Array], group: int) -> None:
    check_group(config, group)
    rows = rollout["rewards"].shape[0]
    if rows % group:
        raise InputError(f"group={group} does not divide the {rows} completions of the rollout")
    needed = {
        "reference_log_probabilities": config.needs_reference and config.kl_placement == "reward",
        "values": config.advantage == "gae",
        "process_rewards": config.advantage == "prime",
    }
    for name, wanted in needed.items():
        if wanted and name not in rollout:
            raise InputError(f"rollout lacks {name!r}, which advantage={config.advantage!r} needs")


def check_rewards(rewards: Any, rows: int, group: int, config: AlgorithmConfig) -> np.ndarray:
    """The rewards as float32 [rows], checked on the host before anything is computed from them.

    Raises:
        InputError: wrong shape, a value that is not finite, rows that are no whole groups, or
            groups too small for the algorithm.
    """
    check_group(config, group)
    if rows % group:
        raise InputError(f"group={group} does not divide the {rows} completions")
    array = np.asarray(rewards)
    if array.shape != (rows,):
        raise InputError(
            f"rewards have shape {array.shape}: expected one per completion, ({rows},)"
        )
    if array.dtype.kind not in "buif":
        raise InputError(f"rewards have dtype {array.dtype}: expected numbers")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"rewards[{bad[0]}] is {array[bad[0]]} ({bad.size} in all are not finite): "
            "a reward must be a finite number"
        )
    return values


def informative_groups(rewards: np.ndarray, group: int) -> np.ndarray:
    """Which groups have rewards that differ: bool [B / group]; the others teach nothing.

    The condition of DAPO's dynamic sampling (arXiv 2503.14476, eq. 11).
    """
    return np.ptp(np.asarray(rewards).reshape(-1, group), axis=1) > 0
