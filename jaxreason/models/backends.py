"""Attention kernels: plain XLA, cuDNN on NVIDIA GPUs, Splash on TPUs; and which one to use.

`xla` takes everything and is the reference. The others have limits, checked here before anything
is traced; asking for one by name where it cannot run is an error, never a quiet fallback. `auto`
takes the platform's kernel within its limits, `xla` otherwise. Attention over a key-value cache
always uses `xla`: a decoding step is a matrix-vector product with nothing to fuse.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxreason.errors import InputError
from jaxreason.models.attention import AttentionSpec, attend, logit_bias, visible

Backend = Literal["auto", "xla", "cudnn", "splash"]
BACKENDS: tuple[str, ...] = ("auto", "xla", "cudnn", "splash")
AttendFn = Callable[[Array, Array, Array], Array]

_SPLASH_BLOCK = 128


def limit(
    backend: str, spec: AttentionSpec, length: int, head_size: int, dtype: str, platform: str
) -> str | None:
    """Why `backend` cannot run this attention, as the end of a sentence; None if it can.

    Args:
        backend: `xla`, `cudnn` or `splash`.
        spec: who sees whom.
        length: T, queries and keys alike.
        head_size: K.
        dtype: name of the compute dtype.
        platform: as `jax.default_backend()` names it.
    """
    if backend != "xla" and spec.keys is not None and spec.mask_mode not in ("full", "bool"):
        return f"does not know mask_mode {spec.mask_mode!r}"
    if backend == "cudnn":
        if platform not in ("gpu", "cuda"):
            return f"needs an NVIDIA GPU, and the platform is {platform!r}"
        if dtype != "bfloat16":
            return f"needs model.dtype 'bfloat16', and it is {dtype!r}"
        if head_size % 8 or head_size > 128:
            return f"needs a head size of 8, 16, ... 128, and it is {head_size}"
        if length % 2:
            return f"needs sequences of even length, and it is {length}"
    if backend == "splash":
        if platform != "tpu":
            return f"needs a TPU, and the platform is {platform!r}"
        if spec.block:
            return f"does not know {spec.kind} attention"
        if length % _SPLASH_BLOCK:
            return f"needs sequences of a multiple of {_SPLASH_BLOCK} tokens, and it is {length}"
    return None


def choose(
    backend: Backend,
    spec: AttentionSpec,
    length: int,
    head_size: int,
    dtype: str,
    platform: str,
    devices: int,
) -> str:
    """The kernel that runs: `xla`, `cudnn` or `splash`.

    `auto` takes Splash on a single TPU chip only: XLA cannot split a Pallas kernel over a mesh.

    Raises:
        InputError: `backend` is named and cannot run this.
    """
    if backend != "auto":
        if reason := limit(backend, spec, length, head_size, dtype, platform):
            raise InputError(f"model.backend {backend!r} {reason}; use 'auto' or 'xla'")
        return backend
    preferred = {"gpu": "cudnn", "cuda": "cudnn", "tpu": "splash"}.get(platform, "xla")
    if preferred == "splash" and devices > 1:
        return "xla"
    return "xla" if limit(preferred, spec, length, head_size, dtype, platform) else preferred


def attend_fn(backend: str, spec: AttentionSpec, length: int, interpret: bool = False) -> AttendFn:
    """Self-attention over `length` tokens by a kernel that `choose` returned.

    The function maps queries [B, H, T, K], keys and values [B, G, T, K] to [B, H, T, K].

    Args:
        backend: `xla`, `cudnn` or `splash`.
        spec: who sees whom.
        length: T.
        interpret: run Splash's kernel in Pallas's interpreter, on any platform (for tests).
    """
    if backend == "cudnn":
        return _cudnn(spec, length)
    if backend == "splash":
        return _splash(spec, length, interpret)
    mask, bias = visible(spec, length, length), logit_bias(spec)
    return lambda query, key, value: attend(query, key, value, mask, bias)


def _hidden_keys(spec: AttentionSpec) -> Array | None:
    """The keys that a kernel has to respect: none in mask mode `full`."""
    return None if spec.mask_mode == "full" else spec.keys


def _cudnn(spec: AttentionSpec, length: int) -> AttendFn:
    """Causality and lengths go to the kernel as such; segments, blocks and keys need a mask."""
    mask = None
    if spec.segments is not None or spec.block or _hidden_keys(spec) is not None:
        mask = visible(replace(spec, lengths=None), length, length)[:, None]

    def run(query: Array, key: Array, value: Array) -> Array:
        lengths = spec.lengths
        out: Array = jax.nn.dot_product_attention(
            query.swapaxes(1, 2),
            key.swapaxes(1, 2),
            value.swapaxes(1, 2),
            mask=None if mask is None else jnp.broadcast_to(mask, (len(query), 1, length, length)),
            is_causal=spec.kind == "causal",
            query_seq_lengths=None if lengths is None else jnp.full_like(lengths, length),
            key_value_seq_lengths=lengths,
            implementation="cudnn",
        )
        return out.swapaxes(1, 2)

    return run


def _splash(spec: AttentionSpec, length: int, interpret: bool) -> AttendFn:
    """One multi-query kernel per key-value head; padding is a segment of its own."""
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernels,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    segments = spec.segments
    if spec.lengths is not None:
        real = jnp.arange(length) < spec.lengths[:, None]
        segments = jnp.where(real, 1 if segments is None else segments, -1)
    if (keys := _hidden_keys(spec)) is not None:
        segments = jnp.where(keys, 1 if segments is None else segments, -1)

    def run(query: Array, key: Array, value: Array) -> Array:
        batch, heads, _, head_size = query.shape
        groups = key.shape[1]
        shape = (length, length)
        mask = masks.CausalMask(shape) if spec.kind == "causal" else masks.FullMask(shape)
        kernel = kernels.make_splash_mqa_single_device(
            masks.MultiHeadMask([mask] * (heads // groups)), interpret=interpret
        )
        grouped = query.reshape(batch, groups, heads // groups, length, head_size)
        grouped = grouped * jnp.asarray(head_size**-0.5, query.dtype)
        ids = None if segments is None else kernels.SegmentIds(segments, segments)
        by_group = jax.vmap(kernel, in_axes=(0, 0, 0, None))
        by_row = jax.vmap(by_group, in_axes=(0, 0, 0, None if ids is None else 0))
        return by_row(grouped, key, value, ids).reshape(query.shape)

    return run
