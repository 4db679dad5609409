"""Log-probabilities of continuations under a next-token model."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jaxreason.evaluation.harness_batches import batches
from jaxreason.evaluation.harness_text import Pair
from jaxreason.models import Transformer
from jaxreason.objectives.chunks import over_chunks
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.judging import ambient
from jaxreason.types import Params

CHUNK = 1024
"""Tokens of a device whose logits exist at once."""


def score_pairs(
    model: Transformer,
    params: Params,
    pairs: Sequence[Pair],
    *,
    max_length: int,
    batch_size: int,
    mesh: Mesh | None = None,
) -> list[tuple[float, bool]]:
    """Log-probability of each continuation given its context, and whether it is the greedy one.

    What is longer than `max_length` + 1 tokens loses its beginning. Continuations that differ in
    their last token only (the letters of a multiple choice) are scored by one row.

    Args:
        model: a causal transformer.
        params: its parameters.
        pairs: each with at least one id before and in the continuation.
        max_length: tokens that the model sees at once.
        batch_size: rows of a batch; on a mesh a multiple of the devices that rows are split over.
        mesh: of the parameters.

    Returns:
        (nats, greedy) of each pair.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, pair in enumerate(pairs):
        seen = (*pair.context, *pair.continuation)[-(max_length + 1) :][:-1]
        groups.setdefault(seen, []).append(i)
    inputs = list(groups)
    score = scorer(model)
    found: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
    for rows in batches(inputs, batch_size, max_length):
        members = [groups[inputs[place]] for place in rows.places]
        width = 1 << (max(len(each) for each in members) - 1).bit_length()
        last = np.zeros((batch_size, width), np.int32)
        for row, each in enumerate(members):
            last[row, : len(each)] = [pairs[i].continuation[-1] for i in each]
        batch = {"tokens": rows.tokens, "lengths": rows.lengths, "last": last}
        with ambient(mesh):
            nats, greedy, last_nats, last_greedy = to_host(
                score(params, place_everywhere(batch, mesh))
            )
        for row, each in enumerate(members):
            end = int(rows.lengths[row])
            for column, i in enumerate(each):
                # Entry t is about token t of the row; the last token stands after the row.
                inner = slice(end - len(pairs[i].continuation) + 1, end)
                total = nats[row, inner].sum(dtype=np.float64) + last_nats[row, column]
                same = greedy[row, inner].all() and last_greedy[row, column]
                found[i] = float(total), bool(same)
    return found


@functools.cache
def scorer(model: Transformer) -> Any:
    """The jitted program; one for each model, whatever is scored.

    It takes parameters and `tokens` [B, T], `lengths` [B], `last` [B, K], and gives log-probability
    and whether it is the most likely of each token [B, T] (entry 0 means nothing), and of each id
    in `last` as the next token [B, K].
    """
    return jax.jit(functools.partial(_scores, model))


def _scores(model: Transformer, params: Params, batch: dict[str, Array]) -> tuple[Array, ...]:
    tokens = batch["tokens"]
    hidden, _ = model.apply(params, tokens)

    def per_token(head: Params, hidden: Array, targets: Array) -> tuple[Array, Array]:
        logits = model.unembed(head, hidden)
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        nats = chosen - jax.nn.logsumexp(logits, axis=-1)
        return nats, jnp.argmax(logits, axis=-1) == targets

    head = model.head(params)
    nats, greedy = over_chunks(per_token, head, jnp.roll(hidden, 1, axis=1), tokens, CHUNK)
    end = (batch["lengths"] - 1)[:, None, None]
    logits = model.unembed(head, jnp.take_along_axis(hidden, end, axis=1)[:, 0])
    normalised = jax.nn.log_softmax(logits, axis=-1)
    last_nats = jnp.take_along_axis(normalised, batch["last"], axis=-1)
    last_greedy = jnp.argmax(logits, axis=-1)[:, None] == batch["last"]
    return nats, greedy, last_nats, last_greedy
