"""The estimators that advantages are made of: groups, leave-one-out, GAE, whitening, PRIME."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

WHITENING_EPSILON = 1e-8
"""Added to the variance in whitening (TRL, verl)."""


def group_advantages(
    rewards: Float[Array, " B"],
    group: int,
    standard_deviation: str = "group",
    degrees_of_freedom: int = 1,
    epsilon: float = 1e-4,
) -> Float[Array, " B"]:
    """(R - mean) / (deviation + epsilon) with the mean of each group (DeepSeekMath, 4.1.2).

    Args:
        rewards: [B], completions of one prompt next to each other.
        group: completions per prompt.
        standard_deviation: "group", "batch" (of all rewards) or "none" (Dr. GRPO).
        degrees_of_freedom: 1 (TRL, verl) or 0 (the population's).
        epsilon: 1e-4 in TRL, 1e-6 in verl.
    """
    grouped = rewards.reshape(-1, group)
    centred = grouped - grouped.mean(axis=1, keepdims=True)
    if standard_deviation != "none":
        axis = 1 if standard_deviation == "group" else None
        deviation = jnp.std(grouped, axis=axis, keepdims=True, ddof=degrees_of_freedom)
        centred = centred / (deviation + epsilon)
    # Equal rewards are exactly without advantage: rounding of their mean, divided by a deviation
    # of 0 + epsilon, would be a signal.
    alike = jnp.ptp(grouped, axis=1, keepdims=True) == 0
    return jnp.where(alike, 0.0, centred).reshape(-1)


def leave_one_out(rewards: Float[Array, " B"], group: int) -> Float[Array, " B"]:
    """R minus the mean of the group's others: G/(G-1) (R - mean) (arXiv 2402.14740, eq. 6)."""
    return group_advantages(rewards, group, "none") * (group / (group - 1))


def generalized_advantages(
    rewards: Float[Array, "B T"],
    values: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    discount: float = 1.0,
    trace_decay: float = 0.95,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """Advantages and returns (arXiv 1506.02438, eq. 16), both 0 outside the mask.

    delta_t = r_t + discount V_{t+1} - V_t, A_t = delta_t + discount trace_decay A_{t+1}, and the
    return is A_t + V_t. The successor of a token is the next token in the mask: prompt, tool and
    padding tokens are skipped (verl). After the last one comes the value 0.

    Args:
        rewards: [B, T], received with each token.
        values: [B, T], expected before each token is written.
        mask: [B, T], the tokens the policy wrote.
        discount: gamma.
        trace_decay: lambda.
    """

    def step(carry: tuple[Array, Array], at: tuple[Array, Array, Array]) -> Any:
        next_value, next_advantage = carry
        reward, value, written = at
        advantage = reward + discount * next_value - value + discount * trace_decay * next_advantage
        carry = (
            jnp.where(written, value, next_value),
            jnp.where(written, advantage, next_advantage),
        )
        return carry, jnp.where(written, advantage, 0.0)

    end = jnp.zeros_like(values[:, 0])
    _, advantages = jax.lax.scan(step, (end, end), (rewards.T, values.T, mask.T), reverse=True)
    return advantages.T, jnp.where(mask, advantages.T + values, 0.0)


def whiten(values: Float[Array, "B T"], mask: Bool[Array, "B T"]) -> Float[Array, "B T"]:
    """Mean 0 and unbiased variance 1 over the mask of the whole batch; 0 outside (TRL, verl)."""
    weights = mask.astype(values.dtype)
    count = weights.sum()
    centred = (values - jnp.sum(values * weights) / jnp.maximum(count, 1)) * weights
    variance = jnp.sum(centred**2) / jnp.maximum(count - 1, 1)
    return centred * jax.lax.rsqrt(variance + WHITENING_EPSILON)


def last_tokens(mask: Bool[Array, "B T"]) -> Bool[Array, "B T"]:
    """The last masked token of each row."""
    after = jnp.flip(jnp.cumsum(jnp.flip(mask, 1), axis=1), 1)
    return mask & (after == 1)


def rewards_to_go(
    rewards: Float[Array, "B T"], mask: Bool[Array, "B T"], discount: float = 1.0
) -> Float[Array, "B T"]:
    """Discounted sum of this and all later rewards of the mask."""
    return generalized_advantages(rewards, jnp.zeros_like(rewards), mask, discount, 1.0)[0]


def prime_returns(
    process_rewards: Float[Array, "B T"],
    outcomes: Float[Array, " B"],
    mask: Bool[Array, "B T"],
    group: int,
    process_weight: float = 5.0,
    outcome_weight: float = 5.0,
) -> Float[Array, "B T"]:
    """Rewards-to-go of PRIME (arXiv 2502.01456, eq. 5; verl's recipe), not whitened.

    With r_t the process rewards of a completion and n completions per prompt, a token is worth
    process_weight (n r_t - sum_j mean_t r_jt) / (n - 1), and the last token besides
    outcome_weight (n R - sum_j R_j) / (n - 1); both are then summed to the end.

    Args:
        process_rewards: [B, T], of `jaxreason.objectives.process_reward.implicit_rewards`.
        outcomes: [B], the verifier's rewards.
        mask: [B, T].
        group: n.
        process_weight, outcome_weight: of the two sources.
    """
    weights = mask.astype(process_rewards.dtype)
    means = jnp.sum(process_rewards * weights, axis=1) / jnp.maximum(weights.sum(axis=1), 1)
    baselines = jnp.repeat(means.reshape(-1, group).sum(axis=1), group)[:, None]
    process = (group * process_rewards - baselines) / (group - 1)
    outcome = leave_one_out(outcomes, group)[:, None] * last_tokens(mask)
    return rewards_to_go(process_weight * process + outcome_weight * outcome, mask)


def overlong_penalties(
    lengths: Num[Array, " B"], buffer: int, max_tokens: int
) -> Float[Array, " B"]:
    """DAPO's soft punishment (arXiv 2503.14476, eq. 13): 0 until `buffer` tokens before the limit,
    then linearly to -1 at the limit.
    """
    return jnp.clip((max_tokens - buffer - lengths) / buffer, -1.0, 0.0)
