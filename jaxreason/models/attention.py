"""Attention described by a small specification instead of a dense mask.

Shapes: queries [B, H, T, K], keys and values [B, G, S, K], with H a multiple of G (grouped-query
attention: H / G query heads share one key-value head).
"""

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.errors import InputError

Kind = Literal["causal", "bidirectional", "block_causal"]
KINDS: tuple[str, ...] = ("causal", "bidirectional", "block_causal")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AttentionSpec:
    """Who attends to whom.

    Attributes:
        kind: `causal` (a token sees itself and what came before), `bidirectional` (everything) or
            `block_causal` (everything up to the end of its own block).
        block: block length of `block_causal`, in tokens; 0 otherwise.
        segments: [B, T] int32 or None; a token sees only tokens of its own segment.
        lengths: [B] int32 or None; keys at index >= length are padding, seen by nobody.

    Raises:
        InputError: unknown kind, or a block length that does not go with it.
    """

    kind: Kind = field(default="causal", metadata={"static": True})
    block: int = field(default=0, metadata={"static": True})
    segments: Int[Array, "B T"] | None = None
    lengths: Int[Array, " B"] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"attention kind {self.kind!r} is unknown; expected one of {KINDS}")
        if (self.block > 0) != (self.kind == "block_causal"):
            raise InputError(
                f"attention block {self.block} does not go with kind {self.kind!r}: "
                "block_causal needs a block of at least 1 token, the others 0"
            )


def visible(
    spec: AttentionSpec, query_length: int, key_length: int, query_offset: Int[Array, ""] | int = 0
) -> Bool[Array, "B T S"] | Bool[Array, "1 T S"]:
    """The dense form of `spec`: True where query t may see key s.

    Args:
        spec: the specification; `segments` needs query_length == key_length.
        query_length: T.
        key_length: S.
        query_offset: index of the first query among the keys (the cache's fill level).
    """
    query_index = jnp.arange(query_length)[:, None] + query_offset
    key_index = jnp.arange(key_length)[None, :]
    if spec.kind == "causal":
        seen = key_index <= query_index
    elif spec.kind == "block_causal":
        seen = key_index // spec.block <= query_index // spec.block
    else:
        seen = jnp.ones((query_length, key_length), bool)
    seen = seen[None]
    if spec.segments is not None:
        seen = seen & (spec.segments[:, :, None] == spec.segments[:, None, :])
    if spec.lengths is not None:
        seen = seen & (key_index < spec.lengths[:, None])[:, None, :]
    return seen


def attend(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B G S K"],
    value: Float[Array, "B G S K"],
    mask: Bool[Array, "#B T S"],
) -> Float[Array, "B H T K"]:
    """Scaled dot-product attention in plain XLA: the reference every other backend is tested on.

    Softmax statistics are float32 whatever the inputs' dtype. A query that sees no key gets the
    mean of all values (finite, never NaN); such rows are padding.
    """
    batch, heads, length, head_size = query.shape
    groups = key.shape[1]
    query = query.reshape(batch, groups, heads // groups, length, head_size)
    query = query * jnp.asarray(head_size**-0.5, query.dtype)
    logits = jnp.einsum("bgrtk,bgsk->bgrts", query, key, preferred_element_type=jnp.float32)
    logits = jnp.where(mask[:, None, None], logits, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
    # Dividing the sum of values, not each weight, saves a pass over [T, S] each way.
    out = jnp.einsum(
        "bgrts,bgsk->bgrtk",
        weights.astype(value.dtype),
        value,
        preferred_element_type=jnp.float32,
    )
    out = (out / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)
    return out.reshape(batch, heads, length, head_size)
