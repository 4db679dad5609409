"""Preferences for diffusion policies: DPO on differences of ELBOs, with VRPO's variance reduction.

LLaDA 1.5 (Zhu et al. 2025, arXiv 2505.19223): DPO's log-probabilities are replaced by ELBOs, which
are estimated. Variance falls by drawing many noise levels with one mask each rather than many masks
at few levels, and by giving policy and reference the same levels and masks ("antithetic"), so that
what both share cancels. The masks ride in the batch, together with what the reference says under
them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.diffusion.corruption import ranks
from jaxreason.objectives.diffusion.noising import Noise, Rows
from jaxreason.objectives.diffusion.policy import noised_log_probabilities
from jaxreason.objectives.diffusion.policy_losses import sequence_elbo
from jaxreason.objectives.preference_losses import sigmoid_loss
from jaxreason.types import Batch, Metrics, Objective, Params

NEEDED = ("tokens", "keys", "masked", "weights", "reference_log_probabilities")


def elbo_noise(rows: Rows, key: PRNGKeyArray, draws: int) -> Noise:
    """Masks and weights of an unbiased ELBO estimate: k of L tokens, k uniform in 1..L, weight L/k.

    Each draw has a level and a mask of its own, VRPO's optimal allocation of a budget; levels are
    stratified: draw i's lies in the i-th of `draws` equal parts.

    Args:
        rows: `maskable [B, T]`, the places of the response; others are never masked.
        key: of the draws.
        draws: K.

    Returns:
        `masked` and `weights`, [B, K, T].
    """
    if draws < 1:
        raise InputError(f"draws={draws}: expected at least 1")
    maskable = rows["maskable"]
    count, length = maskable.shape
    level_key, place_key = jax.random.split(key)
    level = (jnp.arange(draws) + jax.random.uniform(level_key, (count, draws))) / draws
    total = maskable.sum(axis=1)[:, None]
    size = jnp.minimum(jnp.floor(level * total).astype(total.dtype), total - 1) + 1
    uniform = jax.random.uniform(place_key, (count, draws, length))
    among = jnp.broadcast_to(maskable[:, None], uniform.shape)
    masked = among & (ranks(uniform, among) < size[..., None])
    scale = total / jnp.maximum(size, 1) / draws
    return Noise(masked, jnp.where(masked, scale[..., None], 0.0))


def diffusion_preference(
    model: Transformer,
    *,
    mask_id: int,
    beta: float = 0.2,
    label_smoothing: float = 0.0,
    mask_mode: Any = "bool",
    chunk: int | None = None,
) -> Objective:
    """-log sigmoid(beta (D_chosen - D_rejected)), D the ELBO's difference to the reference's.

    Batch, one pair per row, the chosen response first: `tokens [B, 2, T]`, `keys [B, 2, T]`,
    `masked [B, 2, K, T]`, `weights [B, 2, K, T]`, `reference_log_probabilities [B, 2, K, T]`, all
    under the same masks.

    Metrics, (sum, count) over pairs: `loss`, `margin` (beta times the difference), `accuracy`
    (positive margins), `chosen_elbo`, `rejected_elbo`.

    Args:
        model: the policy.
        mask_id: of the mask token.
        beta: strength of the reference (the paper's 0.2).
        label_smoothing: share of labels taken to be flipped.
        mask_mode: how padding is hidden.
        chunk: tokens whose logits exist at once.

    Raises:
        InputError: numbers out of range; with the first batch, an array is missing.
    """
    if not beta > 0:
        raise InputError(f"beta={beta}: expected more than 0")
    if not 0 <= label_smoothing < 0.5:
        raise InputError(f"label_smoothing={label_smoothing}: expected 0 to below 0.5")

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        for name in NEEDED:
            if name not in batch:
                raise InputError(f"the batch lacks {name!r}, which diffusion preference needs")
        pairs = batch["tokens"].shape[0]
        flat = {name: batch[name].reshape(-1, *batch[name].shape[2:]) for name in NEEDED}
        new = noised_log_probabilities(
            model, params, flat, mask_id=mask_id, mask_mode=mask_mode, chunk=chunk
        )
        own = sequence_elbo(new, flat["weights"]).reshape(pairs, 2)
        given = sequence_elbo(flat["reference_log_probabilities"], flat["weights"])
        gain = own - given.reshape(pairs, 2)
        margins = beta * (gain[:, 0] - gain[:, 1])
        losses = sigmoid_loss(margins, label_smoothing)
        count = jnp.asarray(pairs, losses.dtype)
        metrics = {
            "loss": (losses.sum(), count),
            "margin": (margins.sum(), count),
            "accuracy": (jnp.sum(margins > 0).astype(losses.dtype), count),
            "chosen_elbo": (own[:, 0].sum(), count),
            "rejected_elbo": (own[:, 1].sum(), count),
        }
        return losses.sum() / count, metrics

    return objective
