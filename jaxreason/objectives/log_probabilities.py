"""Log-probabilities of given completions, aligned with their tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.models import AttentionSpec, Transformer
from jaxreason.objectives.chunks import over_chunks
from jaxreason.types import Batch, Params


class TokenStatistics(NamedTuple):
    """What the model says about each token of a batch; entry t is about `tokens[:, t]`.

    Attributes:
        log_probabilities: [B, T] float32, of the token given all before it in its segment.
        entropies: [B, T] float32, nats, of the distribution the token was drawn from.

    Both are 0 where `counted` is False.
    """

    log_probabilities: Float[Array, "B T"]
    entropies: Float[Array, "B T"]


def counted(batch: Batch) -> Bool[Array, "B T"]:
    """Which tokens are predicted: targets that have a token of their segment before them.

    Batch: `targets_mask` and `segments`, each [B, T].
    """
    segments = batch["segments"]
    same = (segments == jnp.roll(segments, 1, axis=1)).at[:, 0].set(False)
    return batch["targets_mask"] & same & (segments > 0)


def token_statistics(
    model: Transformer,
    params: Params,
    batch: Batch,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> TokenStatistics:
    """Log-probabilities and entropies of the counted tokens, in float32.

    Batch: `tokens`, `targets_mask`, `segments`, `positions`, each [B, T].

    Args:
        model: a causal transformer.
        params: its parameters.
        batch: what to score.
        chunk: tokens of a device whose logits exist at once; None computes all of them together.
        temperature: divides the logits, as in the sampling it is to be compared with.
    """
    tokens = batch["tokens"]
    spec = AttentionSpec(kind="causal", segments=batch["segments"])
    hidden, _ = model.apply(params, tokens, batch["positions"], spec)
    # The state at t - 1 predicts the token at t.
    before = jnp.roll(hidden, 1, axis=1)

    def statistics(head: Params, hidden: Array, targets: Array) -> tuple[Array, Array]:
        logits = model.unembed(head, hidden) / temperature
        normalised = jax.nn.log_softmax(logits, axis=-1)
        chosen = jnp.take_along_axis(normalised, targets[:, None], axis=-1)[:, 0]
        return chosen, -jnp.sum(jnp.exp(normalised) * normalised, axis=-1)

    chosen, entropies = over_chunks(statistics, model.head(params), before, tokens, chunk)
    mask = counted(batch)
    return TokenStatistics(jnp.where(mask, chosen, 0.0), jnp.where(mask, entropies, 0.0))


def sequence_log_probabilities(
    model: Transformer, params: Params, batch: Batch, chunk: int | None = None
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Sum of the counted tokens' log-probabilities and their number, per row.

    Rows hold one sequence each (`segments` 1, 0 in the padding).
    """
    statistics = token_statistics(model, params, batch, chunk)
    count = counted(batch).sum(axis=1).astype(jnp.float32)
    return statistics.log_probabilities.sum(axis=1), count
