"""Matrix product of activations with a weight, with a backward pass that is cheap on CPUs."""

import jax
from jaxtyping import Array, Float

from jaxreason.sharding.mesh import ways_over


@jax.custom_vjp
def project(x: Float[Array, "*N I"], weight: Float[Array, "I O"]) -> Float[Array, "*N O"]:
    """`x @ weight`; not for forward-mode differentiation of `x` or `weight` themselves.

    The weight's gradient sums over all rows, for which XLA's CPU compiler writes out a transposed
    copy of the product's left operand. JAX's own rule puts the wide side of the MLP there; here
    it is the narrow one.
    """
    return x @ weight


def _forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weight, (x, weight)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, weight = saved
    if weight.shape[0] <= weight.shape[1]:
        weight_gradient = _over_rows(x, gradient)
    else:
        weight_gradient = _over_rows(gradient, x).T
    return gradient @ weight.T, weight_gradient


def _over_rows(x: Float[Array, "*N I"], y: Float[Array, "*N O"]) -> Float[Array, "I O"]:
    """Sum of outer products over all rows."""
    if ways_over("sequence") > 1:
        # Rows of batch and length made one axis cannot be split over both: each device would get
        # whole sequences first.
        rows = tuple(range(x.ndim - 1))
        return jax.lax.dot_general(x, y, ((rows, rows), ((), ())))
    return x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1])


project.defvjp(_forward, _backward)
