"""Choose an exact number of entries by score: no sorting, the same whatever the sharding.

The threshold is found bit by bit, as in a radix selection: each bit costs one pass of comparing
and counting, which stays local to a shard but for the sum. Ties are settled by position, so the
number of entries is always exact.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxreason.errors import InputError
from jaxreason.masks.sources.checks import check_density, check_scope, entries, named_leaves


class _Count(NamedTuple):
    """A whole number, `high * 2**16 + low`: sums pass 2**32, and JAX has no 64 bits by default."""

    high: Array
    low: Array


def top_entries(scores: Any, density: float, *, scope: str = "leaf", largest: bool = True) -> Any:
    """True for the entries of highest score; works under `jit`.

    Exactly `density * size` entries are chosen, rounded to the nearest whole number. Among equal
    scores the earlier one goes first: by leaf, then by position in the flattened leaf.

    Args:
        scores: tree of floating-point arrays (compared as float32; NaN is chosen last) or of
            uint32.
        density: share of the entries to choose, in (0, 1].
        scope: "leaf" chooses this share of every leaf, "global" of all entries together.
        largest: False chooses the lowest scores instead.

    Returns:
        A tree of bool arrays like `scores`.

    Raises:
        InputError: density, scope; the share is less than half an entry.
    """
    check_density(density)
    check_scope(scope)
    named = list(named_leaves(scores))
    sizes = [prod(leaf.shape) for _, leaf in named]
    for (name, leaf), size in zip(named, sizes, strict=True):
        if size >= 2**32 and leaf.shape[0] > 2**16:
            raise InputError(
                f"{name} has {size} entries and {leaf.shape[0]} along its first axis: expected at "
                "most 65536 there for a leaf of over 2**32 entries"
            )
    targets = (
        [entries(density, sum(sizes))]
        if scope == "global"
        else [entries(density, size) for size in sizes]
    )
    if not any(targets):
        raise InputError(
            f"the mask is empty: density={density!r} of {sum(sizes)} entries "
            f"({scope} scope) is less than half an entry"
        )
    if density == 1:
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, True, dtype=bool), scores)
    halves = [[target >> 16, target & 0xFFFF] for target in targets]
    return _top(scores, np.asarray(halves, np.uint32), largest, scope == "global")


@partial(jax.jit, static_argnames=("largest", "together"))
def _top(scores: Any, targets: Array, largest: bool, together: bool) -> Any:
    leaves, structure = jax.tree.flatten(scores)
    groups = [leaves] if together else [[leaf] for leaf in leaves]
    chosen = []
    for group, (high, low) in zip(groups, targets, strict=True):
        chosen += _choose(group, _Count(high, low), largest)
    return jax.tree.unflatten(structure, chosen)


def _choose(scores: list[Array], target: _Count, largest: bool) -> list[Array]:
    """The `target` first entries of all leaves together.

    Orders and positions are made in the passes that use them, so that they never sit in memory.
    """
    sizes = [_axes(score.shape) for score in scores]
    largest_sizes = (len(scores), max(size[0] for size in sizes), max(size[1] for size in sizes))
    widths = [(size - 1).bit_length() for size in largest_sizes]

    def above(threshold: Array) -> list[Array]:
        return [_ordered(score, largest) >= threshold[0] for score in scores]

    (threshold,), exact = _search(above, [32], target, jnp.asarray(False))

    def above_or_tied(places: Array) -> list[Array]:
        words = [_ordered(score, largest) for score in scores]
        return [
            (word > threshold) | ((word == threshold) & _reaches(number, word, widths, places))
            for number, word in enumerate(words)
        ]

    # With the count exact already the search is over at once, and every tie is in.
    places, _ = _search(above_or_tied, widths, target, exact)
    wanted = (target.high > 0) | (target.low > 0)
    return [reached & wanted for reached in above_or_tied(places)]


def _ordered(score: Array, largest: bool) -> Array:
    """uint32 that are higher for entries to be chosen earlier."""
    if score.dtype == jnp.uint32:
        return score if largest else ~score
    bits = jax.lax.bitcast_convert_type(score.astype(jnp.float32), jnp.uint32)
    ordered = jnp.where(bits >> 31 == 1, ~bits, bits | np.uint32(2**31))
    return jnp.where(jnp.isnan(score), np.uint32(0), ordered if largest else ~ordered)


def _search(
    reach: Callable[[Array], list[Array]], widths: list[int], target: _Count, exact: Array
) -> tuple[Array, Array]:
    """The highest threshold that at least `target` entries reach, and whether exactly so many.

    Args:
        reach: threshold, uint32 of one word per width -> where it is reached, leaf by leaf.
        widths: bits of each word, settled in this order from high to low.
        target: the count wanted.
        exact: True ends the search before it begins, with a threshold of zeros.
    """
    bits = [(word, bit) for word, width in enumerate(widths) for bit in reversed(range(width))]
    places = jnp.asarray(np.asarray(bits, np.uint32).reshape(-1, 2))

    def narrow(state: Any) -> Any:
        step, threshold, _ = state
        word, bit = places[step]
        candidate = threshold.at[word].add(jnp.uint32(1) << bit)
        count = _total(reach(candidate))
        same = (count.high == target.high) & (count.low == target.low)
        more = (count.high > target.high) | ((count.high == target.high) & (count.low > target.low))
        return step + 1, jnp.where(same | more, candidate, threshold), same

    def unsettled(state: Any) -> Array:
        return (state[0] < len(bits)) & ~state[2]

    start = (jnp.int32(0), jnp.zeros(len(widths), jnp.uint32), exact)
    if not bits:
        return start[1], exact
    _, threshold, exact = jax.lax.while_loop(unsettled, narrow, start)
    return threshold, exact


def _axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """Entries along the first axis, and in the rest: either fits 32 bits."""
    return (shape[0], prod(shape[1:])) if shape else (1, 1)


def _reaches(number: int, word: Array, widths: list[int], places: Array) -> Array:
    """Where an entry's position, counted backwards, is at or above the place.

    A position is the leaf's number, the index on the first axis, the index within the rest.
    """
    rest, stride = jnp.zeros_like(word), 1
    for axis in reversed(range(1, word.ndim)):
        rest += jax.lax.broadcasted_iota(jnp.uint32, word.shape, axis) * np.uint32(stride)
        stride *= word.shape[axis]
    first = jax.lax.broadcasted_iota(jnp.uint32, word.shape, 0) if word.ndim else rest
    result: Any = True
    indices: list[Any] = [number, first, rest]
    for index, width, place in reversed(list(zip(indices, widths, places, strict=True))):
        backwards = np.uint32(2**width - 1) - index
        result = (backwards > place) | ((backwards == place) & result)
    return result


def _total(selected: list[Array]) -> _Count:
    """How many are True in all."""
    high, low = jnp.uint32(0), jnp.uint32(0)
    for chosen in selected:
        rows = chosen.sum(axis=tuple(range(chosen.size >= 2**32, chosen.ndim)), dtype=jnp.uint32)
        lows = (rows & 0xFFFF).sum(dtype=jnp.uint32)
        high += (rows >> 16).sum(dtype=jnp.uint32) + (lows >> 16)
        low += lows & 0xFFFF
    return _Count(high + (low >> 16), low & 0xFFFF)
