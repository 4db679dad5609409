"""Next-token cross-entropy, computed without ever holding all logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.models import AttentionSpec, Transformer
from jaxreason.types import Batch, Metrics, Objective, Params


def over_chunks(
    function: Callable[[Array, Array], tuple[Array, Array]],
    hidden: Float[Array, "N D"],
    targets: Int[Array, " N"],
    chunk: int | None,
) -> tuple[Array, Array]:
    """`function(hidden, targets)`, two arrays [N], computed `chunk` targets at a time.

    What `function` makes on the way is computed again in the backward pass. None, or a chunk that
    holds all targets, calls it once.
    """
    count = targets.shape[0]
    if chunk is None or count <= chunk:
        return function(hidden, targets)
    padding = -count % chunk
    hidden = jnp.pad(hidden, ((0, padding), (0, 0))).reshape(-1, chunk, hidden.shape[-1])
    targets = jnp.pad(targets, (0, padding)).reshape(-1, chunk)

    def step(carry: None, xs: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        return carry, jax.checkpoint(function)(*xs)

    _, (first, second) = jax.lax.scan(step, None, (hidden, targets))
    return first.reshape(-1)[:count], second.reshape(-1)[:count]


def token_losses(
    model: Transformer,
    params: Params,
    hidden: Float[Array, "N D"],
    targets: Int[Array, " N"],
    chunk: int | None,
) -> tuple[Float[Array, " N"], Bool[Array, " N"]]:
    """Cross-entropy of each target in nats, and whether it is the most likely token.

    Args:
        model: gives `unembed`.
        params: its parameters.
        hidden: [N, D] states, one per target.
        targets: [N] int32 token ids.
        chunk: targets whose logits exist at once; their logits are computed again in the
            backward pass. None keeps all N x V logits.
    """

    def losses(hidden: Array, targets: Array) -> tuple[Array, Array]:
        logits = model.unembed(params, hidden)
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        return normaliser - chosen, chosen >= jnp.max(logits, axis=-1)

    return over_chunks(losses, hidden, targets, chunk)


def next_token(model: Transformer, chunk: int | None = None) -> Objective:
    """Mean cross-entropy over the tokens marked in `targets_mask`, each from what precedes it.

    Batch: `tokens`, `targets_mask`, `segments`, `positions`, each [batch, length]. The first token
    of a segment has nothing before it and is never a target. Metrics: `loss` (nats) and
    `accuracy`, as (sum, count) over targets.

    Args:
        model: a causal transformer.
        chunk: tokens per chunk of the cross-entropy; None computes all logits at once.
    """

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        tokens, segments = batch["tokens"], batch["segments"]
        spec = AttentionSpec(kind="causal", segments=segments)
        hidden, _ = model.apply(params, tokens, batch["positions"], spec)
        targets = jnp.roll(tokens, -1, axis=1)
        same = segments == jnp.roll(segments, -1, axis=1)
        counted = jnp.roll(batch["targets_mask"], -1, axis=1) & same & (segments > 0)
        counted = counted.at[:, -1].set(False)
        flat: Any = hidden.reshape(-1, hidden.shape[-1])
        losses, correct = token_losses(model, params, flat, targets.reshape(-1), chunk)
        weights = counted.reshape(-1).astype(jnp.float32)
        count = weights.sum()
        total = jnp.sum(losses * weights)
        metrics = {"loss": (total, count), "accuracy": (jnp.sum(correct * weights), count)}
        return total / jnp.maximum(count, 1.0), metrics

    return objective
