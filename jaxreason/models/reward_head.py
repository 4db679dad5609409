"""The head of ImageReward (Xu et al. 2023): features of picture and text to one number.

The published model reads BLIP's text encoder, which attends to the picture, at its first token and
puts five linear layers without activations between on it (github.com/THUDM/ImageReward). The head
takes features of any other model just as well.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.types import Params


@dataclass(frozen=True)
class RewardHead:
    """Linear layers, and the scale of what comes out, as pure functions of parameters.

    Attributes:
        inputs: D, size of the features.
        widths: of the layers between.
        mean: subtracted from the last layer's output; the default is the published model's.
        deviation: what it is divided by then, above 0.

    Raises:
        InputError: a size below 1, or a deviation that is not above 0.
    """

    inputs: int = 768
    widths: tuple[int, ...] = (1024, 128, 64, 16)
    mean: float = 0.16717362830052426
    deviation: float = 1.0333394966054072

    def __post_init__(self) -> None:
        if min(self.inputs, *self.widths, 1) < 1:
            raise InputError(
                f"inputs is {self.inputs} and widths {self.widths}; all must be at least 1"
            )
        if not (self.deviation > 0 and np.isfinite([self.mean, self.deviation]).all()):
            raise InputError(
                f"mean is {self.mean} and deviation {self.deviation}; expected finite numbers, "
                "the deviation above 0"
            )

    def init(self, key: PRNGKeyArray) -> Params:
        """Random float32 parameters `{kernel_i, bias_i}`: normal with deviation 1 / (D + 1), as
        the published model was started.
        """
        params = {}
        for i, (before, after) in enumerate(self._sizes()):
            drawn = jax.random.normal(jax.random.fold_in(key, i), (before, after))
            params[f"kernel_{i}"] = drawn / (self.inputs + 1)
            params[f"bias_{i}"] = jnp.zeros(after)
        return params

    def apply(self, params: Params, features: Float[Array, "B D"]) -> Float[Array, " B"]:
        """Scores, float32 [B].

        Raises:
            InputError: features of another size.
        """
        if features.ndim != 2 or features.shape[1] != self.inputs:
            raise InputError(f"features have shape {features.shape}; expected [B, {self.inputs}]")
        x = features.astype(jnp.float32)
        for i in range(len(self.widths) + 1):
            x = x @ params[f"kernel_{i}"] + params[f"bias_{i}"]
        return (x[:, 0] - self.mean) / self.deviation

    def _sizes(self) -> list[tuple[int, int]]:
        sizes = (self.inputs, *self.widths, 1)
        return list(itertools.pairwise(sizes))

    def _names(self) -> list[str]:
        """Names of the published layers; dropout takes the numbers left out."""
        numbers = [2 * i for i in range(len(self.widths))]
        return [f"mlp.layers.{i}" for i in [*numbers, (numbers[-1] if numbers else -1) + 1]]

    def published_layers(self) -> list[tuple[str, tuple[int, int]]]:
        """Name of each published layer, with its inputs and outputs."""
        return list(zip(self._names(), self._sizes(), strict=True))

    def from_published(self, weights: Mapping[str, NDArray]) -> Params:
        """Our parameters from `mlp.layers.N.weight` and `.bias`; other parts are not read.

        Raises:
            InputError: one is missing, unknown or of another shape.
        """
        params = {}
        expected = {f"{name}.{part}" for name in self._names() for part in ("weight", "bias")}
        unknown = {n for n in weights if n.startswith("mlp.")} - expected
        if unknown or expected - set(weights):
            name = sorted(unknown or expected - set(weights))[0]
            raise InputError(
                f"ImageReward weights {'hold' if unknown else 'lack'} {name!r}; a head of widths "
                f"{self.widths} has {sorted(expected)}"
            )
        for i, (name, sizes) in enumerate(self.published_layers()):
            kernel = np.asarray(weights[f"{name}.weight"]).T
            bias = np.asarray(weights[f"{name}.bias"])
            if kernel.shape != sizes or bias.shape != sizes[1:]:
                raise InputError(
                    f"ImageReward weight {name!r} has shapes {kernel.T.shape} and {bias.shape}; "
                    f"expected {sizes[::-1]} and {sizes[1:]}"
                )
            params[f"kernel_{i}"], params[f"bias_{i}"] = kernel, bias
        return params

    def to_published(self, params: Params) -> dict[str, NDArray]:
        """The inverse of `from_published`."""
        weights = {}
        for i, name in enumerate(self._names()):
            weights[f"{name}.weight"] = np.asarray(params[f"kernel_{i}"]).T
            weights[f"{name}.bias"] = np.asarray(params[f"bias_{i}"])
        return weights
