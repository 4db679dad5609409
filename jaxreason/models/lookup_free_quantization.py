"""Lookup-free quantisation: every channel of a latent gives one bit of the code.

Source: Yu et al. 2023 (arXiv:2310.05737), with the losses of the MAGVIT-v2 tokenizer in
Gen-Verse/MMaDA (`models/modeling_magvitv2.py`, LFQuantizer).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def signs(z: Float[Array, "*N K"]) -> Float[Array, "*N K"]:
    """+1 where z is positive, else -1: a zero is -1."""
    return jnp.where(z > 0, 1.0, -1.0).astype(z.dtype)


def straight_through(z: Float[Array, "*N K"]) -> Float[Array, "*N K"]:
    """`signs(z)`, exactly, with the gradient of z itself."""
    return jax.lax.stop_gradient(signs(z)) + (z - jax.lax.stop_gradient(z))


def codes_of(z: Float[Array, "*N K"]) -> Int[Array, "*N"]:
    """int32 codes 0..2^K - 1; channel 0 is the most significant bit."""
    bits = z.shape[-1]
    powers = 2 ** jnp.arange(bits - 1, -1, -1, dtype=jnp.int32)
    return jnp.sum(jnp.where(z > 0, powers, 0), axis=-1, dtype=jnp.int32)


def signs_of_codes(codes: Int[Array, "*N"], bits: int) -> Float[Array, "*N K"]:
    """The +1 and -1 of each code, float32, channel 0 from the most significant bit."""
    shifts = jnp.arange(bits - 1, -1, -1, dtype=jnp.int32)
    return ((codes[..., None] >> shifts) & 1).astype(jnp.float32) * 2 - 1


def commitment(z: Float[Array, "*N K"], beta: float = 0.25) -> Float[Array, ""]:
    """Mean squared distance of z to its signs, plus beta times the same seen from the signs.

    The second term's gradient reaches z straight through the signs and points away from them, as
    in the reference; the value is (1 + beta) times the mean square.
    """
    quantised = straight_through(z)
    towards = jnp.mean(jnp.square(jax.lax.stop_gradient(quantised) - z))
    back = jnp.mean(jnp.square(quantised - jax.lax.stop_gradient(z)))
    return towards + beta * back


def bit_entropy(z: Float[Array, "*N K"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How undecided single bits are, and how evenly each bit is used, in nats.

    The probability of +1 is that of two classes with logits -(z - 1)^2 and -(z + 1)^2.

    Returns:
        Mean entropy of the bits, and mean over the channels of the entropy of a bit's mean
        probability; the loss is their difference.
    """
    flat = z.reshape(-1, z.shape[-1])
    # The difference of the two logits.
    probability = jax.nn.sigmoid(4 * flat)
    each = jax.nn.softplus(4 * flat) - 4 * flat * probability
    # Kept off 0 and 1, where the gradient is infinite; by as much as torch's distributions do.
    smallest = jnp.finfo(probability.dtype).eps
    mean = jnp.clip(jnp.mean(probability, axis=0), smallest, 1 - smallest)
    used = -(mean * jnp.log(mean) + (1 - mean) * jnp.log1p(-mean))
    return jnp.mean(each), jnp.mean(used)


def code_entropy(z: Float[Array, "*N K"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How undecided single codes are, and how evenly the codebook is used, in nats.

    The entropies of Yu et al. 2023 (section 3.1), over whole codes: unlike `bit_entropy` they tell
    bits that always agree from bits that say different things. Needs [N, 2^K] numbers.

    Returns:
        Mean entropy of a code, and entropy of the mean probabilities of the codes.
    """
    flat = z.reshape(-1, z.shape[-1])
    bits = signs_of_codes(jnp.arange(2 ** z.shape[-1]), z.shape[-1])
    # Bits are independent given z; a bit's logits are those of `bit_entropy`.
    logs = jax.nn.log_sigmoid(4 * flat[:, None] * bits).sum(-1)
    each = jnp.mean(-jnp.sum(jnp.exp(logs) * logs, axis=-1))
    mean = jnp.maximum(jnp.mean(jnp.exp(logs), axis=0), jnp.finfo(logs.dtype).tiny)
    return each, -jnp.sum(mean * jnp.log(mean))
