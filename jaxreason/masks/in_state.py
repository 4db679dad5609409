"""Masks inside an optimizer's state: one array per parameter, at the parameter's own path.

The form is told by the dtype: bool (of the parameter's shape, or a scalar for the whole leaf),
uint8 (packed bits), int32 (flat positions). Bare arrays, so that partition rules and
`optax.tree_map_params` treat a mask like the parameter it belongs to.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.errors import InputError
from jaxreason.masks.forms import (
    IndexMask,
    PackedMask,
    check_not_empty,
    match,
    packed_shape,
    path_name,
    scatter,
    unpack,
)

MaskOrFunction = Any
"""A mask tree, or a function from the parameters to one, which `init` calls."""


def is_placeholder(params: Any) -> bool:
    """Whether `optax.tree_map_params` calls `init` to learn which leaves are like parameters."""
    return type(params).__name__ == "_ParamsPlaceholder"


def resolve(mask: MaskOrFunction, params: Any) -> Any:
    """The mask tree itself. Trees that can be called (Equinox modules) are trees, not functions."""
    is_function = callable(mask) and jax.tree_util.all_leaves([mask])
    return mask(params) if is_function else mask


def store(mask: MaskOrFunction, params: Any, allow_empty: bool) -> Any:
    """Arrays for the state, copied (a donated state must not take the caller's mask with it).

    Raises:
        InputError: the mask does not fit the parameters, or is empty.
    """
    if is_placeholder(params):
        return params
    triples, structure = match(resolve(mask, params), params)
    if not allow_empty:
        check_not_empty(found for _, found, _ in triples)
    return jax.tree.unflatten(structure, [_array(found, leaf) for _, found, leaf in triples])


def _array(found: Any, parameter: Any) -> jax.Array:
    if isinstance(found, IndexMask):
        indices = found.indices
        if indices.size == 0:  # checkpoints refuse arrays without entries
            indices = np.full(1, math.prod(found.shape))
        return jnp.array(indices, jnp.int32)
    packed = isinstance(found, PackedMask)
    array = found.bits if packed else found
    sharding = getattr(parameter, "sharding", None)
    traced = isinstance(array, jax.core.Tracer) or isinstance(parameter, jax.core.Tracer)
    if traced or np.ndim(array) == 0 or not isinstance(sharding, NamedSharding):
        return jnp.array(array)
    return jax.device_put(array, fitting(sharding, array.shape), may_alias=False)


def fitting(sharding: NamedSharding, shape: Sequence[int]) -> NamedSharding:
    """The layout of a parameter for its packed bits: axes that no longer divide are replicated."""
    entries: list[Any] = []
    for size, entry in zip(shape, sharding.spec, strict=False):
        axes = (entry,) if isinstance(entry, str) else (entry or ())
        ways = math.prod(sharding.mesh.shape[axis] for axis in axes)
        entries.append(entry if size % ways == 0 else None)
    return NamedSharding(sharding.mesh, PartitionSpec(*entries))


def active(stored: Any, shape: Sequence[int], name: str = "mask") -> jax.Array:
    """The bool array of one stored leaf.

    Raises:
        InputError: it was made for a parameter of another shape.
    """
    shape = tuple(shape)
    dtype, found = stored.dtype, tuple(np.shape(stored))
    if dtype == jnp.bool_ and found in ((), shape):
        return jnp.broadcast_to(stored, shape)
    if dtype == jnp.uint8 and found == packed_shape(shape):
        return unpack(jnp.asarray(stored), shape)
    if dtype == jnp.int32 and len(found) == 1:
        return scatter(jnp.asarray(stored), shape)
    raise InputError(
        f"{name}: the optimizer state holds a mask {dtype}{list(found)}, "
        f"which does not fit the shape {shape}"
    )


def map_active(function: Callable[[Any, jax.Array], Any], updates: Any, stored: Any) -> Any:
    """`function(update, active)` over all leaves; None stays None.

    Raises:
        InputError: updates and masks differ in structure or shape; the path is named.
    """

    def leaf(path: Any, update: Any, mask: Any) -> Any:
        if update is None:
            return None
        return function(update, active(mask, np.shape(update), path_name(path)))

    try:
        return jax.tree_util.tree_map_with_path(leaf, updates, stored, is_leaf=_is_none)
    except InputError:
        raise
    except ValueError as error:
        differing = sorted(_names(updates) ^ _names(stored))
        where = differing[0] if differing else "the containers"
        raise InputError(
            f"the updates differ in structure from the mask that init was given: see {where}"
        ) from error


def _is_none(node: Any) -> bool:
    return node is None


def _names(tree: Any) -> set[str]:
    return {path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]}


def read_mask(stored: Any, params: Any) -> Any:
    """A mask out of an optimizer's state, as bool arrays in the structure of `params`.

    Args:
        stored: the field of the state, such as `optax.tree_utils.tree_get(state, "mask")` or
            `tree_get(state, "ever_updated")`.
        params: the parameters, for their shapes.

    >>> import optax
    >>> from jaxreason.masks import freeze_outside, pack
    >>> params = {"w": jnp.arange(3.0)}
    >>> optimizer = freeze_outside(optax.sgd(0.1), {"w": pack(np.array([True, False, True]))})
    >>> state = optimizer.init(params)
    >>> read_mask(optax.tree_utils.tree_get(state, "mask"), params)["w"]
    Array([ True, False,  True], dtype=bool)
    """
    return map_active(lambda _, mask: mask, params, stored)
