"""The compact forms of a mask's leaf, and the checks every leaf passes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError


@partial(jax.tree_util.register_dataclass, data_fields=["bits"], meta_fields=["shape"])
@dataclass(frozen=True)
class PackedMask:
    """One bit per entry, packed along the last axis so that the other axes shard as before.

    Attributes:
        bits: [..., ceil(last / 8)] uint8, first entry in the lowest bit, padded with zeros;
            [1] for a scalar parameter.
        shape: of the parameter.
    """

    bits: Any
    shape: tuple[int, ...]


@partial(jax.tree_util.register_dataclass, data_fields=["indices"], meta_fields=["shape"])
@dataclass(frozen=True)
class IndexMask:
    """The flat (row-major) positions of the active entries.

    Attributes:
        indices: [n] int32, ascending, each at most once. A position equal to the number of entries
            is padding and ignored.
        shape: of the parameter; fewer than 2**31 entries.
    """

    indices: Any
    shape: tuple[int, ...]


def is_mask_leaf(node: Any) -> bool:
    """Whether `node` is a leaf of a mask tree, for `is_leaf=` of `jax.tree.map`."""
    return isinstance(node, PackedMask | IndexMask)


def packed_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the bits of a parameter of this shape."""
    *rows, last = tuple(shape) or (1,)
    return (*rows, -(-last // 8))


def check_leaf(mask: Any, shape: Sequence[int] | None, name: str) -> None:
    """Refuse what is no mask of a parameter of this shape.

    Raises:
        InputError: names the place, what is there and what was expected.
    """
    if isinstance(mask, bool | np.bool_):
        return
    if not isinstance(mask, PackedMask | IndexMask):
        dtype = getattr(mask, "dtype", None)
        if dtype is None:
            raise InputError(f"{name} is {mask!r}: expected True, False or a bool array")
        if not jnp.issubdtype(dtype, jnp.bool_):
            values = concrete(mask)
            nan = values is not None and bool((values != values).any())
            raise InputError(
                f"{name} has dtype {dtype}{' and holds NaN' if nan else ''}: expected bool"
            )
        if shape is not None and np.ndim(mask) and tuple(np.shape(mask)) != tuple(shape):
            raise InputError(f"{name} has shape {np.shape(mask)}: expected {tuple(shape)}")
        return
    if shape is not None and mask.shape != tuple(shape):
        raise InputError(f"{name} is a mask of shape {mask.shape}: expected {tuple(shape)}")
    if isinstance(mask, PackedMask):
        good = mask.bits.dtype == jnp.uint8 and mask.bits.shape == packed_shape(mask.shape)
        if not good:
            raise InputError(
                f"{name} has bits {mask.bits.dtype}{list(mask.bits.shape)}: expected "
                f"uint8{list(packed_shape(mask.shape))} for shape {mask.shape}, as pack makes them"
            )
    else:
        _check_indices(mask, name)


def _check_indices(mask: IndexMask, name: str) -> None:
    indices = mask.indices
    if indices.ndim != 1 or not jnp.issubdtype(indices.dtype, jnp.integer):
        raise InputError(
            f"{name} has indices {indices.dtype}{list(indices.shape)}: expected int32[n], "
            "as to_indices makes them"
        )
    known = concrete(indices)
    if known is not None and known.size:
        low, high = int(known.min()), int(known.max())
        if low < 0 or high > math.prod(mask.shape):
            wrong = low if low < 0 else high
            raise InputError(f"{name}: index {wrong} is outside of shape {mask.shape}")
        # Only the padding behind the last entry may repeat.
        steps = np.diff(known[: np.searchsorted(known, math.prod(mask.shape)) + 1])
        if (np.diff(known) < 0).any() or (steps <= 0).any():
            raise InputError(f"{name}: indices must rise, each once, as to_indices makes them")


def concrete(array: Any) -> np.ndarray | None:
    """The values of an array that this process holds, also inside a trace; else None."""
    if isinstance(array, jax.core.Tracer) or not hasattr(array, "dtype"):
        return None
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return None
    return np.asarray(array)


def any_active(mask: Any) -> bool | None:
    """Whether a leaf of any form has an active entry; None if only the device knows."""
    if isinstance(mask, bool | np.bool_):
        return bool(mask)
    if isinstance(mask, IndexMask):
        known = concrete(mask.indices)
        return None if known is None else bool((known < math.prod(mask.shape)).any())
    known = concrete(mask.bits if isinstance(mask, PackedMask) else mask)
    return None if known is None else bool(known.any())
