"""Random masks that do not depend on how the parameters are laid out."""

import hashlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxreason.errors import InputError
from jaxreason.masks.forms import path_name
from jaxreason.masks.sources.checks import check_density, check_not_empty, entries
from jaxreason.masks.sources.selection import top_entries


def random_mask(key: Array, params: Any, density: float, *, exact: bool = False) -> Any:
    """Entries drawn independently, each with probability `density`.

    The draw of a leaf depends on the key, the leaf's path and its shape alone: not on the other
    leaves, the values, the sharding or the number of devices (with JAX's default, partitionable
    random numbers).

    Args:
        key: a PRNG key.
        params: tree of arrays or of `jax.ShapeDtypeStruct`; only paths and shapes matter.
        density: share of the entries in the mask, in (0, 1].
        exact: draw exactly `density * size` entries of each leaf, rounded, instead.

    Returns:
        A tree of bool arrays like params, sharded like them.

    Raises:
        InputError: density; nothing was drawn.

    >>> import jax, jax.numpy as jnp
    >>> mask = random_mask(jax.random.key(0), {"w": jnp.zeros((10, 10))}, 0.25, exact=True)
    >>> int(mask["w"].sum())
    25
    """
    return random_family(key, params, density, 1, exact=exact)[0]


def random_family(
    key: Array, params: Any, density: float, count: int, *, exact: bool = False
) -> list[Any]:
    """`count` random masks of which no two share an entry.

    Disjoint masks of 1 % are those of Adewuyi et al. 2026, arXiv:2602.01599. Member i is the same
    whatever `count` is, and member 0 is `random_mask` of the same key.

    Args:
        key: a PRNG key.
        params: tree of arrays or of `jax.ShapeDtypeStruct`.
        density: share of the entries in each mask; `count * density` is at most 1.
        count: number of masks.
        exact: as for `random_mask`.

    Returns:
        A list of trees of bool arrays like params.

    Raises:
        InputError: density, count; nothing was drawn for a member.
    """
    check_density(density)
    if count < 1 or count * density > 1 + 1e-9:
        raise InputError(
            f"random_family count={count!r}: expected 1 to {int(1 / density + 1e-9)} disjoint "
            f"masks of density {density!r}"
        )
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, bool), params)
    draw = jax.jit(partial(_bits, shapes), out_shardings=jax.tree.map(_sharding, params))
    bits = draw(key)
    pick = _exact_member if exact else _independent_member
    family = [pick(bits, density, number) for number in range(count)]
    for mask in family:
        check_not_empty(mask, f"density={density!r} drew no entry of the parameters")
    return family


def _sharding(leaf: Any) -> Any:
    """Where the leaf's draw should lie: like the leaf, if it says so."""
    if isinstance(leaf, jax.core.Tracer):
        return None
    return getattr(leaf, "sharding", None)


def _bits(shapes: Any, key: Array) -> Any:
    """32 random bits for every entry."""

    def draw(path: Any, leaf: Any) -> Array:
        digest = hashlib.sha256(path_name(path).encode()).digest()
        folded = key
        for start in (0, 4):
            folded = jax.random.fold_in(folded, int.from_bytes(digest[start : start + 4], "big"))
        return jax.random.bits(folded, leaf.shape, jnp.uint32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _independent_member(bits: Any, density: float, number: int) -> Any:
    """The entries whose bits fall into the member's share of [0, 2**32)."""
    first, end = (min(round(n * density * 2**32), 2**32) for n in (number, number + 1))
    if first == end:
        raise InputError(f"mask density={density!r}: expected at least 2**-32")
    return jax.tree.map(lambda b: (b >= np.uint32(first)) & (b <= np.uint32(end - 1)), bits)


def _exact_member(bits: Any, density: float, number: int) -> Any:
    """The entries whose bits have rank [number * n, (number + 1) * n) in their leaf."""

    def pick(leaf: Array) -> Array:
        n = entries(density, leaf.size)
        first, end = (min(m * n, leaf.size) for m in (number, number + 1))
        return _lowest(leaf, end) & ~_lowest(leaf, first)

    return jax.tree.map(pick, bits)


def _lowest(leaf: Array, count: int) -> Array:
    if count == 0:
        return jnp.zeros_like(leaf, dtype=bool)
    return top_entries(leaf, count / leaf.size, largest=False)
