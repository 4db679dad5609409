"""Preferences for diffusion policies: DPO on differences of ELBOs, with VRPO's variance reduction.

LLaDA 1.5 (Zhu et al. 2025, arXiv 2505.19223): DPO's log-probabilities are replaced by ELBOs, which
are estimated. Variance falls by drawing many noise levels with one mask each rather than many masks
at few levels, and by giving policy and reference the same levels and masks ("antithetic"), so that
what both share cancels. The masks ride in the batch, together with what the reference says under
them.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.aggregation import mean
from jaxreason.objectives.diffusion.policy import noised_log_probabilities
from jaxreason.objectives.diffusion.policy_losses import sequence_elbo
from jaxreason.objectives.preference_losses import sigmoid_loss
from jaxreason.types import Batch, Metrics, Objective, Params

NEEDED = ("tokens", "keys", "masked", "weights", "reference_log_probabilities")


def preference_pairs(
    rows: Mapping[str, np.ndarray], rewards: np.ndarray, group: int
) -> dict[str, np.ndarray]:
    """Of each group the answer with the highest and the one with the lowest reward, as one pair.

    The first of equals is taken; pairs of equal rewards get `pair_weights` 0.

    Args:
        rows: arrays [B, ...], the answers to one prompt next to each other.
        rewards: [B].
        group: answers per prompt.

    Returns:
        The arrays as [B / group, 2, ...], and `pair_weights` float32 [B / group].
    """
    grouped = np.asarray(rewards).reshape(-1, group)
    first = np.arange(len(grouped)) * group
    chosen = np.stack([first + grouped.argmax(axis=1), first + grouped.argmin(axis=1)], axis=1)
    pairs = {name: np.asarray(values)[chosen] for name, values in rows.items()}
    return {**pairs, "pair_weights": (np.ptp(grouped, axis=1) > 0).astype(np.float32)}


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
    under the same masks; `pair_weights [B]` if pairs do not count alike.

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
        metrics = _pair_metrics(losses, margins, own, batch.get("pair_weights"))
        return mean(*metrics["loss"]), metrics

    return objective


def _pair_metrics(losses: Array, margins: Array, own: Array, weights: Array | None) -> Metrics:
    """What is watched, summed over pairs with their weights; `own` [B, 2] are the ELBOs."""
    if weights is None:
        weights = jnp.ones_like(losses)
    count = weights.sum()
    watched = {
        "loss": losses,
        "margin": margins,
        "accuracy": margins > 0,
        "chosen_elbo": own[:, 0],
        "rejected_elbo": own[:, 1],
    }
    return {name: (jnp.sum(weights * x), count) for name, x in watched.items()}
