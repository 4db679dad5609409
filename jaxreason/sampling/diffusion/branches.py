"""Rows with and without their prompt, for guidance, in one batch.

The two branches of a row are neighbours, so that on a mesh both are where the row is.
"""

import jax.numpy as jnp
from jaxtyping import Array


def together(conditional: Array, unconditional: Array) -> Array:
    """[2 B, ...] from two arrays [B, ...]."""
    both = jnp.stack([conditional, unconditional], axis=1)
    return both.reshape(-1, *conditional.shape[1:])


def apart(both: Array) -> tuple[Array, Array]:
    """What `together` was given."""
    pairs = both.reshape(-1, 2, *both.shape[1:])
    return pairs[:, 0], pairs[:, 1]
