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
from jaxreason.models.attention import (
    AttentionSpec,
    attend,
    attend_in_parts,
    logit_bias,
    visible,
)
from jaxreason.models.splash import splash
from jaxreason.sharding.mesh import ambient_platform, ways_over

Backend = Literal["auto", "xla", "cudnn", "splash"]
BACKENDS: tuple[str, ...] = ("auto", "xla", "cudnn", "splash")
AttendFn = Callable[[Array, Array, Array], Array]


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
    return None


def choose(
    backend: Backend,
    spec: AttentionSpec,
    length: int,
    head_size: int,
    dtype: str,
    platform: str,
    unsplit: str | None = None,
) -> str:
    """The kernel that runs: `xla`, `cudnn` or `splash`.

    `unsplit` says why Splash cannot be split over the mesh, see `splash.unsplittable`.

    Raises:
        InputError: `backend` is named and cannot run this.
    """

    def reason(name: str) -> str | None:
        found = limit(name, spec, length, head_size, dtype, platform)
        return found or (unsplit if name == "splash" else None)

    if backend != "auto":
        if why := reason(backend):
            raise InputError(f"model.backend {backend!r} {why}; use 'auto' or 'xla'")
        return backend
    preferred = {"gpu": "cudnn", "cuda": "cudnn", "tpu": "splash"}.get(platform, "xla")
    return "xla" if reason(preferred) else preferred


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
        return splash(spec, length, interpret)
    mask, bias = visible(spec, length, length), logit_bias(spec)
    if (parts := _causal_parts(spec, length)) > 1:
        return lambda query, key, value: attend_in_parts(
            query, key, value, mask, bias, parts, spec.window
        )
    return lambda query, key, value: attend(query, key, value, mask, bias)


def attend_either(
    backends: tuple[str, str],
    spec: AttentionSpec,
    window: int,
    length: int,
    interpret: bool = False,
) -> Callable[..., Array]:
    """Self-attention of layers that are scanned over and of which some have a sliding window.

    The function maps queries, keys, values and a bool scalar that is not known when the program
    is compiled (whether this layer has the window) to what `attend_fn`'s gives.

    Args:
        backends: that `choose` returned without and with the window.
        spec: who sees whom without it.
        window: in tokens.
        length: T.
        interpret: as in `attend_fn`.
    """
    windowed = replace(spec, window=window)
    if backends == ("xla", "xla"):
        masks = visible(spec, length, length), visible(windowed, length, length)
        bias, parts = logit_bias(spec), _causal_parts(spec, length)

        def by_mask(query: Array, key: Array, value: Array, has_window: Array) -> Array:
            mask = jnp.where(has_window, masks[1], masks[0])
            return attend_in_parts(query, key, value, mask, bias, parts)

        return by_mask
    whole = attend_fn(backends[0], spec, length, interpret)
    local = attend_fn(backends[1], windowed, length, interpret)

    def by_branch(query: Array, key: Array, value: Array, has_window: Array) -> Array:
        out: Array = jax.lax.cond(has_window, local, whole, query, key, value)
        return out

    return by_branch


def _causal_parts(spec: AttentionSpec, length: int) -> int:
    """Parts of causal queries on CPU, where products over hidden keys cost most: of 64 tokens or
    more, four at most. Accelerators have kernels of their own for long sequences.
    """
    if spec.kind != "causal" or ambient_platform() != "cpu" or ways_over("sequence") > 1:
        return 1
    return max(1, min(4, length // 64))


def _hidden_keys(spec: AttentionSpec) -> Array | None:
    """The keys that a kernel has to respect: none in mask mode `full`."""
    return None if spec.mask_mode == "full" else spec.keys


def _cudnn(spec: AttentionSpec, length: int) -> AttendFn:
    """Causality and lengths go to the kernel as such, and so does a window where there is nothing
    but causality; the rest needs a mask.
    """
    mask = None
    windowed_rows = bool(spec.window) and spec.lengths is not None
    if spec.segments is not None or spec.block or windowed_rows or _hidden_keys(spec) is not None:
        mask = visible(replace(spec, lengths=None), length, length)[:, None]

    def run(query: Array, key: Array, value: Array) -> Array:
        lengths = spec.lengths
        out: Array = jax.nn.dot_product_attention(
            query.swapaxes(1, 2),
            key.swapaxes(1, 2),
            value.swapaxes(1, 2),
            mask=None if mask is None else jnp.broadcast_to(mask, (len(query), 1, length, length)),
            is_causal=spec.kind == "causal",
            local_window_size=(spec.window - 1, 0) if spec.window and mask is None else None,
            query_seq_lengths=None if lengths is None else jnp.full_like(lengths, length),
            key_value_seq_lengths=lengths,
            implementation="cudnn",
        )
        return out.swapaxes(1, 2)

    return run
