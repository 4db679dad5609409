"""Restricting a next-token distribution: temperature, top-k, top-p."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def truncate(
    logits: Float[Array, "... V"], temperature: float, top_k: int | None, top_p: float | None
) -> Float[Array, "... V"]:
    """Logits to sample from: divided by the temperature, then cut to the top-k, then the top-p.

    Cut tokens get minus infinity. Tokens that tie with the last one kept are kept too, so the
    result does not depend on the order of the vocabulary.

    Args:
        logits: [..., V] float32.
        temperature: above 0.
        top_k: keep the k most likely tokens; None keeps all.
        top_p: nucleus (Holtzman et al. 2020): keep the smallest set of most likely tokens whose
            probabilities, after temperature and top-k, sum to at least this; None keeps all.
    """
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    if top_p is not None and top_p < 1:
        falling = -jnp.sort(-logits, axis=-1)
        probabilities = jax.nn.softmax(falling, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        least = jnp.min(jnp.where(before < top_p, falling, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    return logits
