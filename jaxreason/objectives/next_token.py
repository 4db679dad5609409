"""Next-token cross-entropy, computed without ever holding all logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.models import AttentionSpec, Transformer
from jaxreason.objectives.chunks import over_chunks
from jaxreason.types import Batch, Metrics, Objective, Params


def token_losses(
    model: Transformer,
    params: Params,
    hidden: Float[Array, "B T D"],
    targets: Int[Array, "B T"],
    chunk: int | None,
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
    """Cross-entropy of each target in nats, and whether it is the most likely token.

    Args:
        model: gives `unembed`.
        params: its parameters.
        hidden: [B, T, D] states, one per target.
        targets: [B, T] int32 token ids.
        chunk: targets whose logits exist at once on a device; their logits are computed again in
            the backward pass. None keeps all B x T x V logits.
    """

    def losses(head: Params, hidden: Array, targets: Array) -> tuple[Array, Array]:
        logits = model.unembed(head, hidden)
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        return normaliser - chosen, chosen >= jnp.max(logits, axis=-1)

    return over_chunks(losses, model.head(params), hidden, targets, chunk)


def next_token(model: Transformer, chunk: int | None = None) -> Objective:
    """Mean cross-entropy over the tokens marked in `targets_mask`, each from what precedes it.

    Batch: `tokens`, `targets_mask`, `segments`, `positions`, each [batch, length]. The first token
    of a segment has nothing before it and is never a target. Metrics: `loss` (nats) and
    `accuracy`, as (sum, count) over targets.

    Args:
        model: a causal transformer.
        chunk: tokens of a device whose logits exist at once; None computes all logits together.
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
        losses, correct = token_losses(model, params, hidden, targets, chunk)
        weights = counted.astype(jnp.float32)
        count = weights.sum()
        total = jnp.sum(losses * weights)
        metrics = {"loss": (total, count), "accuracy": (jnp.sum(correct * weights), count)}
        return total / jnp.maximum(count, 1.0), metrics

    return objective
