"""CLIP's objective: pictures and texts that belong together are near each other."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxreason.models.clip import Clip, contrastive_loss
from jaxreason.types import Batch, Metrics, Objective, Params


def contrastive(model: Clip) -> Objective:
    """Cross-entropy of the right text for each picture and of the right picture for each text
    (Radford et al. 2021), on batches `{tokens [B, T] int32, pixels [B, Y, X, 3] float32}`.

    The rows of a batch are each other's wrong answers: accumulating over micro-batches makes the
    task easier, and the loss another one. Metrics besides the loss: `accuracy`, the share of
    pictures whose own text is the nearest.
    """

    def objective(
        params: Params, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        del key
        text = model.text_features(params, batch["tokens"])
        image = model.image_features(params, batch["pixels"])
        logits = model.logits(params, text, image)
        loss, count = contrastive_loss(logits), jnp.float32(len(logits))
        right = jnp.argmax(logits, axis=1) == jnp.arange(len(logits))
        return loss, {
            "loss": (loss * count, count),
            "accuracy": (jnp.sum(right, dtype=jnp.float32), count),
        }

    return objective
