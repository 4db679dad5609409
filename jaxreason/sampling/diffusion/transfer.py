"""How many, and which, masked tokens a denoising step keeps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def transfer_count(
    masked: Int[Array, " R"] | int, steps: int, step: Int[Array, ""] | int
) -> Int[Array, " R"]:
    """Tokens to keep at one of `steps` steps over `masked` tokens.

    masked // steps each, and one more at the first masked % steps steps
    (github.com/ML-GSAI/LLaDA, `get_num_transfer_tokens`): 10 over 4 steps is 3, 3, 2, 2.

    Args:
        masked: [R] tokens that were masked before the first step.
        steps: number of steps.
        step: from 0.
    """
    masked = jnp.asarray(masked)
    return masked // steps + (step < masked % steps)


def select(
    confidence: Float[Array, "R b"],
    eligible: Bool[Array, "R b"],
    count: Int[Array, " R"],
    most: int,
    least_confidence: float | None = None,
) -> Bool[Array, "R b"]:
    """The eligible places of highest confidence, and all above a threshold.

    Args:
        confidence: [R, b] finite.
        eligible: [R, b] places that may be selected.
        count: [R] how many at least, as far as there are so many.
        most: static upper bound of `count`.
        least_confidence: select every eligible place of at least this confidence too.

    Returns:
        [R, b]; of equally confident places the first are selected.
    """
    ranked = jnp.where(eligible, confidence, -jnp.inf)
    _, index = jax.lax.top_k(ranked, most)
    taken = jnp.arange(most) < count[:, None]
    places = jnp.arange(confidence.shape[1])
    selected = jnp.any((index[:, :, None] == places) & taken[:, :, None], axis=1)
    if least_confidence is not None:
        selected = selected | (confidence >= least_confidence)
    return selected & eligible
