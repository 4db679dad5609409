"""Batches of completion pairs: what the policy says about them, and whether they are usable.

Batch: `tokens [B, 2, T]` int32, `targets_mask` bool (True on the completion, its end token
included), `segments` int32 (1, and 0 in the padding) and `positions` int32 of the same shape: one
sequence, prompt then completion, padded on the right, in each row. Index 0 is the chosen
completion, 1 the rejected one; for `kto` the completion, and the same prompt with a completion of
another. Besides `reference_log_probabilities [B, 2]` float32 and, for `kto`, `desirable [B]` bool.
Rows without a target in one of the halves are padding and count nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.log_probabilities import counted, token_statistics
from jaxreason.types import Batch, Metrics, Params

SEQUENCES = ("tokens", "targets_mask", "segments", "positions")
"""The arrays of a batch that say what its sequences are."""


class PairScores(NamedTuple):
    """What the policy says about the W (usually two) sequences of each row.

    Attributes:
        log_probabilities: [B, W] float32, summed over the completion's tokens.
        lengths: [B, W] float32, number of those tokens, at least 1.
        likelihoods: [B, W] float32, mean log-probability over all tokens of the sequence that have
            one before them, prompt included.
        present: [B] bool, False for padding rows.
    """

    log_probabilities: Float[Array, "B W"]
    lengths: Float[Array, "B W"]
    likelihoods: Float[Array, "B W"]
    present: Bool[Array, " B"]

    @property
    def averages(self) -> Float[Array, "B W"]:
        """Log-probability per completion token."""
        return self.log_probabilities / self.lengths


def pair_scores(
    model: Transformer, params: Params, batch: Batch, chunk: int | None = None
) -> PairScores:
    """Scores all sequences of a batch in one forward pass over B x W rows.

    Args:
        model: a causal transformer.
        params: its parameters.
        batch: the arrays `SEQUENCES`, each [B, W, T].
        chunk: tokens whose logits exist at once; None computes all of them together.
    """
    rows, width, length = batch["tokens"].shape
    flat = {name: batch[name].reshape(rows * width, length) for name in SEQUENCES}
    completion = counted(flat)
    everything = {**flat, "targets_mask": flat["segments"] > 0}
    tokens = token_statistics(model, params, everything, chunk).log_probabilities

    def total(values: Array) -> Array:
        return values.sum(axis=1).reshape(rows, width)

    lengths = total(completion.astype(jnp.float32))
    predicted = jnp.maximum(total(counted(everything).astype(jnp.float32)), 1.0)
    return PairScores(
        total(jnp.where(completion, tokens, 0.0)),
        jnp.maximum(lengths, 1.0),
        total(tokens) / predicted,
        jnp.all(lengths > 0, axis=1),
    )


def sums_over(measured: Mapping[str, Array], present: Bool[Array, " B"]) -> dict[str, Any]:
    """Per-row values as metrics: (sum over the rows present, number of these)."""
    count = present.sum().astype(jnp.float32)
    return {
        name: (jnp.sum(jnp.where(present, value, 0.0)), count) for name, value in measured.items()
    }


def mean_loss(metrics: Metrics) -> Float[Array, ""]:
    """The loss an objective returns beside these metrics."""
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1.0)


def check_preferences(
    batch: Mapping[str, np.ndarray], *, reference: bool = True, labels: bool = False
) -> None:
    """A batch (or a whole data set in its form) is what the objectives expect.

    Args:
        batch: numpy arrays.
        reference: whether the objective reads reference log-probabilities.
        labels: whether it reads `desirable`, as `kto` does.

    Raises:
        InputError: an array is missing or of a wrong shape, a completion is empty, or a reference
            log-probability is not finite or positive; names the array and the first such row.
    """
    needed = [*SEQUENCES, *["reference_log_probabilities"] * reference, *["desirable"] * labels]
    for name in needed:
        if name not in batch:
            raise InputError(f"the batch has no {name!r}; expected {', '.join(needed)}")
    shape = np.shape(batch["tokens"])
    if len(shape) != 3 or shape[1] != 2:
        raise InputError(f"tokens has shape {shape}; expected [rows, 2, length]")
    expected = {"reference_log_probabilities": shape[:2], "desirable": shape[:1]}
    for name in needed:
        if np.shape(batch[name]) != expected.get(name, shape):
            raise InputError(
                f"{name} has shape {np.shape(batch[name])}; expected {expected.get(name, shape)}, "
                f"as tokens has {shape}"
            )
    targets = np.asarray(batch["targets_mask"], bool) & (np.asarray(batch["segments"]) > 0)
    empty = np.argwhere(~targets[:, :, 1:].any(axis=2))
    if empty.size:
        row, half = empty[0].tolist()
        raise InputError(f"completion {half} of pair {row} is empty; expected at least one token")
    if reference:
        sums = np.asarray(batch["reference_log_probabilities"])
        bad = np.argwhere(~(np.isfinite(sums) & (sums <= 0)))
        if bad.size:
            row, half = bad[0].tolist()
            raise InputError(
                f"reference_log_probabilities[{row}, {half}] is {sums[row, half]}; expected a "
                "finite number of at most 0"
            )
