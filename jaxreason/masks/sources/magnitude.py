"""Masks of the largest or smallest weights."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.masks.sources.checks import check_numbers
from jaxreason.masks.sources.selection import top_entries


def magnitude(params: Any, density: float, *, largest: bool = True, scope: str = "leaf") -> Any:
    """The entries of largest, or smallest, absolute value.

    The number of entries is exact; among equal weights the earlier position wins. Works under
    `jit`, on sharded parameters, and for any number of entries.

    Args:
        params: tree of floating-point arrays.
        density: share of the entries in the mask, in (0, 1].
        largest: False takes the smallest weights: the low-magnitude mask of Zhu et al. 2025,
            arXiv:2511.08567.
        scope: "leaf" takes this share of every leaf, "global" of all entries together.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: density, scope; a leaf that is not of finite floating-point numbers (named).

    >>> import jax.numpy as jnp
    >>> magnitude({"w": jnp.array([3.0, -4.0, 0.5, 1.0])}, 0.5)["w"].tolist()
    [True, True, False, False]
    """
    check_numbers(params)
    sizes = jax.tree.map(jnp.abs, params)
    return top_entries(sizes, density, scope=scope, largest=largest)
