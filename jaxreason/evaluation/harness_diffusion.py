"""Probabilities under masked-diffusion models, as the harness asks for them.

They are LLaDA's estimate of the evidence bound (Nie et al. 2025, arXiv 2502.09992, algorithm 3,
and github.com/ML-GSAI/LLaDA, get_log_likelihood.py): of n tokens, k drawn evenly from 1..n are
masked and count n / k each. Where all 2^n - 1 masks are no more than the draws allowed, each is
tried once, with its exact weight: the same on average, without the chance.
"""

import functools
import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.evaluation.harness_batches import batches
from jaxreason.evaluation.harness_text import Pair
from jaxreason.models import Transformer
from jaxreason.objectives.diffusion.token_scores import token_log_probabilities
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.infill import infill
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.judging import ambient
from jaxreason.types import Batch, Params

CHUNK = 1024
"""Tokens of a device whose logits exist at once."""
BATCHES_AT_ONCE = 64
"""Batches whose masked rows are made together."""


class Masks(NamedTuple):
    """Masks of one continuation.

    Attributes:
        masked: bool [K, n].
        weights: float64 [K], what the log-probability of each masked token counts.
    """

    masked: np.ndarray
    weights: np.ndarray


def draw_masks(tokens: int, draws: int, seed: Sequence[int]) -> Masks:
    """Masks of so many tokens: all of them, if that takes no more than `draws`.

    Args:
        tokens: n, at least 1.
        draws: K, at most.
        seed: of the draws; equal for continuations that are compared, whose errors then agree.
    """
    if tokens < 31 and (1 << tokens) - 1 <= draws:
        sets = np.arange(1, 1 << tokens)[:, None] >> np.arange(tokens)
        masked = (sets & 1).astype(bool)
        sizes = masked.sum(axis=1)
        weights = [1.0 / (int(k) * math.comb(tokens, int(k))) for k in sizes]
        return Masks(masked, np.array(weights))
    random = np.random.default_rng(seed)
    levels = (random.random() + np.arange(draws) / draws) % 1.0
    sizes = np.minimum(np.floor(levels * tokens), tokens - 1).astype(int) + 1
    ranks = np.argsort(np.argsort(random.random((draws, tokens)), axis=1), axis=1)
    return Masks(ranks < sizes[:, None], tokens / sizes / draws)


def bound_pairs(
    model: Transformer,
    params: Params,
    pairs: Sequence[Pair],
    *,
    mask_id: int,
    max_length: int,
    batch_size: int,
    draws: int = 128,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """The evidence bound of each continuation given its context, in nats, float64 [n].

    Continuations of one length after one context share their masks.

    Args:
        model: a bidirectional transformer.
        params: its parameters.
        pairs: continuations of at least one id; a context that is too long loses its beginning.
        mask_id: the token that stands for a masked one.
        max_length: tokens that the model sees at once.
        batch_size: masked rows of a batch.
        draws: masks per continuation, at most.
        seed: of the masks.
        mesh: of the parameters.
    """
    bounds, program = np.zeros(len(pairs)), _bounds(model, mask_id)
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i].context + pairs[i].continuation))
    rows: list[_Row] = []
    for count, i in enumerate(order, 1):
        n, ids = len(pairs[i].continuation), _fitted(pairs[i], max_length)
        context = zlib.crc32(np.array(pairs[i].context, np.int64).tobytes())
        masks = draw_masks(n, draws, (seed, context, n))
        rows += (_Row(i, ids, m, float(w)) for m, w in zip(*masks, strict=True))
        if len(rows) >= BATCHES_AT_ONCE * batch_size or count == len(order):
            _add_bounds(bounds, program, params, rows, max_length, batch_size, mesh)
            rows = []
    return bounds


class _Row(NamedTuple):
    """One mask of one pair."""

    pair: int
    ids: tuple[int, ...]
    masked: np.ndarray
    weight: float


def _add_bounds(
    bounds: np.ndarray,
    program: Any,
    params: Params,
    rows: Sequence[_Row],
    max_length: int,
    batch_size: int,
    mesh: Mesh | None,
) -> None:
    for batch in batches([row.ids for row in rows], batch_size, max_length):
        where = np.zeros(batch.tokens.shape, bool)
        for place, i in enumerate(batch.places):
            end = int(batch.lengths[place])
            where[place, end - len(rows[i].masked) : end] = rows[i].masked
        keys = np.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
        placed = place_everywhere({"tokens": batch.tokens, "where": where, "keys": keys}, mesh)
        with ambient(mesh):
            nats = to_host(program(params, placed))
        for place, i in enumerate(batch.places):
            bounds[rows[i].pair] += rows[i].weight * float(nats[place])


@functools.cache
def _bounds(model: Transformer, mask_id: int) -> Any:
    def summed(params: Params, batch: Batch) -> Any:
        tokens, where = batch["tokens"], batch["where"]
        inputs = jax.numpy.where(where, mask_id, tokens)
        scores = token_log_probabilities(
            model, params, inputs, tokens, where, batch["keys"], chunk=CHUNK
        )
        return scores.sum(axis=1)

    return jax.jit(summed)


def _fitted(pair: Pair, max_length: int) -> tuple[int, ...]:
    return (*pair.context, *pair.continuation)[-max_length:]


def greedy_pairs(
    model: Transformer,
    params: Params,
    pairs: Sequence[Pair],
    *,
    mask_id: int,
    max_length: int,
    batch_size: int,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """Whether decoding gives the continuation: always the token the model is surest of. bool [n].

    Arguments as for `bound_pairs`.
    """
    rows = [_fitted(pair, max_length) for pair in pairs]
    found = np.zeros(len(pairs), bool)
    for batch in batches(rows, batch_size, max_length):
        canvas, width = batch.tokens.copy(), batch.tokens.shape[1]
        keys = np.arange(width) < batch.lengths[:, None]
        for row in range(len(canvas)):
            pair = pairs[batch.places[min(row, len(batch.places) - 1)]]
            end = int(batch.lengths[row])
            canvas[row, end - len(pair.continuation) : end] = mask_id
        program = _infiller(model, mask_id, width)
        placed = place_everywhere({"tokens": canvas, "keys": keys}, mesh)
        with ambient(mesh):
            written = to_host(program(params, placed, jax.random.key(0)).tokens)
        same = ((written == batch.tokens) | ~keys).all(axis=1)
        found[batch.places] = same[: len(batch.places)]
    return found


@functools.lru_cache(maxsize=64)
def _infiller(model: Transformer, mask_id: int, width: int) -> Any:
    return infill(model, TextDiffusionConfig(width, suppress_mask=False), mask_id=mask_id)
