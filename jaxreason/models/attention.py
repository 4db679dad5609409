"""Attention described by a small specification instead of a dense mask.

Shapes: queries [B, H, T, K], keys and values [B, G, S, K], with H a multiple of G (grouped-query
attention: H / G query heads share one key-value head).
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.errors import InputError

Kind = Literal["causal", "bidirectional", "block_causal", "block_diffusion"]
KINDS: tuple[str, ...] = ("causal", "bidirectional", "block_causal", "block_diffusion")
MaskMode = Literal["full", "bool", "legacy_float", "causal_trap"]
MASK_MODES: tuple[str, ...] = ("full", "bool", "legacy_float", "causal_trap")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AttentionSpec:
    """Who attends to whom.

    What a query at a padded place reads is finite and otherwise left open.

    Attributes:
        kind: `causal` (a token sees itself and what came before), `bidirectional` (everything),
            `block_causal` (everything up to the end of its own block) or `block_diffusion`: the
            sequence is a noisy and a clean copy of n tokens each, [x_t ; x_0]; a noisy token sees
            its own noisy block and the clean blocks before it, a clean one the clean blocks up to
            its own (Arriola et al. 2025; github.com/kuleshov-group/bd3lms, `block_diff_mask`).
        block: block length of `block_causal` and `block_diffusion`, in tokens; 0 otherwise.
        segments: [B, T] int32 or None; a token sees only tokens of its own segment.
        lengths: [B] int32 or None; keys at index >= length are padding, seen by nobody.
        keys: [B, S] bool or None; False marks a key that is padding, wherever it stands.
        mask_mode: what a False in `keys` does. `bool`: nobody sees that key. `full`: nothing, as
            the released MMaDA checkpoints were trained. `legacy_float`: MMaDA's training code adds
            its 0/1 mask to the logits as it is, so that a pair of real tokens gets +1 and every
            other pair +0. `causal_trap`: LLaDA's code given an `attention_mask` with a zero
            anywhere in the batch: keys are hidden *and* the model turns causal. The last two
            reproduce reference numbers (github.com/Gen-Verse/MMaDA, models/modeling_llada.py).
        window: sliding window of `causal`: a token sees itself and the window - 1 places before
            it; 0 for everything before it.

    Raises:
        InputError: unknown kind or mask mode, a block length or window that does not go with the
            kind.
    """

    kind: Kind = field(default="causal", metadata={"static": True})
    block: int = field(default=0, metadata={"static": True})
    segments: Int[Array, "B T"] | None = None
    lengths: Int[Array, " B"] | None = None
    keys: Bool[Array, "B S"] | None = None
    mask_mode: MaskMode = field(default="bool", metadata={"static": True})
    window: int = field(default=0, metadata={"static": True})

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"attention kind {self.kind!r} is unknown; expected one of {KINDS}")
        if self.mask_mode not in MASK_MODES:
            raise InputError(
                f"attention mask_mode {self.mask_mode!r} is unknown; expected one of {MASK_MODES}"
            )
        if (self.block > 0) != (self.kind in ("block_causal", "block_diffusion")):
            raise InputError(
                f"attention block {self.block} does not go with kind {self.kind!r}: block_causal "
                "and block_diffusion need a block of at least 1 token, the others 0"
            )
        if self.window < 0 or (self.window and self.kind != "causal"):
            raise InputError(
                f"attention window {self.window} does not go with kind {self.kind!r}: it must be "
                "0, or a number of tokens of causal attention"
            )


def visible(
    spec: AttentionSpec, query_length: int, key_length: int, query_offset: Int[Array, ""] | int = 0
) -> Bool[Array, "B T S"] | Bool[Array, "1 T S"]:
    """The dense form of `spec`: True where query t may see key s.

    Args:
        spec: the specification; `segments`, `keys` and `block_diffusion` need
            query_length == key_length.
        query_length: T.
        key_length: S.
        query_offset: index of the first query among the keys (the cache's fill level).

    Raises:
        InputError: `block_diffusion` over a sequence of odd length; `keys` of another length.
    """
    query_index = jnp.arange(query_length)[:, None] + query_offset
    key_index = jnp.arange(key_length)[None, :]
    if spec.kind == "causal":
        seen = key_index <= query_index
        if spec.window:
            seen = seen & (key_index > query_index - spec.window)
    elif spec.kind == "block_causal":
        seen = key_index // spec.block <= query_index // spec.block
    elif spec.kind == "block_diffusion":
        seen = _block_diffusion(query_length, spec.block)
    else:
        seen = jnp.ones((query_length, key_length), bool)
    seen = seen[None]
    if spec.segments is not None:
        seen = seen & (spec.segments[:, :, None] == spec.segments[:, None, :])
    if spec.lengths is not None:
        seen = seen & (key_index < spec.lengths[:, None])[:, None, :]
    if spec.keys is None:
        return seen
    if spec.keys.shape[1] != key_length:
        raise InputError(
            f"attention keys have shape {spec.keys.shape}; expected one for each of the "
            f"{key_length} tokens of a row"
        )
    if spec.mask_mode == "bool":
        seen = seen & spec.keys[:, None, :]
    elif spec.mask_mode == "causal_trap":
        trapped = (key_index <= query_index) & spec.keys[:, None, :]
        seen = seen & (trapped | spec.keys.all())
    return seen


def _block_diffusion(length: int, block: int) -> Bool[Array, "T T"]:
    """Block-diagonal, offset block-causal and block-causal terms, over [x_t ; x_0]."""
    if length % 2:
        raise InputError(
            f"block_diffusion attention runs over a noisy and a clean copy of a sequence, "
            f"and {length} tokens are not twice a number"
        )
    index = jnp.arange(length)
    clean, number = index >= length // 2, index % (length // 2) // block
    query_block, key_block = number[:, None], number[None, :]
    own = (query_block == key_block) & (clean[:, None] == clean[None, :])
    earlier = (query_block > key_block) & clean[None, :]
    return own | earlier


def logit_bias(spec: AttentionSpec) -> Float[Array, "B T T"] | None:
    """What mask mode `legacy_float` adds to the logits; None in every other mode."""
    if spec.keys is None or spec.mask_mode != "legacy_float":
        return None
    return (spec.keys[:, :, None] & spec.keys[:, None, :]).astype(jnp.float32)


def attend(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B G S K"],
    value: Float[Array, "B G S K"],
    mask: Bool[Array, "#B T S"],
    bias: Float[Array, "B T S"] | None = None,
) -> Float[Array, "B H T K"]:
    """Scaled dot-product attention in plain XLA: the reference every other backend is tested on.

    Softmax statistics are float32 whatever the inputs' dtype; `bias` is added to the scaled
    logits. The logits of hidden keys must be finite too: they are added to, not replaced. A query
    that sees no key gets the mean of all values (finite, never NaN), with finite gradients, also
    for queries and keys; such rows are padding, which the loss leaves out.
    """
    # Hidden keys are hidden by adding: a selection would be one more pass over [T, S] backwards.
    hidden = jnp.where(mask, 0.0 if bias is None else bias, jnp.finfo(jnp.float32).min)
    batch, heads, length, head_size = query.shape
    groups = key.shape[1]
    query = query.reshape(batch, groups, heads // groups, length, head_size)
    query = query * jnp.asarray(head_size**-0.5, query.dtype)
    logits = jnp.einsum("bgrtk,bgsk->bgrts", query, key, preferred_element_type=jnp.float32)
    logits = logits + hidden[:, None, None]
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


def attend_in_parts(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B G T K"],
    value: Float[Array, "B G T K"],
    mask: Bool[Array, "#B T T"],
    bias: Float[Array, "B T T"] | None,
    parts: int,
    window: int = 0,
) -> Float[Array, "B H T K"]:
    """`attend` under a causal mask, the queries in so many parts, each with no key after its own.

    Three parts leave out a third of the products, four 3/8; with a window, keys before that of a
    part's first query are left out too. A query that sees no key gets the mean of the values that
    its part reads.
    """
    length = query.shape[2]
    bounds = [length * part // parts for part in range(parts + 1)]
    outs = []
    for start, end in pairwise(bounds):
        first = max(0, start - window + 1) if window else 0
        outs.append(
            attend(
                query[:, :, start:end],
                key[:, :, first:end],
                value[:, :, first:end],
                mask[:, start:end, first:end],
                None if bias is None else bias[:, start:end, first:end],
            )
        )
    return jnp.concatenate(outs, axis=2)
