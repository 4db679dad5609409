"""What an optimizer ever changed, at the precision at which the weights are read."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.errors import InputError
from jaxreason.masks.forms import pack
from jaxreason.masks.in_state import is_placeholder, map_active


class TrackUpdatesState(NamedTuple):
    """State of `track_updates`; its structure never changes, so it can be scanned over.

    Attributes:
        step: [] int32, updates seen.
        ever_updated: per parameter, packed bits: entries whose reading any update changed;
            `read_mask` makes bool arrays of them.
        changed: per parameter, [] uint32, entries whose reading the last update changed.
        sparsity: [] float32, share of all entries whose reading the last update left alone.
    """

    step: jax.Array
    ever_updated: Any
    changed: Any
    sparsity: jax.Array


_BITS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


def track_updates(read_dtype: Any = "bfloat16") -> optax.GradientTransformationExtraArgs:
    """Passes updates through and records which entries they visibly change.

    Placed last in a chain. An entry changes visibly if its bits differ before and after the update
    once both are rounded to `read_dtype`: with float32 parameters and bfloat16 readings, small
    steps add up unseen until the reading flips, and the flip is recorded. Entries that changed and
    came back are in `ever_updated` too. Takes 1/8 byte per parameter.

    Args:
        read_dtype: a floating dtype, or None for each parameter's own.

    Raises:
        InputError: an unknown or integer `read_dtype`; `update` called without parameters.

    >>> import optax
    >>> from jaxreason.masks import read_mask, track_updates
    >>> params = {"w": jnp.array([1.0, 1e-3])}
    >>> optimizer = optax.chain(optax.sgd(1.0), track_updates())
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update({"w": jnp.full(2, 1e-4)}, state, params)
    >>> print(read_mask(state[-1].ever_updated, params)["w"], state[-1].sparsity)
    [False  True] 0.5
    """
    dtype = None if read_dtype is None else _floating(read_dtype)

    def init(params: Any) -> TrackUpdatesState:
        step, sparsity = jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32)
        if is_placeholder(params):
            return TrackUpdatesState(step, params, params, sparsity)
        bits = jax.tree.map(lambda p: pack(jnp.zeros_like(p, bool)).bits, params)
        changed = jax.tree.map(lambda p: jnp.zeros((), jnp.uint32), params)
        return TrackUpdatesState(step, bits, changed, sparsity)

    def update(
        updates: Any, state: TrackUpdatesState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, TrackUpdatesState]:
        del extra_args
        if params is None:
            raise InputError("track_updates needs the parameters: update(updates, state, params)")
        flips = jax.tree.map(
            lambda p, u: None if u is None else _flipped(p, u, dtype),
            params,
            updates,
            is_leaf=lambda node: node is None,
        )
        ever = map_active(lambda flip, before: pack(flip | before).bits, flips, state.ever_updated)
        changed = jax.tree.map(lambda flip: jnp.sum(flip, dtype=jnp.uint32), flips)
        total = sum(np.size(leaf) for leaf in jax.tree.leaves(flips))
        share = sum(c.astype(jnp.float32) / max(total, 1) for c in jax.tree.leaves(changed))
        step = optax.safe_increment(state.step)
        return updates, TrackUpdatesState(step, ever, changed, jnp.float32(1 - share))

    return optax.GradientTransformationExtraArgs(init, update)


def _floating(read_dtype: Any) -> Any:
    try:
        dtype = jnp.dtype(read_dtype)
    except TypeError as error:
        raise InputError(f"read_dtype={read_dtype!r}: expected a floating dtype") from error
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"read_dtype={read_dtype!r}: expected a floating dtype")
    return dtype


def _flipped(parameter: Any, update: Any, dtype: Any) -> jax.Array:
    """Where the reading of the parameter changes, as `optax.apply_updates` would leave it."""
    parameter = jnp.asarray(parameter)
    moved = jnp.asarray(parameter + update).astype(parameter.dtype)
    return _reading(parameter, dtype) != _reading(moved, dtype)


def _reading(array: jax.Array, dtype: Any) -> jax.Array:
    if dtype is not None:
        array = array.astype(dtype)
    bits = _BITS.get(array.dtype.itemsize)
    if bits is None or not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return jax.lax.bitcast_convert_type(array, bits)
