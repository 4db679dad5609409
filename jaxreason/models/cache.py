"""Keys and values of the tokens seen so far, and the blocks run with them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.errors import InputError
from jaxreason.models.attention import AttentionSpec, attend, visible
from jaxreason.models.block import Block
from jaxreason.models.config import TransformerConfig
from jaxreason.types import Params

Stored = Float[Array, "L B G S K"] | tuple[Float[Array, "B G S K"], ...]
"""Of all layers: stacked where the blocks are scanned over, an array for each where they are
unrolled, since cutting a layer out of a stack would copy it at every step.
"""


class Cache(NamedTuple):
    """Keys and values of the tokens seen so far.

    Attributes:
        key: [L, B, G, S, K], or for each layer [B, G, S, K], in the compute dtype, rotated; one
            head's keys lie together, so that a decoding step reads them in one sweep.
        value: as `key`.
        valid: [B, S] bool, False for padding and for slots not written yet.
        filled: [] int32, the next slot to write; the same for all rows.
    """

    key: Stored
    value: Stored
    valid: Bool[Array, "B S"]
    filled: Int[Array, ""]

    def repeat(self, times: int) -> "Cache":
        """Each row so many times, the copies next to each other."""
        key, value = jax.tree.map(lambda x: jnp.repeat(x, times, axis=-4), (self.key, self.value))
        return Cache(key, value, jnp.repeat(self.valid, times, axis=0), self.filled)

    def grow(self, slots: int) -> "Cache":
        """With so many more slots, empty ones, at the end."""

        def longer(x: Array) -> Array:
            return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, slots), (0, 0)])

        key, value = jax.tree.map(longer, (self.key, self.value))
        return Cache(key, value, jnp.pad(self.valid, ((0, 0), (0, slots))), self.filled)


def empty_cache(c: TransformerConfig, batch: int, capacity: int) -> Cache:
    """A cache for `batch` rows of up to `capacity` tokens."""
    shape = (batch, c.kv_heads, capacity, c.head_size)
    stored: Stored = jnp.zeros((c.layers, *shape), c.dtype)
    if c.unroll == c.layers:
        stored = (jnp.zeros(shape, c.dtype),) * c.layers
    return Cache(stored, stored, jnp.zeros((batch, capacity), bool), jnp.zeros((), jnp.int32))


def run_cached(
    c: TransformerConfig,
    layers: Params | tuple[Params, ...],
    x: Array,
    cosine: Array,
    sine: Array,
    spec: AttentionSpec,
    cache: Cache,
) -> tuple[Array, Cache]:
    """The blocks, writing to the cache and attending to all of it that `spec` lets them see."""
    batch, length = x.shape[:2]
    capacity = cache.valid.shape[1]
    real = _real(spec, batch, length)
    valid = jax.lax.dynamic_update_slice(cache.valid, real, (0, cache.filled))
    unpadded = AttentionSpec(spec.kind, spec.block)
    mask = visible(unpadded, length, capacity, cache.filled) & valid[:, None, :]
    windows = [0 if window >= capacity else window for window in c.windows]
    near = _windowed(mask, valid, cache.filled, max(windows)) if any(windows) else mask
    mixed = len(set(windows)) > 1

    def run_block(
        x: Array, layer: Params, keys: Array, values: Array, mask: Array, i: Array | None
    ) -> Any:
        def attend_cache(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, Array]]:
            if i is None:
                start = (0, 0, cache.filled, 0)
                new_keys = jax.lax.dynamic_update_slice(keys, k.astype(keys.dtype), start)
                new_values = jax.lax.dynamic_update_slice(values, v.astype(values.dtype), start)
                return attend(q, new_keys, new_values, mask), (new_keys, new_values)
            at = (i, 0, 0, cache.filled, 0)
            new_keys = jax.lax.dynamic_update_slice(keys, k[None].astype(keys.dtype), at)
            new_values = jax.lax.dynamic_update_slice(values, v[None].astype(values.dtype), at)
            return attend(q, new_keys[i], new_values[i], mask), (new_keys, new_values)

        return Block(c).apply({"params": layer}, x, cosine, sine, attend_cache)

    if isinstance(cache.key, tuple):
        written = []
        for i, (keys, values) in enumerate(zip(cache.key, cache.value, strict=True)):
            layer = layers[i] if isinstance(layers, tuple) else layer_of(layers, i)
            x, kept = run_block(x, layer, keys, values, near if windows[i] else mask, None)
            written.append(kept)
        new_keys, new_values = zip(*written, strict=True)
        return x, Cache(new_keys, new_values, valid, cache.filled + length)

    # The whole cache is in the carry, so that XLA updates it in place.
    has_window = jnp.asarray([window > 0 for window in windows]) if mixed else None

    def scanned(carry: Any, xs: tuple[Params, Array]) -> tuple[Any, None]:
        x, (keys, values) = carry
        layer, i = xs
        its = near if has_window is None else jnp.where(has_window[i], near, mask)
        return run_block(x, layer, keys, values, its, i), None

    carry: Any = (x, (cache.key, cache.value))
    xs: Any = (layers, jnp.arange(c.layers))
    (x, (keys, values)), _ = jax.lax.scan(scanned, carry, xs, unroll=c.unroll)
    return x, Cache(keys, values, valid, cache.filled + length)


def _windowed(
    mask: Bool[Array, "B T S"], valid: Bool[Array, "B S"], filled: Int[Array, ""], window: int
) -> Bool[Array, "B T S"]:
    """The keys of `mask` that are within the window, which counts tokens and leaves out padding."""
    count = jnp.cumsum(valid, axis=1)
    own = jax.lax.dynamic_slice_in_dim(count, filled, mask.shape[1], axis=1)
    return mask & (own[:, :, None] - count[:, None, :] < window)


def layer_of(layers: Params, i: int) -> Params:
    """One layer's parameters out of the stacked ones."""
    return jax.tree.map(lambda x: x[i], layers)


def _real(spec: AttentionSpec, batch: int, length: int) -> Bool[Array, "B T"]:
    """Which of the new tokens are no padding."""
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
    return real
