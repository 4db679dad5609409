"""The steps of decoding a picture, and what each hands to the next."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxreason.sampling.diffusion.image_schedule import (
    TemperatureDecay,
    choice_temperatures,
    masked_counts,
)


class Canvas(NamedTuple):
    """What one step hands to the next; masked tokens have code -1."""

    codes: Int[Array, "B N"]
    log_probabilities: Float[Array, "B N"]
    order: Int[Array, "B N"]


class Step(NamedTuple):
    """A step: its number, how many stay masked by how many are unknown, its temperature."""

    number: Int[Array, ""]
    masked: Int[Array, " N+1"]
    temperature: Float[Array, ""]


def all_steps(
    tokens: int,
    steps: int,
    scheduled: str,
    schedule: str,
    decay: TemperatureDecay,
    temperature: float,
) -> Step:
    """All steps, stacked; the arguments are those of `ImageDiffusionConfig`."""
    counts = np.arange(tokens + 1)
    unknown = counts if scheduled == "unknown" else np.full_like(counts, tokens)
    return Step(
        jnp.arange(steps),
        jnp.asarray(masked_counts(schedule, unknown, steps)),
        jnp.asarray(choice_temperatures(decay, temperature, steps)),
    )
