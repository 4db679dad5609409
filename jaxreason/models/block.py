"""What a transformer is made of: RMSNorm, rotary embedding, and the block of one layer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from jaxreason.models.config import TransformerConfig
from jaxreason.models.projection import project
from jaxreason.sharding.mesh import ambient_platform


def rms_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], epsilon: float
) -> Float[Array, "... D"]:
    """RMSNorm (Zhang & Sennrich 2019) with float32 statistics; the result keeps x's dtype."""
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + epsilon)
    return (x32 * inverse * scale).astype(x.dtype)


def rope_frequencies(head_size: int, base: float) -> Float[Array, " K/2"]:
    """Radians per token by which each pair of features turns, the fastest first."""
    return base ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)


def rope_angles(
    positions: Int[Array, "B T"], head_size: int, base: float
) -> tuple[Float[Array, "B 1 T K/2"], Float[Array, "B 1 T K/2"]]:
    """Cosine and sine of the rotary angles (Su et al. 2021), one for each pair of features."""
    angles = positions[..., None].astype(jnp.float32) * rope_frequencies(head_size, base)
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    if ambient_platform() == "cpu":
        # The compiler would compute them again, number by number, in every loop that reads them
        # (a tenth of a small model's step). It does not fuse a matrix product into those loops.
        once = jnp.eye(head_size // 2)
        cosine = jnp.matmul(cosine, once, precision="highest")
        sine = jnp.matmul(sine, once, precision="highest")
    return cosine[:, None], sine[:, None]


def rotate(
    x: Float[Array, "B N T K"],
    cosine: Float[Array, "B 1 T K/2"],
    sine: Float[Array, "B 1 T K/2"],
) -> Float[Array, "B N T K"]:
    """Turn each pair (x_i, x_{i+K/2}) by its angle: halves as in Llama and Qwen2."""
    first, second = jnp.split(x, 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, each added to the residual stream."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        cosine: Float[Array, "B 1 T K/2"],
        sine: Float[Array, "B 1 T K/2"],
        attend_fn: Callable[[Array, Array, Array], tuple[Array, Any]],
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Returns the new residual stream and what `attend_fn(query, key, value)` kept."""
        c = self.config
        dtype = jnp.dtype(c.dtype)
        normal = nn.initializers.normal
        into, out = c.width**-0.5, (2 * c.layers) ** -0.5

        def weight(name: str, shape: tuple[int, ...], deviation: float) -> Array:
            return self.param(name, normal(deviation), shape, jnp.float32).astype(dtype)

        def heads_of(name: str, source: Array, heads: int) -> Array:
            kernel = weight(name, (c.width, heads, c.head_size), into)
            if source.shape[1] == 1:
                # For one token per row the compiler would turn the whole kernel around first.
                flat = source[:, 0] @ kernel.reshape(c.width, heads * c.head_size)
                result = flat.reshape(-1, heads, 1, c.head_size)
            else:
                result = jnp.einsum("btd,dhk->bhtk", source, kernel)
            if c.qkv_bias:
                zeros = nn.initializers.zeros
                bias = self.param(f"{name}_bias", zeros, (heads, c.head_size), jnp.float32)
                result = result + bias.astype(dtype)[:, None]
            return checkpoint_name(result, name)

        def norm(name: str, source: Array) -> Array:
            scale = self.param(name, nn.initializers.ones, (c.width,), jnp.float32)
            return rms_norm(source, scale, c.norm_epsilon)

        y = norm("attention_norm", x)
        query = rotate(heads_of("query", y, c.heads), cosine, sine)
        key = rotate(heads_of("key", y, c.kv_heads), cosine, sine)
        attended, kept = attend_fn(query, key, heads_of("value", y, c.kv_heads))
        attended = checkpoint_name(attended, "attended")
        kernel = weight(
            "output",
            (c.heads, c.head_size, c.width),
            out * (c.heads * c.head_size) ** -0.5,
        )
        x = x + jnp.einsum("bhtk,hkd->btd", attended, kernel)
        y = norm("mlp_norm", x)
        gate = checkpoint_name(project(y, weight("gate", (c.width, c.mlp_width), into)), "gate")
        up = checkpoint_name(project(y, weight("up", (c.width, c.mlp_width), into)), "up")
        down = weight("down", (c.mlp_width, c.width), out * c.mlp_width**-0.5)
        return x + project(jax.nn.silu(gate) * up, down), kept
