"""Mask schedules: which share of the tokens is masked at time u, from 1 at u = 0 to 0 at u = 1.

| name      | ratio at time u                                                              |
|-----------|------------------------------------------------------------------------------|
| `cosine`  | cos(pi u / 2)                                                                |
| `linear`  | 1 - u                                                                        |
| `pow`     | 1 - u^exponent                                                               |
| `sigmoid` | (s(end) - s(start + u (end - start))) / (s(end) - s(start)), s(x) the logistic |
|           | function of x / temperature                                                  |

MaskGIT (Chang et al. 2022, arXiv 2202.04200); names and constants as in
github.com/Gen-Verse/MMaDA, models/sampling.py. All but `cosine` are kept above 1e-6, as there.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreason.errors import InputError

ScheduleName = Literal["cosine", "linear", "pow", "sigmoid"]
SCHEDULES: tuple[str, ...] = get_args(ScheduleName)
SMALLEST = 1e-6


@dataclass(frozen=True)
class Schedule:
    """A mask schedule, see the table of the module.

    Attributes:
        name: one of `SCHEDULES`.
        exponent: of `pow`.
        start: where on the logistic curve `sigmoid` begins.
        end: where it ends; above `start`.
        temperature: divides the argument of the logistic function.

    Raises:
        InputError: unknown name, or a constant out of its range.
    """

    name: ScheduleName = "cosine"
    exponent: float = 2.0
    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise InputError(
                f"schedule name {self.name!r} is unknown; expected one of {', '.join(SCHEDULES)}"
            )
        for name in ("exponent", "temperature"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"schedule {name}={getattr(self, name)}: expected a positive number"
                )
        if not self.start < self.end:
            raise InputError(
                f"schedule start={self.start} with end={self.end}: expected start below end"
            )

    def ratio(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Share of masked tokens at `time` in [0, 1]."""
        ratio = self._unclipped(time)
        return ratio if self.name == "cosine" else jnp.clip(ratio, SMALLEST, 1.0)

    def time(self, ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """The time at which the share of masked tokens is `ratio` in [0, 1]; undoes `ratio`."""
        if self.name == "cosine":
            return jnp.arccos(ratio) * (2 / math.pi)
        if self.name == "linear":
            return 1.0 - ratio
        if self.name == "pow":
            return (1.0 - ratio) ** (1 / self.exponent)
        low, high = self._ends()
        value = high - ratio * (high - low)
        argument = self.temperature * (jnp.log(value) - jnp.log1p(-value))
        return (argument - self.start) / (self.end - self.start)

    def weight(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """-ratio'(time) / ratio(time), the weight of a masked token in the evidence bound.

        For tokens masked independently with probability `ratio(time)`, time uniform in [0, 1];
        every token then weighs 1 on average. (pi / 2) tan(pi u / 2) for `cosine`, 1 / (1 - u) for
        `linear` (Shi et al. 2024, arXiv 2406.04329; Sahoo et al. 2024, arXiv 2406.07524). Grows
        without bound towards time 1.
        """
        if self.name == "cosine":
            return (math.pi / 2) * jnp.tan(time * (math.pi / 2))
        if self.name == "linear":
            return 1.0 / self.ratio(time)
        if self.name == "pow":
            return self.exponent * time ** (self.exponent - 1) / self.ratio(time)
        low, high = self._ends()
        span = self.end - self.start
        value = jax.nn.sigmoid((self.start + time * span) / self.temperature)
        slope = value * (1 - value) * span / self.temperature / (high - low)
        return slope / self.ratio(time)

    def _unclipped(self, time: Array) -> Array:
        if self.name == "cosine":
            return jnp.cos(time * (math.pi / 2))
        if self.name == "linear":
            return 1.0 - time
        if self.name == "pow":
            return 1.0 - time**self.exponent
        low, high = self._ends()
        argument = (self.start + time * (self.end - self.start)) / self.temperature
        return (high - jax.nn.sigmoid(argument)) / (high - low)

    def _ends(self) -> tuple[float, float]:
        low, high = (1 / (1 + math.exp(-x / self.temperature)) for x in (self.start, self.end))
        return low, high


def count_probability(
    schedule: Schedule, count: Float[Array, "..."], tokens: Float[Array, "..."]
) -> Float[Array, "..."]:
    """P(max(1, round(tokens * ratio(u))) = count) for u uniform in [0, 1]; `count` in 1..tokens.

    1 / (count * P(count)) is the weight under which `count` tokens masked at random estimate the
    evidence bound without bias. It tends to `weight(u)` over `tokens` many tokens, yet is finite
    where that one is not: forcing one masked token where the ratio is almost 0 and weighing it by
    `weight(u)` has no mean at all.
    """
    above = jnp.where(count <= 1, 0.0, (count - 0.5) / tokens)
    below = jnp.where(count >= tokens, 1.0, jnp.minimum((count + 0.5) / tokens, 1.0))
    return schedule.time(above) - schedule.time(below)
