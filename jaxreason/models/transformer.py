"""One transformer for every experiment: RMSNorm, RoPE, SwiGLU, grouped-query attention.

The same shape as Llama and Qwen2 (Qwen2 adds biases to queries, keys and values), causal or
bidirectional. Parameters are nested dicts; the layers are stacked on axis 0 and scanned over, so
compile time does not grow with depth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.attention import AttentionSpec, Kind, attend, visible
from jaxreason.models.backends import BACKENDS, Backend, attend_fn, choose
from jaxreason.models.projection import project
from jaxreason.sharding.mesh import BATCH_AXES, constrain
from jaxreason.types import Params

Remat = Literal["none", "dots", "names", "full"]


@dataclass(frozen=True)
class TransformerConfig:
    """Shape and numerics of a transformer.

    Attributes:
        vocabulary_size: V, number of token ids; 0 leaves it to the data, see `MazeExperiment`.
        layers: number of blocks.
        width: D, size of the residual stream.
        heads: H, query heads.
        kv_heads: G, key-value heads; divides `heads`.
        head_size: K, size of one head (even).
        mlp_width: F, inner size of the SwiGLU.
        qkv_bias: biases on queries, keys and values (Qwen2).
        tied: the output head is the embedding table.
        attention: the default attention kind.
        rope_base: base of the rotary frequencies.
        norm_epsilon: added to the mean square in RMSNorm.
        dtype: compute dtype inside a block; parameters, norms, softmax and logits stay float32.
        remat: what the backward pass keeps: everything (`none`), matrix products (`dots`), the
            named tensors of each block (`names`), only block inputs (`full`).
        unroll: blocks unrolled per scan iteration; `layers` unrolls all.
        backend: attention kernel, see `jaxreason.models.backends`.

    Raises:
        InputError: a size that does not fit the others.
    """

    vocabulary_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    qkv_bias: bool = False
    tied: bool = True
    attention: Kind = "causal"
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Remat = "none"
    unroll: int = 1
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "kv_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise InputError(
                f"model.kv_heads {self.kv_heads} does not divide model.heads {self.heads}"
            )
        if self.head_size < 2 or self.head_size % 2:
            raise InputError(
                f"model.head_size is {self.head_size}; rotary embedding needs an even size"
            )
        if self.backend not in BACKENDS:
            raise InputError(f"model.backend {self.backend!r} is unknown; expected {BACKENDS}")
        if not 1 <= self.unroll <= self.layers:
            raise InputError(
                f"model.unroll is {self.unroll}; expected 1 to model.layers ({self.layers})"
            )


class Cache(NamedTuple):
    """Keys and values of the tokens seen so far.

    Attributes:
        key: [L, B, G, S, K] in the compute dtype, rotated; one head's keys lie together, so that
            a decoding step reads them in one sweep.
        value: [L, B, G, S, K].
        valid: [B, S] bool, False for padding and for slots not written yet.
        filled: [] int32, the next slot to write; the same for all rows.
    """

    key: Float[Array, "L B G S K"]
    value: Float[Array, "L B G S K"]
    valid: Bool[Array, "B S"]
    filled: Int[Array, ""]


def rms_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], epsilon: float
) -> Float[Array, "... D"]:
    """RMSNorm (Zhang & Sennrich 2019) with float32 statistics; the result keeps x's dtype."""
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + epsilon)
    return (x32 * inverse * scale).astype(x.dtype)


def rope_angles(
    positions: Int[Array, "B T"], head_size: int, base: float
) -> tuple[Float[Array, "B 1 T K"], Float[Array, "B 1 T K"]]:
    """Cosine and sine of the rotary angles (Su et al. 2021), halves as in Llama and Qwen2."""
    frequencies = base ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    angles = jnp.concatenate([angles, angles], axis=-1)[:, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "B N T K"], cosine: Float[Array, "B 1 T K"], sine: Float[Array, "B 1 T K"]
) -> Float[Array, "B N T K"]:
    """Turn each pair (x_i, x_{i+K/2}) by its angle."""
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    return (x * cosine + turned * sine).astype(x.dtype)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, each added to the residual stream."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        cosine: Float[Array, "B 1 T K"],
        sine: Float[Array, "B 1 T K"],
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


_POLICIES: dict[str, Any] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "names": jax.checkpoint_policies.save_only_these_names(
        "query", "key", "value", "attended", "gate", "up"
    ),
    "full": None,
}


@dataclass(frozen=True)
class Transformer:
    """A transformer as pure functions of its parameters.

    Attributes:
        config: shape and numerics.
    """

    config: TransformerConfig

    def init(self, key: PRNGKeyArray) -> Params:
        """Random float32 parameters: `{embedding, layers, final_norm[, head]}`.

        Matrices are normal with deviation 1/sqrt(inputs), those that write into the residual
        stream divided by sqrt(2 layers) (GPT-2); the embedding has deviation 0.02.
        """
        c = self.config
        if c.vocabulary_size < 1:
            raise InputError(f"model.vocabulary_size is {c.vocabulary_size}; it must be at least 1")
        embedding_key, layers_key, head_key = jax.random.split(key, 3)
        x = jnp.zeros((1, 1, c.width))
        angles = jnp.zeros((1, 1, 1, c.head_size))

        def init_block(block_key: PRNGKeyArray) -> Params:
            variables = Block(c).init(block_key, x, angles, angles, lambda q, k, v: (q, None))
            return variables["params"]

        params = {
            "embedding": 0.02 * jax.random.normal(embedding_key, (c.vocabulary_size, c.width)),
            "layers": jax.vmap(init_block)(jax.random.split(layers_key, c.layers)),
            "final_norm": jnp.ones((c.width,)),
        }
        if not c.tied:
            shape = (c.width, c.vocabulary_size)
            params["head"] = c.width**-0.5 * jax.random.normal(head_key, shape)
        return params

    def init_cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for `batch` rows of up to `capacity` tokens."""
        c = self.config
        shape = (c.layers, batch, c.kv_heads, capacity, c.head_size)
        zeros = jnp.zeros(shape, c.dtype)
        return Cache(zeros, zeros, jnp.zeros((batch, capacity), bool), jnp.zeros((), jnp.int32))

    def apply(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        attention: AttentionSpec | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Hidden states after the last norm, ready for `unembed`.

        Args:
            params: as `init` makes them.
            tokens: [B, T] int32.
            positions: [B, T] int32 for the rotary embedding; counts from 0 if None (in
                `block_diffusion`, from 0 in either half).
            attention: who sees whom; the config's kind without segments if None. With a cache it
                speaks of the new tokens: `lengths` and `keys` mark which of them are real.
            cache: keys and values of other tokens. The new ones are written from slot `filled`
                on, over what stands there, and see every valid slot that their kind lets them:
                with `bidirectional` any span may be computed afresh (`_replace(filled=slot)`).

        Returns:
            hidden [B, T, D] in the compute dtype, and the grown cache (None without one).

        Raises:
            InputError: the backend cannot run this attention; segments, `block_diffusion` or a mask
                mode other than `full` and `bool` with a cache.
        """
        c = self.config
        spec = attention if attention is not None else AttentionSpec(kind=c.attention)
        if positions is None:
            count = jnp.arange(tokens.shape[1])
            if spec.kind == "block_diffusion":
                count = count % (tokens.shape[1] // 2)
            positions = jnp.broadcast_to(count, tokens.shape)
        cosine, sine = rope_angles(positions, c.head_size, c.rope_base)
        x = _lay_out(jnp.take(params["embedding"], tokens, axis=0).astype(c.dtype))
        if cache is None:
            length, platform = tokens.shape[1], jax.default_backend()
            backend = choose(
                c.backend, spec, length, c.head_size, c.dtype, platform, jax.device_count()
            )
            self_attend = attend_fn(backend, spec, length)

            def attend_only(q: Array, k: Array, v: Array) -> tuple[Array, None]:
                return self_attend(q, k, v), None

            def run_block(x: Array, layer: Params) -> tuple[Array, None]:
                block: Any = Block(c).apply({"params": layer}, x, cosine, sine, attend_only)
                return _lay_out(block[0]), None

            if c.remat != "none":
                run_block = jax.checkpoint(run_block, policy=_POLICIES[c.remat], prevent_cse=False)
            x, _ = jax.lax.scan(run_block, x, params["layers"], unroll=c.unroll)
        else:
            x, cache = _apply_cached(c, params["layers"], x, cosine, sine, spec, cache)
        return rms_norm(x, params["final_norm"], c.norm_epsilon), cache

    def unembed(self, params: Params, hidden: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """Logits in float32."""
        c = self.config
        table = params["embedding"].T if c.tied else params["head"]
        return jnp.matmul(hidden, table.astype(c.dtype), preferred_element_type=jnp.float32)


def _lay_out(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """The residual stream is split as the batch is: left to itself, the compiler may take over the
    layout of a weight's features and then has to replicate everything to get back.
    """
    return constrain(x, BATCH_AXES, "sequence", None)


def _apply_cached(
    c: TransformerConfig,
    layers: Params,
    x: Array,
    cosine: Array,
    sine: Array,
    spec: AttentionSpec,
    cache: Cache,
) -> tuple[Array, Cache]:
    """Scan with the whole cache in the carry, so that XLA updates it in place."""
    batch, length = x.shape[:2]
    capacity = cache.valid.shape[1]
    if spec.segments is not None:
        raise InputError("attention segments do not go with a cache; give one example per row")
    if spec.kind == "block_diffusion":
        raise InputError("block_diffusion attention does not go with a cache; use block_causal")
    real = jnp.ones((batch, length), bool)
    if spec.lengths is not None:
        real = jnp.arange(length) < spec.lengths[:, None]
    if spec.keys is not None and spec.mask_mode != "full":
        if spec.mask_mode != "bool":
            raise InputError(f"attention mask_mode {spec.mask_mode!r} does not go with a cache")
        real = real & spec.keys
    valid = jax.lax.dynamic_update_slice(cache.valid, real, (0, cache.filled))
    unpadded = AttentionSpec(spec.kind, spec.block)
    mask = visible(unpadded, length, capacity, cache.filled) & valid[:, None, :]

    def run_block(
        carry: tuple[Array, Array, Array], xs: tuple[Params, Array]
    ) -> tuple[tuple[Array, Array, Array], None]:
        x, keys, values = carry
        layer, i = xs

        def attend_cache(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, Array]]:
            start = (i, 0, 0, cache.filled, 0)
            new_keys = jax.lax.dynamic_update_slice(keys, k[None].astype(keys.dtype), start)
            new_values = jax.lax.dynamic_update_slice(values, v[None].astype(values.dtype), start)
            return attend(q, new_keys[i], new_values[i], mask), (new_keys, new_values)

        block: Any = Block(c).apply({"params": layer}, x, cosine, sine, attend_cache)
        x, (keys, values) = block
        return (x, keys, values), None

    carry = (x, cache.key, cache.value)
    xs = (layers, jnp.arange(c.layers))
    (x, keys, values), _ = jax.lax.scan(run_block, carry, xs, unroll=c.unroll)
    return x, Cache(keys, values, valid, cache.filled + length)
