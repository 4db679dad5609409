"""Kahneman-Tversky optimisation: preference learning from completions labelled one by one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxreason.models import Transformer
from jaxreason.objectives import preference_losses as losses
from jaxreason.objectives.pairs import SEQUENCES, mean_loss, pair_scores, sums_over
from jaxreason.types import Batch, Metrics, Objective, Params


def kto(
    model: Transformer,
    beta: float = 0.1,
    *,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    chunk: int | None = None,
) -> Objective:
    """Kahneman-Tversky optimisation on completions labelled one by one.

    Batch: as for pairs, but index 0 is the completion and index 1 the same prompt with a completion
    of another prompt; `desirable [B]` bool. The baseline z, `preference_losses.kto_baseline`, is
    taken over the whole batch, also when it is split over a mesh. Micro-batches of gradient
    accumulation each have their own, so accumulation changes what is computed.

    Metrics, as (sum, count): `loss`, `baseline` and `accuracy` (share of completions on the right
    side of the baseline) over completions; `desirable_reward`, `undesirable_reward` (beta rho) and
    `desirable_log_probability`, `undesirable_log_probability` over those of either kind.

    Args:
        model: a causal transformer.
        beta: strength of the pull to the reference.
        desirable_weight: of desirable completions. The authors advise that weight times number, of
            the desirable over the undesirable ones, lie in [1, 4/3].
        undesirable_weight: of the others.
        chunk: tokens per chunk of logits; None computes all at once.

    Raises:
        InputError: beta is not positive, or a weight negative.
    """
    losses.check_settings(
        beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight
    )

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key

        def half(index: int, params: Params) -> tuple[Array, Array, Array]:
            rows = {name: batch[name][:, index : index + 1] for name in SEQUENCES}
            scores = pair_scores(model, params, rows, chunk)
            sums = scores.log_probabilities[:, 0]
            return sums, sums - batch["reference_log_probabilities"][:, index], scores.present

        sums, ratios, present = half(0, params)
        # No gradient flows through the baseline, so none is computed.
        _, mismatched, paired = half(1, jax.lax.stop_gradient(params))
        desirable = batch["desirable"]
        baseline = losses.kto_baseline(mismatched, paired.astype(jnp.float32))
        values = losses.kto_loss(
            ratios, desirable, baseline, beta, desirable_weight, undesirable_weight
        )
        right = jnp.where(desirable, ratios > baseline, ratios < baseline)
        level = jnp.broadcast_to(baseline, values.shape)
        metrics = sums_over({"loss": values, "accuracy": right, "baseline": level}, present)
        for name, rows in (("desirable", desirable), ("undesirable", ~desirable)):
            own = {f"{name}_reward": beta * ratios, f"{name}_log_probability": sums}
            metrics |= sums_over(own, present & rows)
        return mean_loss(metrics), metrics

    return objective
