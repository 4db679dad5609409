"""Masks of the principal weights: those that a low-rank reconstruction makes large."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxreason.errors import InputError
from jaxreason.masks.forms import path_name
from jaxreason.masks.sources.checks import check_density, check_numbers
from jaxreason.masks.sources.magnitude import magnitude
from jaxreason.masks.sources.matrices import MatrixRule, as_matrices, matrix_axes
from jaxreason.masks.sources.selection import top_entries


def principal(params: Any, density: float, rank: int, *, matrices: MatrixRule = matrix_axes) -> Any:
    """The largest entries of each matrix's rank-k reconstruction (Zhu et al. 2025).

    arXiv:2511.08567: M_princ is the top share of |U_k S_k V_k^T|, U S V^T the singular value
    decomposition of the weights. Stacked layers are decomposed one at a time, in float32. What is
    no matrix is not in the mask.

    Args:
        params: tree of floating-point arrays.
        density: share of each matrix in the mask, in (0, 1].
        rank: k, at most the smaller side of every matrix.
        matrices: says which axes of a leaf are rows and columns; see `matrix_axes`.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: density, rank (naming the matrix); no matrix; a leaf that is not of finite
            floating-point numbers (named).

    >>> import jax.numpy as jnp
    >>> w = jnp.outer(jnp.array([3.0, 1.0]), jnp.array([1.0, 2.0]))
    >>> principal({"w": w}, 0.25, rank=1)["w"].tolist()
    [[False, True], [False, False]]
    """
    check_density(density)
    check_numbers(params)
    found = []

    def mask_of(path: Any, leaf: Any) -> Array:
        name = path_name(path)
        axes = matrices(name, leaf)
        if axes is None:
            return jnp.zeros_like(leaf, dtype=bool)
        stack, back = as_matrices(name, leaf, axes)
        if not 1 <= rank <= min(stack.shape[1:]):
            raise InputError(
                f"principal rank={rank!r}: {name} is a matrix of {stack.shape[1]} by "
                f"{stack.shape[2]}, expected 1 to {min(stack.shape[1:])}"
            )
        found.append(name)
        return back(_principal_entries(stack, density, rank))

    mask = jax.tree_util.tree_map_with_path(mask_of, params)
    if not found:
        raise InputError("the mask is empty: params has no matrix; give `matrices`")
    return mask


def low_rank_safe(
    params: Any,
    density: float,
    rank: int,
    *,
    principal_density: float | None = None,
    matrices: MatrixRule = matrix_axes,
) -> Any:
    """The "safe" mask of Zhu et al. 2025: small weights, and whatever is not principal.

    arXiv:2511.08567: M_low or not M_princ, in their experiments about 70 % of the weights with
    both shares at 50 %. What is no matrix is in the mask, since it is not principal.

    Args:
        params: tree of floating-point arrays.
        density: share of each leaf that counts as small, in (0, 1].
        rank: of the reconstruction; see `principal`.
        principal_density: share of each matrix that counts as principal; `density` if None.
        matrices: as for `principal`.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: as `principal`.
    """
    share = density if principal_density is None else principal_density
    large = principal(params, share, rank, matrices=matrices)
    small = magnitude(params, density, largest=False)
    return jax.tree.map(lambda low, high: low | ~high, small, large)


@partial(jax.jit, static_argnames=("density", "rank"))
def _principal_entries(stack: Array, density: float, rank: int) -> Array:
    """[stack, rows, columns] bool."""

    def entries_of(matrix: Array) -> Array:
        matrix = matrix.astype(jnp.float32)
        left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
        rebuilt = jnp.matmul(
            left[:, :rank] * values[:rank], right[:rank], precision=jax.lax.Precision.HIGHEST
        )
        return top_entries(jnp.abs(rebuilt), density)

    return jax.lax.map(entries_of, stack)
