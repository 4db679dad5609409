"""What a tree of arrays looks like and holds, small enough to be kept beside it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.sharding.rules import path_name


def structure(tree: Any) -> list[list[Any]]:
    """`[path, shape, dtype]` of every leaf (arrays or shapes), as plain JSON."""
    return [
        [path_name(path), list(leaf.shape), str(leaf.dtype)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def first_difference(saved: list[list[Any]], wanted: list[list[Any]]) -> str | None:
    """One sentence about the first leaf that differs, or None."""
    old = {name: (shape, dtype) for name, shape, dtype in saved}
    new = {name: (shape, dtype) for name, shape, dtype in wanted}
    for name, (shape, dtype) in new.items():
        if name not in old:
            return f"{name} {shape} {dtype} is not in the checkpoint"
        if old[name] != (shape, dtype):
            was_shape, was_dtype = old[name]
            return f"{name} is {was_shape} {was_dtype} in the checkpoint, {shape} {dtype} here"
    extra = next((name for name in old if name not in new), None)
    return None if extra is None else f"{extra} is in the checkpoint but not in this run"


def _leaf_sum(leaf: jax.Array) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        bits = leaf.astype(jnp.uint32)
    else:
        size = leaf.dtype.itemsize
        words = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[size]
        bits = jax.lax.bitcast_convert_type(leaf, words).astype(jnp.uint32)
    position = jnp.zeros(leaf.shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(leaf.ndim)):
        index = jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
        position = position + index * jnp.uint32(stride % 2**32)
        stride *= leaf.shape[axis]
    return jnp.sum(bits * (2 * position + 1), dtype=jnp.uint32)


def _sums(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([_leaf_sum(leaf) for leaf in leaves])


@functools.cache
def _summing(result: NamedSharding | None) -> Callable[[list[jax.Array]], jax.Array]:
    return jax.jit(_sums, out_shardings=result)


def fingerprint(tree: Any) -> list[int]:
    """One 32-bit number per leaf that changes whenever any one element of the leaf does.

    The bits of element i, as an unsigned integer, times 2 i + 1, summed modulo 2^32: odd factors
    are invertible, so no change of a single element goes unseen, and integer sums do not depend on
    how the array is split over devices. It is computed where the array lives; of arrays spread
    over processes, every process must ask, and all get it.
    """
    leaves = jax.tree.leaves(tree)
    spread = [getattr(leaf, "sharding", None) for leaf in leaves]
    mesh = next((x.mesh for x in spread if isinstance(x, NamedSharding)), None)
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return [int(x) for x in np.asarray(_summing(everywhere)(leaves))]
