"""What a transformer is made of: RMSNorm and the block of one layer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from jaxreason.models import lora
from jaxreason.models.config import TransformerConfig
from jaxreason.models.projection import project
from jaxreason.models.rope import rotate


def rms_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], epsilon: float
) -> Float[Array, "... D"]:
    """RMSNorm (Zhang & Sennrich 2019) with float32 statistics; the result keeps x's dtype."""
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + epsilon)
    return (x32 * inverse * scale).astype(x.dtype)


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
            words = "btd,dr->btr btr,rhk->bhtk"
            result = self.adapted(name, result, words, source, c.width, heads, c.head_size)
            if c.qkv_bias:
                zeros = nn.initializers.zeros
                bias = self.param(f"{name}_bias", zeros, (heads, c.head_size), jnp.float32)
                result = result + bias.astype(dtype)[:, None]
            return checkpoint_name(result, name)

        def norm(name: str, source: Array, size: int) -> Array:
            scale = self.param(name, nn.initializers.ones, (size,), jnp.float32)
            return rms_norm(source, scale, c.norm_epsilon)

        def rotated(name: str, source: Array, heads: int) -> Array:
            x = heads_of(name, source, heads)
            return rotate(norm(f"{name}_norm", x, c.head_size) if c.qk_norm else x, cosine, sine)

        def biased(name: str, result: Array, wanted: bool) -> Array:
            if not wanted:
                return result
            shape = (result.shape[-1],)
            bias = self.param(f"{name}_bias", nn.initializers.zeros, shape, jnp.float32)
            return result + bias.astype(dtype)

        y = norm("attention_norm", x, c.width)
        query = rotated("query", y, c.heads)
        key = rotated("key", y, c.kv_heads)
        attended, kept = attend_fn(query, key, heads_of("value", y, c.kv_heads))
        attended = checkpoint_name(attended, "attended")
        kernel = weight(
            "output",
            (c.heads, c.head_size, c.width),
            out * (c.heads * c.head_size) ** -0.5,
        )
        joined = jnp.einsum("bhtk,hkd->btd", attended, kernel)
        words = "bhtk,hkr->btr btr,rd->btd"
        joined = self.adapted("output", joined, words, attended, c.heads, c.head_size, c.width)
        x = x + biased("output", joined, c.output_bias)
        y = norm("mlp_norm", x, c.width)
        words = "bti,ir->btr btr,ro->bto"

        def wide(name: str) -> Array:
            product = project(y, weight(name, (c.width, c.mlp_width), into))
            product = self.adapted(name, product, words, y, c.width, c.mlp_width)
            return checkpoint_name(biased(name, product, c.mlp_bias), name)

        gate, up = wide("gate"), wide("up")
        down = weight("down", (c.mlp_width, c.width), out * c.mlp_width**-0.5)
        y = jax.nn.silu(gate) * up
        product = self.adapted("down", project(y, down), words, y, c.mlp_width, c.width)
        return x + biased("down", product, c.mlp_bias), kept

    def adapted(self, name: str, result: Array, words: str, source: Array, *sizes: int) -> Array:
        """`result` and the low-rank update of one kernel, where LoRA is to adapt it.

        Args:
            name: of the kernel.
            result: the product of `source` and the kernel.
            words: einsum's, for `source` A and for what comes of it times B.
            source: the kernel's input.
            sizes: shape of the kernel.
        """
        c = self.config
        if c.lora is None or name not in c.lora.targets:
            return result
        inputs, outputs = sizes[: lora.MATRICES[name]], sizes[lora.MATRICES[name] :]
        zeros, rank, dtype = nn.initializers.zeros, c.lora.rank, result.dtype
        a = self.param(name + lora.A, lora.initial_a, (*inputs, rank), jnp.float32)
        b = self.param(name + lora.B, zeros, (rank, *outputs), jnp.float32)
        first, second = words.split()
        low = jnp.einsum(first, source, a.astype(dtype)) * jnp.asarray(c.lora.scale, dtype)
        return result + jnp.einsum(second, low, b.astype(dtype))
