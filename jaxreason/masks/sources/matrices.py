"""Which axes of a parameter make it a matrix, and which only stack matrices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxreason.errors import InputError


class MatrixAxes(NamedTuple):
    """Axes that are the rows and the columns of a matrix; the others stack matrices.

    Attributes:
        rows: axes of the inputs, as negative numbers from the last axis.
        columns: axes of the outputs, likewise.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]


MatrixRule = Callable[[str, Any], MatrixAxes | None]
"""`(path, leaf) -> axes`, None for what is no matrix; the path as in `layers/query`."""

_HEADS_OUT = MatrixAxes((-3,), (-2, -1))
_HEADS_IN = MatrixAxes((-3, -2), (-1,))
_PLAIN = MatrixAxes((-2,), (-1,))
_ATTENTION = {
    **dict.fromkeys(("query", "key", "value"), _HEADS_OUT),
    **dict.fromkeys(("output", "out"), _HEADS_IN),
}


def matrix_axes(path: str, leaf: Any) -> MatrixAxes | None:
    """The usual rule: names of attention projections, else the last two axes.

    Attention kernels with an axis for heads are [..., D, H, K] (`query`, `key`, `value`) and
    [..., H, K, D] (`output`, `out`), also where the leaf is called `kernel` below such a name.
    Axes before the matrix stack layers. Vectors, and leaves whose name ends in norm, bias or
    scale, are no matrices.
    """
    parts = path.split("/")
    name = parts[-2] if parts[-1] == "kernel" and len(parts) > 1 else parts[-1]
    if leaf.ndim < 2 or name.endswith(("norm", "bias", "scale")):
        return None
    if leaf.ndim >= 3 and name in _ATTENTION:
        return _ATTENTION[name]
    return _PLAIN


def as_matrices(path: str, leaf: Any, axes: MatrixAxes) -> tuple[Array, Callable[[Array], Array]]:
    """The leaf as a stack of matrices [stack, rows, columns], and the way back.

    Raises:
        InputError: an axis the leaf does not have, or one named twice.
    """
    order = [*axes.rows, *axes.columns]
    if any(not -leaf.ndim <= axis < 0 for axis in order) or len(set(order)) != len(order):
        raise InputError(
            f"matrix axes of {path} are {axes}: expected different negative axes of an array of "
            f"{leaf.ndim} dimensions"
        )
    stacked = [axis for axis in range(-leaf.ndim, 0) if axis not in order]
    order = [axis % leaf.ndim for axis in [*stacked, *order]]
    moved = jnp.transpose(leaf, order)
    kept = len(stacked)
    rows = kept + len(axes.rows)
    size = [1, 1, 1]
    for position, length in enumerate(moved.shape):
        size[0 if position < kept else 1 if position < rows else 2] *= length

    def back(matrices: Array) -> Array:
        return jnp.transpose(
            matrices.reshape(moved.shape), [order.index(a) for a in range(leaf.ndim)]
        )

    return moved.reshape(size), back
