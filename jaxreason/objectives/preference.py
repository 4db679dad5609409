"""Preference learning: objectives on pairs of completions of one prompt.

Batch: see `jaxreason.objectives.pairs`; `reference_log_probabilities [B, 2]` are the sums over the
completions' tokens under the frozen reference model, which ORPO and SimPO do without.

The loss of each is the mean over pairs, so gradients add up exactly over micro-batches, hosts and
meshes. Metrics of all, as (sum, pairs): `loss`, `margin` (of the loss's own rewards), `accuracy`
(share of positive margins), `chosen_reward`, `rejected_reward`, `chosen_log_probability`,
`rejected_log_probability` (sums over tokens).
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives import preference_losses as losses
from jaxreason.objectives.pairs import PairScores, mean_loss, pair_scores, sums_over
from jaxreason.types import Batch, Metrics, Objective, Params

_Rule = Callable[[PairScores, Float[Array, "B 2"]], tuple[Float[Array, " B"], Float[Array, "B 2"]]]
"""`(scores, log ratios) -> (losses [B], rewards [B, 2])`; log ratios are 0 without a reference."""


def _over_pairs(
    model: Transformer, rule: _Rule, chunk: int | None, reference: bool = True
) -> Objective:
    """The mean of `rule` over the pairs of a batch."""

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        scores = pair_scores(model, params, batch, chunk)
        ratios = jnp.zeros_like(scores.log_probabilities)
        if reference:
            ratios = scores.log_probabilities - batch["reference_log_probabilities"]
        values, rewards = rule(scores, ratios)
        margins = rewards[:, 0] - rewards[:, 1]
        measured = {
            "loss": values,
            "margin": margins,
            "accuracy": margins > 0,
            "chosen_reward": rewards[:, 0],
            "rejected_reward": rewards[:, 1],
            "chosen_log_probability": scores.log_probabilities[:, 0],
            "rejected_log_probability": scores.log_probabilities[:, 1],
        }
        metrics = sums_over(measured, scores.present)
        return mean_loss(metrics), metrics

    return objective


def dpo(
    model: Transformer,
    beta: float = 0.1,
    *,
    label_smoothing: float = 0.0,
    normalise: bool = False,
    variant: Literal["sigmoid", "robust", "hinge"] = "sigmoid",
    chunk: int | None = None,
) -> Objective:
    """Direct preference optimisation; rewards are beta rho.

    `sigmoid`: -log s(beta delta), smoothed if `label_smoothing` is positive (conservative DPO);
    `robust` and `hinge`: see `preference_losses`. The gradient at the reference is
    -beta / 2 grad delta.

    Args:
        model: a causal transformer.
        beta: strength of the pull to the reference; 5 is usual with `normalise`.
        label_smoothing: share of labels thought to be flipped, in [0, 0.5).
        normalise: divide each log ratio by its number of tokens (Tulu 3's `dpo_norm`).
        variant: the function of the margin.
        chunk: tokens per chunk of logits; None computes all at once.

    Raises:
        InputError: a setting out of range, an unknown variant, or smoothing of the hinge.
    """
    losses.check_settings(beta=beta, label_smoothing=label_smoothing)
    if variant not in ("sigmoid", "robust", "hinge"):
        raise InputError(f"variant is {variant!r}; expected sigmoid, robust or hinge")
    if variant == "hinge" and label_smoothing:
        raise InputError(f"label_smoothing is {label_smoothing}; the hinge has none, expected 0")

    def rule(scores: PairScores, ratios: Array) -> tuple[Array, Array]:
        rewards = beta * (ratios / scores.lengths if normalise else ratios)
        margins = rewards[:, 0] - rewards[:, 1]
        if variant == "hinge":
            return losses.hinge_loss(margins), rewards
        smooth = losses.robust_loss if variant == "robust" else losses.sigmoid_loss
        return smooth(margins, label_smoothing), rewards

    return _over_pairs(model, rule, chunk)


def ipo(
    model: Transformer, beta: float = 0.1, *, average: bool = True, chunk: int | None = None
) -> Objective:
    """Identity preference optimisation: (delta - 1 / (2 beta))^2; rewards are beta rho.

    Args:
        model: a causal transformer.
        beta: the paper's tau.
        average: per-token averages of the log ratios (as the authors ran it, and TRL does) instead
            of sums (as the paper prints it).
        chunk: tokens per chunk of logits; None computes all at once.

    Raises:
        InputError: beta is not positive.
    """
    losses.check_settings(beta=beta)

    def rule(scores: PairScores, ratios: Array) -> tuple[Array, Array]:
        used = ratios / scores.lengths if average else ratios
        return losses.ipo_loss(used[:, 0] - used[:, 1], beta), beta * used

    return _over_pairs(model, rule, chunk)


def orpo(
    model: Transformer,
    beta: float = 0.1,
    *,
    likelihood_of: Literal["completion", "sequence"] = "completion",
    chunk: int | None = None,
) -> Objective:
    """Odds-ratio preference optimisation: NLL(chosen) + beta (-log s(log odds ratio)).

    Rewards are beta a, with a the average log-probability of the completion. No reference.

    Args:
        model: a causal transformer.
        beta: weight of the odds term (lambda in the paper).
        likelihood_of: tokens of the negative log-likelihood, which is a mean per pair: the chosen
            completion (the paper), or its prompt as well (TRL), which a model never trained on
            prompts would first have to learn.
        chunk: tokens per chunk of logits; None computes all at once.

    Raises:
        InputError: beta is not positive, or unknown tokens of the likelihood.
    """
    losses.check_settings(beta=beta)
    if likelihood_of not in ("completion", "sequence"):
        raise InputError(f"likelihood_of is {likelihood_of!r}; expected completion or sequence")

    def rule(scores: PairScores, ratios: Array) -> tuple[Array, Array]:
        del ratios
        averages = scores.averages
        whole = likelihood_of == "sequence"
        likelihood = scores.likelihoods[:, 0] if whole else averages[:, 0]
        odds = losses.odds_ratio_loss(averages[:, 0], averages[:, 1])
        return -likelihood + beta * odds, beta * averages

    return _over_pairs(model, rule, chunk, reference=False)


def simpo(
    model: Transformer, beta: float = 2.5, gamma: float = 1.375, *, chunk: int | None = None
) -> Objective:
    """Simple preference optimisation: -log s(beta (a_c - a_r) - gamma), without a reference.

    Rewards are beta a; `margin` is their difference before gamma is taken off.

    Args:
        model: a causal transformer.
        beta: scale of the average log-probabilities.
        gamma: the margin asked for, in units of reward (TRL's `simpo_gamma`; gamma / beta in units
            of average log-probability).
        chunk: tokens per chunk of logits; None computes all at once.

    Raises:
        InputError: beta is not positive, or gamma negative.
    """
    losses.check_settings(beta=beta, gamma=gamma)

    def rule(scores: PairScores, ratios: Array) -> tuple[Array, Array]:
        del ratios
        averages = scores.averages
        values = losses.simpo_loss(averages[:, 0], averages[:, 1], beta, gamma)
        return values, beta * averages

    return _over_pairs(model, rule, chunk, reference=False)


_UNPAIRED = {
    "apo_zero": losses.apo_zero_loss,
    "apo_down": losses.apo_down_loss,
    "sppo_hard": losses.sppo_hard_loss,
    "nca": losses.nca_loss,
}


def anchored(
    model: Transformer,
    loss: Literal["apo_zero", "apo_down", "sppo_hard", "nca"],
    beta: float = 0.1,
    *,
    chunk: int | None = None,
) -> Objective:
    """Losses that say where each log ratio should go, not only their difference.

    Rewards are beta rho.

    Args:
        model: a causal transformer.
        loss: see the function of that name in `preference_losses`.
        beta: scale of the log ratios.
        chunk: tokens per chunk of logits; None computes all at once.

    Raises:
        InputError: unknown loss, or beta is not positive.
    """
    losses.check_settings(beta=beta)
    if loss not in _UNPAIRED:
        raise InputError(f"loss is {loss!r}; expected one of {', '.join(_UNPAIRED)}")

    def rule(scores: PairScores, ratios: Array) -> tuple[Array, Array]:
        del scores
        return _UNPAIRED[loss](ratios[:, 0], ratios[:, 1], beta), beta * ratios

    return _over_pairs(model, rule, chunk)
