"""The model calls of a denoising step: over everything, or over what a cache does not know.

Each way of calling gives hidden states of the current block.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models import AttentionSpec, Cache, Transformer
from jaxreason.models.attention import Kind, MaskMode
from jaxreason.sampling.diffusion.canvas import Blocks
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.types import Params

PREFIX_WIDTHS = 4
"""Lengths of text that the prefix cache's calls are compiled for. What follows the prefix grows
shorter by a block at a time; a program of its own for each block would take too long to compile.
"""


class View(NamedTuple):
    """What stays the same during decoding; with guidance R counts both branches."""

    params: Params
    keys: Bool[Array, "R S"]
    positions: Int[Array, "R S"]


Start = Int[Array, ""]
"""First slot of the current block."""

Call = Callable[
    [View, Int[Array, "R S"], Start, Cache | None], tuple[Float[Array, "R b D"], Cache | None]
]
"""`(view, tokens, start, cache) -> (hidden states of the block, cache)`."""


class Stage(NamedTuple):
    """Consecutive blocks whose calls have the same shapes.

    Attributes:
        end: the block after the last one.
        begin: the first call of a block; None if it is no different from the others.
        again: every other call.
    """

    end: int
    begin: Call | None
    again: Call


class Calls(NamedTuple):
    """How the model is called.

    Attributes:
        prepare: the cache before the first block, None without one.
        stages: of the blocks, in order.
    """

    prepare: Callable[[View, Int[Array, "R S"]], Cache | None]
    stages: tuple[Stage, ...]


def calls_of(model: Transformer, config: TextDiffusionConfig, blocks: Blocks) -> Calls:
    """The model calls of `config.cache`."""
    if config.cache == "block":
        return _block_calls(model, config, blocks)
    kind: Kind = "bidirectional" if config.cache != "none" else _kind(model)
    spec = _spec(kind, config, blocks)

    def everything(
        view: View, tokens: Array, start: Start, cache: Cache | None
    ) -> tuple[Array, Cache | None]:
        if cache is not None:
            cache = cache._replace(filled=jnp.zeros((), jnp.int32))
        hidden, cache = model.apply(view.params, tokens, view.positions, spec(view.keys), cache)
        return _cut(hidden, start, blocks.length), cache

    if config.cache == "none":
        return Calls(lambda view, tokens: None, (Stage(blocks.number, None, everything),))

    def part(width: int) -> Call:
        def call(
            view: View, tokens: Array, start: Start, cache: Cache | None
        ) -> tuple[Array, Cache | None]:
            hidden, cache = _run_slots(model, spec, view, tokens, start, width, cache)
            return hidden[:, : blocks.length], cache

        return call

    together = 1 if config.cache == "dual" else -(-blocks.number // PREFIX_WIDTHS)

    def empty(view: View, tokens: Array) -> Cache:
        rows, slots = tokens.shape
        return model.init_cache(rows, slots + (together - 1) * blocks.length)

    if config.cache == "dual":
        return Calls(empty, (Stage(blocks.number, everything, part(blocks.length)),))
    stages = []
    for first in range(0, blocks.number, together):
        rest = part((blocks.number - first) * blocks.length)
        stages.append(Stage(min(first + together, blocks.number), everything, rest))
    return Calls(empty, tuple(stages))


def _block_calls(model: Transformer, config: TextDiffusionConfig, blocks: Blocks) -> Calls:
    """Exact: a block of a block-causal model depends on nothing that comes later.

    The first call of a block runs over the block before it too, whose keys and values were last
    written while some of its tokens were still masked.
    """
    width = blocks.length
    spec = _spec("block_causal", config, blocks)

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

    return Calls(prepare, (Stage(blocks.number, begin, again),))


def _kind(model: Transformer) -> Kind:
    """A model of block diffusion is block-causal once there is no clean copy beside the text."""
    return "bidirectional" if model.config.attention == "bidirectional" else "block_causal"


def _spec(
    kind: Kind, config: TextDiffusionConfig, blocks: Blocks
) -> Callable[[Array], AttentionSpec]:
    block = blocks.length if kind == "block_causal" else 0
    # In mode "full" all keys of a view are True, and those beyond its end are still seen by nobody.
    mode: MaskMode = "legacy_float" if config.mask_mode == "legacy_float" else "bool"
    return lambda keys: AttentionSpec(kind, block, keys=keys, mask_mode=mode)


def _run_slots(
    model: Transformer,
    spec: Callable[[Array], AttentionSpec],
    view: View,
    tokens: Int[Array, "R S"],
    start: Start | int,
    length: int,
    cache: Cache | None,
) -> tuple[Float[Array, "R n D"], Cache]:
    """Run `length` slots from `start` on, writing their keys and values over the cached ones.

    The cache may have more slots than the text, so that what is run may reach beyond its end; what
    stands there is seen by nobody.
    """
    assert cache is not None
    beyond = cache.valid.shape[1] - tokens.shape[1]

    def piece(x: Array) -> Array:
        return _cut(jnp.pad(x, ((0, 0), (0, beyond))), start, length)

    hidden, cache = model.apply(
        view.params,
        piece(tokens),
        piece(view.positions),
        spec(piece(view.keys)),
        cache._replace(filled=jnp.asarray(start, jnp.int32)),
    )
    assert cache is not None
    return hidden, cache


def _cut(x: Array, start: Start | int, length: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, length, axis=1)
