"""Noise levels of the inner updates of UniGRPO."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithm_config import (
    TIMESTEP_RULES,
    DiffusionAlgorithmConfig,
)


def timesteps(
    rule: str,
    updates: int,
    total: int,
    first: Int[Array, "..."] | int,
    key: PRNGKeyArray | None = None,
) -> Int[Array, "N ..."]:
    """Noise levels t_1 .. t_N of the inner updates.

    - "alg1": floor((n - 1) / (N - 1) (T - t_1) + t_1), from the start evenly up to T (MMaDA,
      Algorithm 1); a single update uses t_1.
    - "example_stride": t_1 + (n - 1) T / N, the spacing of the paper's worked example (section
      5.2). Levels above T go on from the bottom, where the paper says nothing: each level is then
      uniform, and they stay evenly spread.
    - "random": each uniform on 1..T, the baseline of the paper's figure 4; ignores the start.

    Args:
        rule: one of `TIMESTEP_RULES`.
        updates: N.
        total: T.
        first: t_1, of any shape.
        key: for "random".

    Raises:
        InputError: unknown rule, or "random" without a key.
    """
    first = jnp.asarray(first, jnp.int32)
    number = jnp.arange(updates).reshape(-1, *(1,) * first.ndim)
    match rule:
        case "alg1":
            return first + number * (total - first) // max(updates - 1, 1)
        case "example_stride":
            return (first + number * total // updates - 1) % total + 1
        case "random" if key is not None:
            return jax.random.randint(key, (updates, *first.shape), 1, total + 1)
        case "random":
            raise InputError("timestep_rule='random' needs a key")
    raise InputError(f"timestep_rule={rule!r}: expected one of {', '.join(TIMESTEP_RULES)}")


def noise_levels(
    config: DiffusionAlgorithmConfig, rows: int, key: PRNGKeyArray, group: int
) -> Float[Array, "N B"]:
    """Masked shares t_n / T of all updates, for rows whose groups are neighbours.

    One start serves all rows ("update") or each row has its own ("response"); responses that share
    their masks share their levels.
    """
    start_key, rule_key = jax.random.split(key)
    low, high = config.first_timestep or (0, config.total_timesteps - 1)
    alike = group if config.share_mask_across_group else 1
    if config.timestep_scope == "update":
        alike = rows
    first = jax.random.randint(start_key, (rows // alike,), low, high + 1)
    total = config.total_timesteps
    chosen = timesteps(config.timestep_rule, config.updates, total, first, rule_key)
    return jnp.repeat(chosen / total, alike, axis=1)
