"""Optimizer moments stored in bfloat16, rounded up or down at random so that they stay right.

Bytes per parameter while training, and which part of it is what (AdamW; `density` d is the share
of entries that `masks.compact` keeps state for, an index of 4 bytes each included):

| stored as                                 | parameters | gradients | moments | together |
|-------------------------------------------|------------|-----------|---------|----------|
| float32                                   | 4          | 4         | 8       | 16       |
| float32, moments bfloat16                 | 4          | 4         | 4       | 12       |
| float32, compact                          | 4          | 4         | 12 d    | 8 + 12 d |
| bfloat16, moments float32                 | 2          | 2         | 8       | 12       |
| bfloat16, moments bfloat16                | 2          | 2         | 4       | 8        |
| bfloat16, compact                         | 2          | 2         | 12 d    | 4 + 12 d |
| bfloat16, compact, moments bfloat16       | 2          | 2         | 8 d     | 4 + 8 d  |
| bfloat16, LoRA of d times as many, float32| 2 + 4 d    | 4 d       | 8 d     | 2 + 16 d |

An update mask of `masks.freeze_outside` adds 1 byte (bool) or 1/8 (packed); gradient accumulation
holds one more set of gradients. Muon has one moment where AdamW has two.

Rounding to the nearest bfloat16 would not do. A bfloat16 number has 8 bits, so a change below
1/512 of it is lost, and with b2 = 0.999 the second moment loses 1/1000 per step: it would never
fall, and rise only for gradients several times its root. Rounded at random, up with a probability
equal to the part that is cut off, each stored number is right on average (stochastic rounding:
Gupta et al. 2015, arXiv:1502.02551; of bfloat16 optimizer state: Zamirai et al. 2020,
arXiv:2010.06192).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxreason.errors import InputError
from jaxreason.masks.in_state import is_placeholder

MOMENTS = {"mu": 1, "nu": 2}
"""Fields of optax's states that hold moments, with the number that tells their noise apart."""


def round_randomly(x: jax.Array, bits: jax.Array) -> jax.Array:
    """float32 to bfloat16, up or down so that the mean over `bits` is x itself.

    Numbers that bfloat16 has are kept; the sign never changes. Infinities and NaN stay what they
    are. Magnitudes above the largest bfloat16 (3.39e38) may become infinite.

    Args:
        x: float32, any shape.
        bits: uint32 of the same shape, uniform in the lower 16 bits.
    """
    word = jax.lax.bitcast_convert_type(x, jnp.uint32)
    raised = (word + (bits & 0xFFFF)) & jnp.uint32(0xFFFF0000)
    rounded = jax.lax.bitcast_convert_type(raised, jnp.float32)
    return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)


def noise_of(stored: jax.Array, parameter: jax.Array | None, seed: jax.Array) -> jax.Array:
    """Random bits for each entry: a hash of its stored moment, its parameter and a seed, uint32.

    For every entry it is a bijection of the seed, so with a uniform seed its bits are uniform:
    rounding with them has no bias at all. It knows nothing of an entry's place: it is the same for
    a compact state as for a whole one, and needs no communication on a mesh.

    Args:
        stored: float32, any shape: the moment that will be replaced.
        parameter: float32 of the same shape. Without it moments of few distinct values (such as
            all that get no gradient) would be rounded alike, and merge.
        seed: uint32 scalar, another one each step.
    """
    word = jax.lax.bitcast_convert_type(stored, jnp.uint32) ^ seed
    if parameter is not None:
        bits = jax.lax.bitcast_convert_type(parameter, jnp.uint32)
        word = word ^ bits * jnp.uint32(0x9E3779B1)
    # The finalizer of MurmurHash3 (Appleby, 2011).
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


class BfloatMomentsState(NamedTuple):
    """State of `bfloat16_moments`.

    Attributes:
        key: typed PRNG key of the next rounding.
        inner_state: of the wrapped optimizer, its moments in bfloat16.
    """

    key: Any
    inner_state: Any


def bfloat16_moments(
    inner: optax.GradientTransformation, seed: int = 0
) -> optax.GradientTransformationExtraArgs:
    """`inner` with its moments (`mu`, `nu`) stored in bfloat16, rounded at random.

    An update reads them as float32, computes in float32 and uses the new moments before they are
    rounded. Rounding is right on average; with b2 = 0.999 a second moment in equilibrium spreads
    by about 5 % around what float32 would hold, and the size of an update by half of that.

    Every entry is rounded by its own values and the key, so `masks.compact` around this gives the
    updates of `masks.freeze_outside`, and the noise does not depend on the mesh.

    Args:
        inner: an optimizer whose state is float32 and has moments in fields of these names, such
            as optax's AdamW and Muon.
        seed: of the rounding.

    Raises:
        InputError: in `init`, an optimizer without such moments.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> BfloatMomentsState:
        state = inner.init(params)
        if is_placeholder(params):
            return BfloatMomentsState(jax.random.key(seed), state)
        if not any(_moment(path)[0] for path, _ in jax.tree_util.tree_leaves_with_path(state)):
            raise InputError(
                f"the optimizer keeps no moments named {' or '.join(MOMENTS)} to store in bfloat16"
            )
        return BfloatMomentsState(
            jax.random.key(seed), _map_moments(lambda leaf, *_: leaf.astype(jnp.bfloat16), state)
        )

    def update(
        updates: Any, state: BfloatMomentsState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, BfloatMomentsState]:
        wide = _map_moments(lambda leaf, *_: leaf.astype(jnp.float32), state.inner_state)
        updates, new = inner.update(updates, wide, params, **extra_args)
        seeds = {
            number: jax.random.bits(jax.random.fold_in(state.key, number), (), jnp.uint32)
            for number in MOMENTS.values()
        }
        leaves = dict(jax.tree_util.tree_leaves_with_path(params))

        def rounded(old: jax.Array, number: int, path: Any, leaf: jax.Array) -> jax.Array:
            parameter = leaves[path].astype(jnp.float32) if path in leaves else None
            return round_randomly(leaf, noise_of(old, parameter, seeds[number]))

        key = jax.random.fold_in(state.key, 0)
        return updates, BfloatMomentsState(key, _map_moments(rounded, wide, new))

    return optax.GradientTransformationExtraArgs(init, update)


def _moment(path: Any) -> tuple[int, Any]:
    """Of a leaf of a state: the number of its moment (0: it is none), the parameter's path."""
    for place, key in enumerate(path):
        if number := MOMENTS.get(getattr(key, "name", ""), 0):
            return number, tuple(path[place + 1 :])
    return 0, ()


def _map_moments(function: Any, state: Any, *others: Any) -> Any:
    """`function(leaf, number, path, *other leaves)` over the moments of equally built states; of
    what is no moment, the last state's.
    """

    def leaf(path: Any, found: Any, *rest: Any) -> Any:
        number, name = _moment(path)
        return function(found, number, name, *rest) if number else (found, *rest)[-1]

    return jax.tree_util.tree_map_with_path(leaf, state, *others)
