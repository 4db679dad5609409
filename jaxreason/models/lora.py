"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv:2106.09685) in the model's own parameter tree.

Beside the kernel of an adapted matrix, such as `layers/query`, lie `layers/query_lora_a` [layer,
*inputs, rank] and `layers/query_lora_b` [layer, rank, *outputs]; the layer computes
`x W + scale (x A) B`. B begins as zeros, so the first step is the base's. Everything but A and B
is taken as a constant: no gradient of it is computed.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.types import Params

MATRICES = {
    # axes of inputs of a kernel without the axis of layers: the first ones
    "query": 1,
    "key": 1,
    "value": 1,
    "output": 2,
    "gate": 1,
    "up": 1,
    "down": 1,
}
"""Kernels that can be adapted, with the number of their axes that are summed over."""

A, B = "_lora_a", "_lora_b"


@dataclass(frozen=True)
class LoraConfig:
    """Which matrices of every layer get a low-rank update, and how large it is.

    Attributes:
        rank: r, columns of A and rows of B.
        alpha: the update is scaled by alpha / rank.
        targets: adapted kernels, some of query, key, value, output, gate, up, down. Embedding and
            head cannot be.
        rslora: scale by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv:2312.03732), so that
            larger ranks do not learn more slowly.

    Raises:
        InputError: a rank, scale or target that makes no sense.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = tuple(MATRICES)
    rslora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"lora.rank is {self.rank}; expected at least 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise InputError(f"lora.alpha is {self.alpha}; expected a positive number")
        unknown = [name for name in self.targets if name not in MATRICES]
        if unknown:
            raise InputError(
                f"lora.targets has {unknown[0]!r}, which cannot be adapted; expected some of "
                f"{', '.join(MATRICES)}"
            )
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise InputError(
                f"lora.targets is {self.targets}; expected at least one kernel, each once"
            )

    @property
    def scale(self) -> float:
        """What the product of A and B is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


def is_lora(name: str) -> bool:
    """Whether a leaf of this name (the last key of its path) is an A or a B."""
    return name.endswith((A, B))


def lora_mask(params: Params) -> Any:
    """The update mask of LoRA: True for A and B, False for all else, one bool per leaf.

    For `masks.compact`, under which nothing else has optimizer state, or `masks.freeze_outside`.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: is_lora(_last(path)), params)


def has_lora(params: Params) -> bool:
    """Whether there is an A or B among the parameters."""
    return any(jax.tree.leaves(lora_mask(params)))


def base_constant(params: Params) -> Params:
    """The parameters, with all but A and B cut off from differentiation."""

    def leaf(path: Any, x: Any) -> Any:
        return x if is_lora(_last(path)) else jax.lax.stop_gradient(x)

    return jax.tree_util.tree_map_with_path(leaf, params)


def initial_a(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """A [*inputs, rank], uniform up to 1/sqrt(inputs) either way: as in the reference code (Hu et
    al.) and PEFT.
    """
    bound = math.prod(shape[:-1]) ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def add_lora(params: Params, config: LoraConfig, key: PRNGKeyArray) -> Params:
    """Parameters with fresh A and B (float32, of little size) beside the kernels to be adapted.

    Args:
        params: of a transformer, as arrays or shapes; they are not copied.
        config: what to adapt.
        key: of A; B is zero.

    Raises:
        InputError: there are A and B already.
    """
    if has_lora(params):
        raise InputError("the parameters have LoRA matrices already; merge them first")
    layers = dict(params["layers"])
    for name, name_key in zip(MATRICES, jax.random.split(key, len(MATRICES)), strict=True):
        if name not in config.targets:
            continue
        count, *shape = layers[name].shape
        inputs, outputs = tuple(shape[: MATRICES[name]]), tuple(shape[MATRICES[name] :])
        keys = jax.random.split(name_key, count)
        make = jax.vmap(lambda k, shape=(*inputs, config.rank): initial_a(k, shape))
        layers[name + A] = make(keys)
        layers[name + B] = jnp.zeros((count, config.rank, *outputs), jnp.float32)
    return {**params, "layers": layers}


def without_lora(params: Params) -> Params:
    """The parameters of the base: A and B are dropped."""
    if not has_lora(params):
        return params
    layers = {name: leaf for name, leaf in params["layers"].items() if not is_lora(name)}
    return {**params, "layers": layers}


def merge_lora(params: Params, config: LoraConfig) -> Params:
    """The parameters of a model without LoRA that computes the same: W + scale A B for W.

    The sum is made in float32 and rounded once to the kernel's dtype. Into bfloat16 kernels most of
    a small update is lost: merge into float32 ones where that matters.

    Raises:
        InputError: A and B are not those of `config`.
    """
    return _combine(params, params, config, 1.0)


def unmerge_lora(merged: Params, params: Params, config: LoraConfig) -> Params:
    """The parameters with LoRA again, given merged ones: W - scale A B beside A and B.

    The kernels come back up to the roundings of both sums: in float32 to within one unit in the
    last place of the larger of kernel and update.

    Args:
        merged: what `merge_lora` gave.
        params: has the A and B that were merged (its kernels are not used).
        config: the same.
    """
    base = _combine(merged, params, config, -1.0)
    adapters = {name: leaf for name, leaf in params["layers"].items() if is_lora(name)}
    return {**base, "layers": {**base["layers"], **adapters}}


def _combine(kernels: Params, adapters: Params, config: LoraConfig, sign: float) -> Params:
    check_lora(adapters, config)
    layers = dict(without_lora(kernels)["layers"])
    for name in config.targets:
        a, b = adapters["layers"][name + A], adapters["layers"][name + B]
        layers[name] = _added(layers[name], a, b, sign * config.scale)
    return {**kernels, "layers": layers}


def check_lora(params: Params, config: LoraConfig) -> None:
    """Makes sure that the A and B among the parameters are those of `config`.

    Raises:
        InputError: one is missing, too many, or of another rank; names it.
    """
    layers = params["layers"]
    wanted = {name + end for name in config.targets for end in (A, B)}
    found = {name for name in layers if is_lora(name)}
    if wanted != found:
        name = sorted(wanted ^ found)[0]
        has = "lack" if name in wanted else "have"
        raise InputError(f"the parameters {has} layers/{name}, against lora.targets")
    for name in config.targets:
        rank = layers[name + A].shape[-1]
        if rank != config.rank:
            raise InputError(
                f"layers/{name}{A} has rank {rank}; lora.rank is {config.rank}: expected the same"
            )


@jax.jit
def _added(kernel: Array, a: Array, b: Array, scale: Any) -> Array:
    """kernel + scale A B, layer by layer, so that one product at a time is held."""

    def layer(parts: tuple[Array, Array, Array]) -> Array:
        w, a, b = parts
        product = jnp.tensordot(
            a.astype(jnp.float32), b.astype(jnp.float32), axes=1, precision="highest"
        )
        return (w.astype(jnp.float32) + scale * product).astype(w.dtype)

    return jax.lax.map(layer, (kernel, a, b))


def _last(path: Any) -> str:
    return jax.tree_util.keystr(path[-1:], simple=True)
