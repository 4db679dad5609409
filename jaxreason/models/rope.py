"""Rotary position embedding (Su et al. 2021), as it is and stretched to longer contexts."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.sharding.mesh import ambient_platform

RopeKind = Literal["linear", "llama3", "yarn"]
ROPE_KINDS: tuple[str, ...] = ("linear", "llama3", "yarn")


@dataclass(frozen=True)
class RopeScaling:
    """How the rotary frequencies of a model are changed for contexts longer than it was trained on.

    Kinds whose frequencies depend on how long the sequence at hand is (`dynamic`, `longrope`) are
    left out: keys in a cache were rotated before the final length was known.

    Attributes:
        kind: `linear` divides all frequencies by `factor` (Chen et al. 2023, arXiv:2306.15595);
            `llama3` only those that turn slowly, with a smooth passage between (Llama 3.1);
            `yarn` likewise with another passage, and scales the logits of attention (Peng et al.
            2023, arXiv:2309.00071).
        factor: how many times longer the context becomes.
        original_length: tokens of the context before (`llama3`, `yarn`).
        low_frequency_factor: `llama3`: wavelengths above original_length / this are divided.
        high_frequency_factor: `llama3`: wavelengths below original_length / this are kept.
        beta_fast: `yarn`: features that turn this often in the original context are kept.
        beta_slow: `yarn`: features that turn this rarely are divided.
        attention_factor: `yarn`: multiplies cosine and sine; 0.1 ln(factor) + 1 if None.
        truncate: `yarn`: the bounds of the passage are rounded to whole features.

    Raises:
        InputError: an unknown kind, or numbers that make no sense for it.
    """

    kind: RopeKind
    factor: float
    original_length: int = 0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        name = "model.rope_scaling"
        if self.kind not in ROPE_KINDS:
            raise InputError(f"{name}.kind is {self.kind!r}; expected one of {ROPE_KINDS}")
        positive = ["factor"]
        if self.kind != "linear":
            positive.append("original_length")
        if self.kind == "llama3":
            positive += ["low_frequency_factor", "high_frequency_factor"]
        if self.kind == "yarn":
            positive += ["beta_fast", "beta_slow"]
            positive += [] if self.attention_factor is None else ["attention_factor"]
        for field in positive:
            value = getattr(self, field)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name}.{field} is {value}; {self.kind} needs a positive number")
        for low, high in (
            ("low_frequency_factor", "high_frequency_factor"),
            ("beta_slow", "beta_fast"),
        ):
            if getattr(self, low) >= getattr(self, high) and high in positive:
                raise InputError(
                    f"{name}.{low} is {getattr(self, low)}; it must be below {high} "
                    f"({getattr(self, high)})"
                )

    @property
    def angle_factor(self) -> float:
        """What cosine and sine are multiplied by."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0

    def frequencies(self, plain: NDArray[np.float32], base: float) -> NDArray[np.float32]:
        """Radians per token after scaling, in the arithmetic of transformers' rope utilities.

        Args:
            plain: [K/2], radians per token of each pair of features, the fastest first.
            base: that these were made of.
        """
        factor = np.float32(self.factor)
        if self.kind == "linear":
            return plain / factor
        if self.kind == "llama3":
            return self._llama3(plain, factor)
        divided = 1 - _ramp(*self._passage(2 * len(plain), base), len(plain))
        return (plain / factor) * (1 - divided) + plain * divided

    def _llama3(self, plain: NDArray[np.float32], factor: np.float32) -> NDArray[np.float32]:
        low, high = np.float32(self.low_frequency_factor), np.float32(self.high_frequency_factor)
        length = np.float32(self.original_length)
        wavelength = np.float32(2 * math.pi) / plain
        smooth = (length / wavelength - low) / (high - low)
        between = (1 - smooth) * plain / factor + smooth * plain
        scaled = np.where(wavelength > length / low, plain / factor, plain)
        medium = (wavelength >= length / high) & (wavelength <= length / low)
        return np.where(medium, between, scaled).astype(np.float32)

    def _passage(self, size: int, base: float) -> tuple[float, float]:
        """Index of the last pair of features that is kept, and of the first that is divided."""

        def pair_turning(times: float) -> float:
            turns = math.log(self.original_length / (times * 2 * math.pi))
            return size * turns / (2 * math.log(base))

        low, high = pair_turning(self.beta_fast), pair_turning(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        return max(low, 0), min(high, size - 1)


def _ramp(low: float, high: float, count: int) -> NDArray[np.float32]:
    """0 up to `low`, 1 from `high` on, straight between."""
    high = high + 0.001 if low == high else high
    ramp = (np.arange(count, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(ramp, 0, 1)


def rope_frequencies(
    head_size: int, base: float, scaling: RopeScaling | None = None
) -> Float[Array, " K/2"]:
    """Radians per token by which each pair of features turns, the fastest first."""
    if scaling is None:
        return base ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    plain = np.float32(1) / np.float32(base) ** exponents
    return jnp.asarray(scaling.frequencies(plain, base))


def rope_angles(
    positions: Int[Array, "B T"],
    head_size: int,
    base: float,
    scaling: RopeScaling | None = None,
) -> tuple[Float[Array, "B 1 T K/2"], Float[Array, "B 1 T K/2"]]:
    """Cosine and sine of the rotary angles, one for each pair of features."""
    positions = positions[..., None].astype(jnp.float32)
    angles = positions * rope_frequencies(head_size, base, scaling)
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    if scaling is not None and scaling.angle_factor != 1:
        cosine, sine = cosine * scaling.angle_factor, sine * scaling.angle_factor
    if ambient_platform() == "cpu":
        # The compiler would compute them again, number by number, in every loop that reads them
        # (a tenth of a small model's step). It does not fuse a matrix product into those loops.
        once = jnp.eye(head_size // 2)
        cosine = jnp.matmul(cosine, once, precision="highest")
        sine = jnp.matmul(sine, once, precision="highest")
    return cosine[:, None], sine[:, None]


def rotate(
    x: Float[Array, "B N T K"],
    cosine: Float[Array, "B 1 T K/2"],
    sine: Float[Array, "B 1 T K/2"],
) -> Float[Array, "B N T K"]:
    """Turn each pair (x_i, x_{i+K/2}) by its angle: halves as in Llama and Qwen2."""
    first, second = jnp.split(x, 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
