"""The model calls of a denoising step: over everything, or over what a cache does not know.

Each way of calling gives hidden states of the current block. `begin` is the first call of a block,
`again` every later one; without a cache they are the same, and `begin` is None.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models import AttentionSpec, Cache, Transformer
from jaxreason.sampling.diffusion.canvas import Blocks
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.types import Params


class View(NamedTuple):
    """What stays the same during decoding; with guidance R counts both branches."""

    params: Params
    keys: Bool[Array, "R S"]
    positions: Int[Array, "R S"]


Start = Any
"""First slot of the current block: an int where blocks are unrolled, else a scalar array."""

Call = Callable[
    [View, Int[Array, "R S"], Start, Cache | None], tuple[Float[Array, "R b D"], Cache | None]
]
"""`(view, tokens, start, cache) -> (hidden states of the block, cache)`."""


class Calls(NamedTuple):
    """How the model is called.

    Attributes:
        prepare: the cache before the first block, None without one.
        begin: the first call of a block; None if it is no different from the others.
        again: every other call.
        unrolled: `start` must be a Python int: the width of a call depends on it.
    """

    prepare: Callable[[View, Int[Array, "R S"]], Cache | None]
    begin: Call | None
    again: Call
    unrolled: bool = False


def calls_of(model: Transformer, config: TextDiffusionConfig, blocks: Blocks) -> Calls:
    """The model calls of `config.cache`."""
    if config.cache == "block":
        return _block_calls(model, config, blocks)
    width = blocks.length

    def spec(keys: Array) -> AttentionSpec:
        if model.config.attention == "bidirectional":
            return AttentionSpec("bidirectional", keys=keys, mask_mode=config.mask_mode)
        return AttentionSpec("block_causal", width, keys=keys, mask_mode=config.mask_mode)

    def everything(
        view: View, tokens: Array, start: Start, cache: Cache | None
    ) -> tuple[Array, Cache | None]:
        if cache is not None:
            cache = cache._replace(filled=cache.filled * 0)
        hidden, cache = model.apply(view.params, tokens, view.positions, spec(view.keys), cache)
        return _cut(hidden, start, width), cache

    def piece(length: Callable[[Array, Start], int]) -> Call:
        def call(
            view: View, tokens: Array, start: Start, cache: Cache | None
        ) -> tuple[Array, Cache | None]:
            hidden, cache = _run_slots(
                model, spec, view, tokens, start, length(tokens, start), cache
            )
            return hidden[:, :width], cache

        return call

    def empty(view: View, tokens: Array) -> Cache:
        return model.init_cache(*tokens.shape)

    if config.cache == "prefix":
        rest = piece(lambda tokens, start: tokens.shape[1] - start)
        return Calls(empty, everything, rest, unrolled=True)
    if config.cache == "dual":
        return Calls(empty, everything, piece(lambda tokens, start: width))
    return Calls(lambda view, tokens: None, None, everything)


def _block_calls(model: Transformer, config: TextDiffusionConfig, blocks: Blocks) -> Calls:
    """Exact: a block of a block-causal model depends on nothing that comes later.

    The first call of a block runs over the block before it too, whose keys and values were last
    written while some of its tokens were still masked.
    """
    width = blocks.length

    def spec(keys: Array) -> AttentionSpec:
        return AttentionSpec("block_causal", width, keys=keys, mask_mode=config.mask_mode)

    def prepare(view: View, tokens: Array) -> Cache:
        cache = model.init_cache(*tokens.shape)
        if blocks.first > width:
            _, cache = _run_slots(model, spec, view, tokens, 0, blocks.first - width, cache)
        return cache

    def begin(
        view: View, tokens: Array, start: Start, cache: Cache | None
    ) -> tuple[Array, Cache | None]:
        hidden, cache = _run_slots(model, spec, view, tokens, start - width, 2 * width, cache)
        return hidden[:, width:], cache

    def again(
        view: View, tokens: Array, start: Start, cache: Cache | None
    ) -> tuple[Array, Cache | None]:
        return _run_slots(model, spec, view, tokens, start, width, cache)

    return Calls(prepare, begin, again)


def _run_slots(
    model: Transformer,
    spec: Callable[[Array], AttentionSpec],
    view: View,
    tokens: Array,
    start: Start,
    length: int,
    cache: Cache | None,
) -> tuple[Array, Cache]:
    """Run `length` slots from `start` on, writing their keys and values over the cached ones."""
    assert cache is not None
    hidden, cache = model.apply(
        view.params,
        _cut(tokens, start, length),
        _cut(view.positions, start, length),
        spec(_cut(view.keys, start, length)),
        cache._replace(filled=cache.filled * 0 + start),
    )
    assert cache is not None
    return hidden, cache


def _cut(x: Array, start: Start, length: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, length, axis=1)
