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

        def rotated(name: str, source: Array, heads: int) -> Array:
            x = self.heads_of(name, source, heads)
            return rotate(self.norm(f"{name}_norm", x) if c.qk_norm else x, cosine, sine)

        y = self.norm("attention_norm", x)
        query = rotated("query", y, c.heads)
        key = rotated("key", y, c.kv_heads)
        attended, kept = attend_fn(query, key, self.heads_of("value", y, c.kv_heads))
        attended = checkpoint_name(attended, "attended")
        shape = (c.heads, c.head_size, c.width)
        kernel = self.weight("output", shape, (2 * c.layers * c.heads * c.head_size) ** -0.5)
        joined = jnp.einsum("bhtk,hkd->btd", attended, kernel)
        words = "bhtk,hkr->btr btr,rd->btd"
        joined = self.adapted("output", joined, words, attended, *shape)
        x = x + self.biased("output", joined, c.output_bias)
        y = self.norm("mlp_norm", x)
        gate = checkpoint_name(self.projected("gate", y, c.mlp_width, c.width**-0.5), "gate")
        up = checkpoint_name(self.projected("up", y, c.mlp_width, c.width**-0.5), "up")
        y, deviation = jax.nn.silu(gate) * up, (2 * c.layers * c.mlp_width) ** -0.5
        return x + self.projected("down", y, c.width, deviation), kept

    def weight(self, name: str, shape: tuple[int, ...], deviation: float) -> Array:
        """A kernel in the compute dtype."""
        kernel = self.param(name, nn.initializers.normal(deviation), shape, jnp.float32)
        return kernel.astype(self.config.dtype)

    def norm(self, name: str, source: Array) -> Array:
        """RMSNorm with a scale of its own."""
        scale = self.param(name, nn.initializers.ones, source.shape[-1:], jnp.float32)
        return rms_norm(source, scale, self.config.norm_epsilon)

    def biased(self, name: str, result: Array, wanted: bool) -> Array:
        """A product and its bias, if it has one."""
        if not wanted:
            return result
        shape = result.shape[-1:]
        bias = self.param(f"{name}_bias", nn.initializers.zeros, shape, jnp.float32)
        return result + bias.astype(result.dtype)

    def heads_of(self, name: str, source: Array, heads: int) -> Array:
        """Queries, keys or values [B, heads, T, K]."""
        c = self.config
        kernel = self.weight(name, (c.width, heads, c.head_size), c.width**-0.5)
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
            result = result + bias.astype(result.dtype)[:, None]
        return checkpoint_name(result, name)

    def projected(self, name: str, source: Array, outputs: int, deviation: float) -> Array:
        """One of the three products of the SwiGLU."""
        c, inputs = self.config, source.shape[-1]
        product = project(source, self.weight(name, (inputs, outputs), deviation))
        words = "bti,ir->btr btr,ro->bto"
        product = self.adapted(name, product, words, source, inputs, outputs)
        return self.biased(name, product, c.mlp_bias)

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
