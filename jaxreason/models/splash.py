"""Splash attention: TPU kernels that never hold the scores of a whole row, on one chip or many.

XLA cannot split such a kernel, so over a mesh every device runs it on its own rows and heads.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int

from jaxreason.models.attention import AttentionSpec
from jaxreason.sharding.mesh import BATCH_AXES

BLOCKS = (512, 256, 128)
"""Lengths of the kernel's blocks; the longest that divides the padded sequence is taken."""


def unsplittable(rows: int, heads: int, kv_heads: int) -> str | None:
    """Why the ambient mesh cannot split the kernel, as the end of a sentence; None if it can.

    Args:
        rows: of the batch.
        heads: query heads.
        kv_heads: key-value heads.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        several = jax.device_count() > 1
        return "needs an ambient mesh (jax.set_mesh) where devices are several" if several else None
    if (count := mesh.shape.get("sequence", 1)) > 1:
        return f"needs whole rows, and mesh axis sequence is {count}"
    ways = math.prod(mesh.shape.get(name, 1) for name in BATCH_AXES)
    if rows % ways:
        return f"needs rows that mesh axes replica x fsdp ({ways}) divide, and there are {rows}"
    tensor = mesh.shape.get("tensor", 1)
    if heads % tensor or kv_heads % tensor:
        return f"needs heads that mesh axis tensor ({tensor}) divides: {heads} and {kv_heads}"
    return None


def splash(
    spec: AttentionSpec, length: int, interpret: bool = False
) -> Callable[[Array, Array, Array], Array]:
    """Self-attention over `length` tokens: queries [B, H, T, K], keys and values [B, G, T, K].

    Rows are padded to a multiple of 128. Padding is a segment of its own.

    Args:
        spec: who sees whom; causal, with a window or without, or bidirectional.
        length: T.
        interpret: run the kernel in Pallas's interpreter, on any platform (for tests).
    """
    ids, padding = _segments(spec, length), -length % BLOCKS[-1]

    def run(query: Array, key: Array, value: Array) -> Array:
        rows = query.shape[0]
        given = ids
        if padding:
            given = jnp.ones((rows, length), jnp.int32) if ids is None else ids
            given = jnp.pad(given, ((0, 0), (0, padding)), constant_values=-1)
            query, key, value = (
                jnp.pad(x, ((0, 0), (0, 0), (0, padding), (0, 0))) for x in (query, key, value)
            )
        local = _local(spec.kind == "causal", spec.window, interpret)
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty or mesh.size == 1:
            return local(query, key, value, given)[:, :, :length]
        heads = PartitionSpec(BATCH_AXES, "tensor", None, None)
        mapped = jax.shard_map(
            local,
            in_specs=(heads, heads, heads, PartitionSpec(BATCH_AXES, None)),
            out_specs=heads,
            # The kernel does not say over which axes its result varies.
            check_vma=False,
        )
        if given is None:
            given = jnp.ones((rows, length), jnp.int32)
        return mapped(query, key, value, given)[:, :, :length]

    return run


def _segments(spec: AttentionSpec, length: int) -> Int[Array, "B T"] | None:
    """Tokens see those of their own number; None if all see all."""
    ids = spec.segments
    if spec.lengths is not None:
        real = jnp.arange(length) < spec.lengths[:, None]
        ids = jnp.where(real, 1 if ids is None else ids, -1)
    # Mask mode `full` hides nothing.
    if spec.keys is not None and spec.mask_mode != "full":
        ids = jnp.where(spec.keys, 1 if ids is None else ids, -1)
    return ids


def _local(
    causal: bool, window: int, interpret: bool
) -> Callable[[Array, Array, Array, Array | None], Array]:
    """The kernel on one device: one multi-query call per key-value head and row."""
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernels,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    def run(query: Array, key: Array, value: Array, ids: Array | None) -> Array:
        batch, heads, length, head_size = query.shape
        groups = key.shape[1]
        shape = (length, length)
        mask: masks.Mask = masks.CausalMask(shape) if causal else masks.FullMask(shape)
        if window:
            mask = masks.LocalMask(shape, (window - 1, 0), 0)
        block = next(size for size in BLOCKS if length % size == 0)
        kernel = kernels.make_splash_mqa_single_device(
            masks.MultiHeadMask([mask] * (heads // groups)),
            block_sizes=kernels.BlockSizes(
                block_q=block,
                block_kv=block,
                block_kv_compute=block,
                block_q_dkv=block,
                block_kv_dkv=block,
                block_kv_dkv_compute=block,
                block_q_dq=block,
                block_kv_dq=block,
            ),
            interpret=interpret,
        )
        grouped = query.reshape(batch, groups, heads // groups, length, head_size)
        grouped = grouped * jnp.asarray(head_size**-0.5, query.dtype)
        segments = None if ids is None else kernels.SegmentIds(ids, ids)
        by_group = jax.vmap(kernel, in_axes=(0, 0, 0, None))
        by_row = jax.vmap(by_group, in_axes=(0, 0, 0, None if segments is None else 0))
        return by_row(grouped, key, value, segments).reshape(query.shape)

    return run
