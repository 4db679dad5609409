"""How many image tokens stay masked after each step, and how much chance goes into which ones."""

import re
from typing import Literal

import numpy as np

from jaxreason.errors import InputError

TemperatureDecay = Literal["compounding", "linear"]
SCHEDULES = "'cosine', 'linear', 'sigmoid' or 'pow' and an exponent, as 'pow2'"


def masked_share(schedule: str, time: np.ndarray) -> np.ndarray:
    """Share of tokens masked at `time`: falls from 1 at time 0 to 0 at time 1.

    `cosine` is MaskGIT's (Chang et al. 2022) and MMaDA's; `linear` 1 - t; `powX` 1 - t^X;
    `sigmoid` the logistic curve between -3 and 3 (Chen 2023). All but the cosine end at 1e-6, as
    in the Gen-Verse/MMaDA repository.

    Args:
        schedule: its name.
        time: any shape, float in [0, 1].

    Raises:
        InputError: the schedule has no such name.
    """
    time = np.asarray(time, np.float64)
    if schedule == "cosine":
        return np.cos(time * np.pi / 2)
    if schedule == "linear":
        share = 1 - time
    elif schedule == "sigmoid":
        low, high = 1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-3.0))
        share = (high - 1 / (1 + np.exp(-(6 * time - 3)))) / (high - low)
    elif match := re.fullmatch(r"pow(\d+(?:\.\d+)?)", schedule):
        share = 1 - time ** float(match[1])
    else:
        raise InputError(f"schedule is {schedule!r}; expected {SCHEDULES}")
    return np.clip(share, 1e-6, 1.0)


def step_times(steps: int) -> np.ndarray:
    """The time after each step: (1/steps, 2/steps, ..., 1), float64."""
    return np.arange(1, steps + 1) / steps


def masked_counts(schedule: str, tokens: int | np.ndarray, steps: int) -> np.ndarray:
    """floor(tokens x share): how many are to stay masked after each step.

    What stays masked is this, but at least 1 and at most one less than was masked before.

    Args:
        schedule: as `masked_share` knows it.
        tokens: how many there are; any shape.
        steps: denoising steps.

    Returns:
        [steps, *shape of tokens] int32.
    """
    # cos(pi / 3) may come out a rounding below one half; floor must not see it
    products = np.multiply.outer(masked_share(schedule, step_times(steps)), tokens)
    return np.floor(products + 1e-9).astype(np.int32)


def choice_temperatures(decay: TemperatureDecay, first: float, steps: int) -> np.ndarray:
    """What the Gumbel noise of each step is multiplied by, [steps] float32.

    `compounding`: each step multiplies the last one's by (1 - r), r the time after the step (the
    Gen-Verse/MMaDA repository); after 8 of 15 steps 0.047 is left of 1. `linear`: first x (1 - r)
    (MaskGIT); after 8 of 15 steps 0.47 is left.
    """
    left = 1 - step_times(steps)
    return (first * (np.cumprod(left) if decay == "compounding" else left)).astype(np.float32)
