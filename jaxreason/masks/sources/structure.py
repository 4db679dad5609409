"""Masks of whole parts of a model: by path, by layer, by type of matrix."""

import re
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxreason.errors import InputError
from jaxreason.masks.forms import path_name
from jaxreason.masks.sources.checks import named_leaves

MATRIX_TYPES: dict[str, str] = {
    "query": r"(query|q_proj|wq)",
    "key": r"(key|k_proj|wk)",
    "value": r"(value|v_proj|wv)",
    "output": r"(output|out|o_proj|wo)",
    "gate": r"(gate|gate_proj)",
    "up": r"(up|up_proj)",
    "down": r"(down|down_proj)",
    "embedding": r"(embedding|embed|embed_tokens|wte)",
    "head": r"(head|lm_head)",
    "norm": r"\w*norm\w*",
    "bias": r"(\w+_)?bias",
}
"""Type to the name of a leaf, or of what its `kernel`, `weight`, `scale` or `embedding` is in."""

_INNER = ("kernel", "weight", "scale", "embedding")


def by_path(params: Any, pattern: str) -> Any:
    """The leaves whose path the regular expression is found in.

    Args:
        params: tree of arrays or of `jax.ShapeDtypeStruct`.
        pattern: searched in paths such as `layers/query`; `^` and `$` anchor it.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: not a regular expression; no path matches (some paths are listed).

    >>> import jax.numpy as jnp
    >>> by_path({"up": jnp.zeros(2), "down": jnp.zeros(1)}, "^up$")["up"].tolist()
    [True, True]
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"mask pattern={pattern!r} is no regular expression: {error}") from error
    return _whole_leaves(params, lambda name: bool(expression.search(name)), f"pattern={pattern!r}")


def by_matrix(params: Any, types: str | Collection[str]) -> Any:
    """The leaves of the given types, in all layers.

    Args:
        params: tree of arrays or of `jax.ShapeDtypeStruct`.
        types: keys of `MATRIX_TYPES`, such as "query" or ("gate", "up", "down"). Each leaf has
            one type: the biases and norms of a projection are not of its type.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: unknown type; params has no leaf of it.
    """
    wanted = {types} if isinstance(types, str) else set(types)
    unknown = sorted(wanted - MATRIX_TYPES.keys())
    if unknown or not wanted:
        raise InputError(f"matrix types={unknown!r}: expected some of {', '.join(MATRIX_TYPES)}")
    for name in sorted(wanted):
        if not any(matrix_type(path) == name for path, _ in named_leaves(params)):
            raise InputError(f"the mask is empty: params has no leaf of type {name}")
    return _whole_leaves(params, lambda path: matrix_type(path) in wanted, f"types={types!r}")


def matrix_type(path: str) -> str | None:
    """The type in `MATRIX_TYPES` of the leaf at this path, None if it has none."""
    parts = path.replace(".", "/").split("/")
    name = parts[-2] if parts[-1] in _INNER and len(parts) > 1 else parts[-1]
    # Norms and biases first: their names may hold that of a projection.
    for kind in ("norm", "bias", *MATRIX_TYPES):
        if re.fullmatch(MATRIX_TYPES[kind], name):
            return kind
    return "embedding" if parts[-1] == "embedding" else None


def by_layer(params: Any, layers: int | Collection[int], *, stack: str = "layers") -> Any:
    """The given layers.

    Layers may be stacked on axis 0 of the leaves below `stack` (`layers/query`), or be numbered in
    the path (`layers/3/query`, `layers_3/query`).

    Args:
        params: tree of arrays or of `jax.ShapeDtypeStruct`.
        layers: numbers, from 0.
        stack: the name of the part that holds the layers.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: no layer given; a layer that params does not have.
    """
    wanted = {layers} if isinstance(layers, int) else set(layers)
    numbered = re.compile(rf"(?:^|/){re.escape(stack)}[/_](\d+)(?:/|$)")
    stacked = re.compile(rf"(?:^|/){re.escape(stack)}/")
    had: set[int] = set()

    def mask_of(path: Any, leaf: Any) -> Array:
        name = path_name(path)
        if match := numbered.search(name):
            had.add(int(match[1]))
            return jnp.full(leaf.shape, int(match[1]) in wanted)
        if stacked.search(name) and leaf.ndim:
            had.update(range(leaf.shape[0]))
            rows = jnp.asarray([number in wanted for number in range(leaf.shape[0])])
            return jnp.broadcast_to(rows.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape)
        return jnp.zeros(leaf.shape, bool)

    mask = jax.tree_util.tree_map_with_path(mask_of, params)
    if not wanted or wanted - had:
        raise InputError(
            f"mask layers={sorted(wanted)}: expected some of {sorted(had)}, the layers below "
            f"{stack!r}"
        )
    return mask


def _whole_leaves(params: Any, chosen: Callable[[str], bool], what: str) -> Any:
    names = [name for name, _ in named_leaves(params)]
    if not any(chosen(name) for name in names):
        raise InputError(
            f"the mask is empty: {what} matches no leaf; there are {', '.join(names[:8])}"
            f"{' ...' if len(names) > 8 else ''}"
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, chosen(path_name(path))), params
    )
