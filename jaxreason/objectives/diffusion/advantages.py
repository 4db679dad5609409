"""What each response of a group is worth to a diffusion policy; one number per response."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreason.objectives.advantage_estimators import group_advantages, leave_one_out
from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig, check_group


def diffusion_advantages(
    config: DiffusionAlgorithmConfig, rewards: Float[Array, " B"], group: int
) -> Float[Array, " B"]:
    """Advantages of responses, those to one prompt next to each other.

    With "wd1" the value is G (softmax(A) - softmax(-A)) over the group, A = R - mean, so that the
    mean over the group of -value * log p is wd1's loss, -sum w+ log p + sum w- log p.

    Raises:
        InputError: groups of less than 2.
    """
    check_group(config, group)
    match config.advantage:
        case "grpo":
            deviation = "none" if config.standard_deviation == "none" else "group"
            freedom = int(config.standard_deviation == "sample")
            return group_advantages(rewards, group, deviation, freedom, config.epsilon)
        case "rloo":
            return leave_one_out(rewards, group)
    centred = group_advantages(rewards, group, "none")
    if config.advantage == "centered":
        return centred
    grouped = centred.reshape(-1, group)
    weights = jax.nn.softmax(grouped, axis=1) - jax.nn.softmax(-grouped, axis=1)
    return jnp.reshape(group * weights, -1)
