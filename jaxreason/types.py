"""The few shapes everything meets at.

Dimension letters used throughout: B batch, T length (tokens), V vocabulary, D width, L layers,
H query heads, G key-value heads, K head size.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Params = Mapping[str, Any]
"""Nested dicts of arrays; the leaves of one transformer layer are stacked on axis 0."""

Batch = Mapping[str, Array]
"""Flat dict of arrays: `tokens, targets_mask, segments, positions`, each [batch, length]."""

Metrics = Mapping[str, tuple[Array, Array]]
"""Name to (sum, count): adding them over micro-batches, hosts and meshes stays exact."""

Tokens = Int[Array, "B T"]
Logits = Float[Array, "B T V"]

Objective = Callable[[Params, Batch, PRNGKeyArray], tuple[Float[Array, ""], Metrics]]
"""`(params, batch, key) -> (loss, metrics)`; `loss` equals sum / count of `metrics["loss"]`."""


class Completions(NamedTuple):
    """What a sampler returns; rows are right-padded after their end token.

    Attributes:
        tokens: [batch, length] int32, the end token included.
        log_probabilities: [batch, length] float32 of each token under the sampled distribution
            before temperature, top-k and top-p; 0 in the padding.
        lengths: [batch] int32, tokens generated, the end token included.
        finished: [batch] bool, True if the end token was produced, False if cut by the limit.
        order: [batch, length] int32, the denoising step that revealed the token, from 0; -1 if none
            did. None where tokens come one after the other.
        steps: [batch] int32, how often the model was called for the row; None where not counted.
    """

    tokens: Int[Array, "B T"]
    log_probabilities: Float[Array, "B T"]
    lengths: Int[Array, " B"]
    finished: Bool[Array, " B"]
    order: Int[Array, "B T"] | None = None
    steps: Int[Array, " B"] | None = None


Sampler = Callable[[Params, Batch, PRNGKeyArray], Completions]
"""`(params, prompts, key) -> Completions`; prompts: `tokens [B, T]`, `lengths [B]`."""
