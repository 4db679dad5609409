"""What every source asks of its arguments, and named leaves."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.errors import InputError
from jaxreason.masks.forms import path_name


def named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """(name, leaf) of every leaf, in the tree's order."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield path_name(path), leaf


def check_density(density: float) -> None:
    """Refuse what is not a share of the entries.

    Raises:
        InputError: outside (0, 1].
    """
    if not 0 < density <= 1:  # also refuses NaN
        raise InputError(f"mask density={density!r}: expected a number in (0, 1]")


def entries(density: float, size: int) -> int:
    """`density * size` rounded to the nearest whole number, halves upwards."""
    return min(math.floor(density * size + 0.5), size)


def check_scope(scope: str) -> None:
    """Refuse anything but "leaf" and "global".

    Raises:
        InputError: unknown scope.
    """
    if scope not in ("leaf", "global"):
        raise InputError(f"mask scope={scope!r}: expected leaf or global")


def check_numbers(tree: Any, field: str = "params") -> None:
    """Refuse trees that no mask can be drawn from.

    Tracers and abstract leaves (`jax.ShapeDtypeStruct`) pass without a look at their values.

    Raises:
        InputError: no leaves; a leaf that is not of floating-point numbers, not finite, or of 64
            bits while JAX computes in 32 (named).
    """
    leaves = list(named_leaves(tree))
    if not leaves:
        raise InputError(f"{field} has no leaves: expected a tree of arrays")
    concrete = []
    for name, leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(
                f"{field} {name} is {dtype or type(leaf).__name__}: expected floating-point numbers"
            )
        if jnp.finfo(dtype).bits == 64 and not jax.config.read("jax_enable_x64"):
            raise InputError(
                f"{field} {name} is float64, which JAX would round to float32: cast it first or "
                "set jax_enable_x64"
            )
        if not isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct):
            concrete.append((name, leaf))
    finite = _all_finite([leaf for _, leaf in concrete])
    for (name, _), good in zip(concrete, finite, strict=True):
        if not good:
            raise InputError(f"{field} {name} has NaN or infinite entries: expected finite numbers")


@jax.jit
def _all_finite(leaves: list[Any]) -> list[jax.Array]:
    return [jnp.isfinite(leaf).all() for leaf in leaves]


def check_not_empty(mask: Any, why: str) -> None:
    """Refuse a mask without any active entry; tracers pass.

    Raises:
        InputError: nothing is active; `why` ends the sentence.
    """
    leaves = jax.tree.leaves(mask)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return
    if not any(bool(leaf.any()) for leaf in leaves):
        raise InputError(f"the mask is empty: {why}")


def check_same_shapes(first: Any, second: Any, names: tuple[str, str]) -> None:
    """Refuse two trees that do not match leaf by leaf.

    Args:
        first: a tree of arrays.
        second: another.
        names: what the two are called in the message.

    Raises:
        InputError: a leaf that only one of them has, or whose shapes differ (named).
    """
    shapes = [{name: leaf.shape for name, leaf in named_leaves(tree)} for tree in (first, second)]
    for here, there, has, lacks in (
        (shapes[0], shapes[1], names[0], names[1]),
        (shapes[1], shapes[0], names[1], names[0]),
    ):
        only = next((name for name in here if name not in there), None)
        if only is not None:
            raise InputError(f"{only} is in {has} but not in {lacks}: expected the same tree")
    for name, shape in shapes[0].items():
        if shape != shapes[1][name]:
            raise InputError(
                f"{name} has shape {shape} in {names[0]} but {shapes[1][name]} in {names[1]}"
            )
    structures: list[Any] = [jax.tree.structure(tree) for tree in (first, second)]
    if structures[0] != structures[1]:
        raise InputError(
            f"{names[0]} and {names[1]} have the same leaves in different containers: expected "
            "the same tree"
        )
