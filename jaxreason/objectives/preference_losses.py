"""Preference losses as functions of sequence log-probabilities, one value per example.

Notation of the docstrings, for a chosen completion c and a rejected one r of the same prompt: L is
the sum of a completion's token log-probabilities (the end token included, the prompt not), n the
number of those tokens, L' the same sum under the frozen reference model. rho = L - L' is the log
ratio of one completion, delta = rho_c - rho_r the difference within a pair, a = L / n the average
log-probability. Arrays are [B] floating; so are results, unless something else is said.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.errors import InputError

Examples = Float[Array, " B"]


def sigmoid_loss(margins: Examples, label_smoothing: float = 0.0) -> Examples:
    """-(1 - e) log s(m) - e log s(-m): DPO on m = beta delta, conservative DPO where e > 0.

    Rafailov et al. 2023, arXiv:2305.18290, equation 7; the smoothing is Mitchell 2023, "A note on
    DPO with noisy preferences", equation 3. On m = beta (rho_c / n_c - rho_r / n_r) it is the
    length-normalised DPO of Tulu 3 (Lambert et al. 2024, arXiv:2411.15124), there with beta 5.
    """
    straight, flipped = jax.nn.log_sigmoid(margins), jax.nn.log_sigmoid(-margins)
    return -(1 - label_smoothing) * straight - label_smoothing * flipped


def robust_loss(margins: Examples, label_smoothing: float) -> Examples:
    """[-(1 - e) log s(m) + e log s(-m)] / (1 - 2e), unbiased when a share e of labels is flipped.

    Chowdhury et al. 2024, arXiv:2403.00409 (robust DPO).
    """
    straight, flipped = jax.nn.log_sigmoid(margins), jax.nn.log_sigmoid(-margins)
    weighted = -(1 - label_smoothing) * straight + label_smoothing * flipped
    return weighted / (1 - 2 * label_smoothing)


def hinge_loss(margins: Examples) -> Examples:
    """max(0, 1 - m), with m as in DPO.

    The loss of SLiC (Zhao et al. 2023, arXiv:2305.10425) on DPO's margin, as in RSO (Liu et al.
    2023, arXiv:2309.06657).
    """
    return jax.nn.relu(1 - margins)


def ipo_loss(differences: Examples, beta: float) -> Examples:
    """(d - 1 / (2 beta))^2: Azar et al. 2023, arXiv:2310.12036, equation 17, beta being its tau.

    As printed d = delta, of sums. The authors' experiments used averages per token,
    d = rho_c / n_c - rho_r / n_r, as the comment in TRL's `dpo_trainer.py` reports.
    """
    return (differences - 1 / (2 * beta)) ** 2


def kto_baseline(mismatched: Examples, weights: Examples) -> Float[Array, ""]:
    """z = max(0, weighted mean of rho over mismatched pairs), through which no gradient flows.

    A mismatched pair is a prompt with a completion of another prompt; z stands for
    KL(policy || reference). Ethayarajh et al. 2024, arXiv:2402.01306, section 4.
    """
    mean = jnp.sum(mismatched * weights) / jnp.maximum(jnp.sum(weights), 1.0)
    return jax.lax.stop_gradient(jnp.maximum(mean, 0.0))


def kto_loss(
    log_ratios: Examples,
    desirable: Bool[Array, " B"],
    baseline: Float[Array, ""],
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Examples:
    """w_D (1 - s(beta (rho - z))) if desirable, else w_U (1 - s(beta (z - rho))).

    Ethayarajh et al. 2024, arXiv:2402.01306, section 4: lambda_y - v(x, y).
    """
    gain = beta * (log_ratios - baseline)
    return jnp.where(
        desirable,
        desirable_weight * (1 - jax.nn.sigmoid(gain)),
        undesirable_weight * (1 - jax.nn.sigmoid(-gain)),
    )


def log_odds(averages: Examples) -> Examples:
    """log(p / (1 - p)) of p = exp(a), for averages a <= 0.

    Averages within 1e-6 of 0 (certainty) count as -1e-6: the odds stay finite, and there is no
    gradient to make a certain completion more certain.
    """
    below = jnp.minimum(averages, -1e-6)
    # Of log(1 - exp(a)) each form is exact where the other cancels; the other gets a harmless
    # argument, or its infinite derivative would turn into NaN.
    near = below > -0.6931471805599453
    close = jnp.log(-jnp.expm1(jnp.where(near, below, -0.5)))
    far = jnp.log1p(-jnp.exp(jnp.where(near, -1.0, below)))
    return below - jnp.where(near, close, far)


def odds_ratio_loss(chosen_averages: Examples, rejected_averages: Examples) -> Examples:
    """-log s(log odds(c) - log odds(r)), of average log-probabilities; ORPO's second term.

    Hong et al. 2024, arXiv:2403.07691, equation 7. ORPO adds it, times lambda (here `beta`), to the
    negative log-likelihood of the chosen completion (equation 6).
    """
    return -jax.nn.log_sigmoid(log_odds(chosen_averages) - log_odds(rejected_averages))


def simpo_loss(
    chosen_averages: Examples, rejected_averages: Examples, beta: float, gamma: float
) -> Examples:
    """-log s(beta (a_c - a_r) - gamma), the margin gamma being in units of reward.

    Meng et al. 2024, arXiv:2405.14734, equation 6. The paper's tables give gamma / beta as well.
    """
    return -jax.nn.log_sigmoid(beta * (chosen_averages - rejected_averages) - gamma)


def apo_zero_loss(chosen: Examples, rejected: Examples, beta: float) -> Examples:
    """1 - s(beta rho_c) + s(beta rho_r): the chosen one goes up, the rejected one down.

    D'Oosterlinck et al. 2024, arXiv:2408.06266, equation 7. Arguments are log ratios rho.
    """
    return 1 - jax.nn.sigmoid(beta * chosen) + jax.nn.sigmoid(beta * rejected)


def apo_down_loss(chosen: Examples, rejected: Examples, beta: float) -> Examples:
    """s(beta rho_c) + 1 - s(beta delta): both go down, the rejected one more.

    D'Oosterlinck et al. 2024, arXiv:2408.06266, equation 8. Arguments are log ratios rho.
    """
    return jax.nn.sigmoid(beta * chosen) + 1 - jax.nn.sigmoid(beta * (chosen - rejected))


def sppo_hard_loss(chosen: Examples, rejected: Examples, beta: float) -> Examples:
    """(rho_c - 1 / (2 beta))^2 + (rho_r + 1 / (2 beta))^2, winning probabilities being 1 and 0.

    Wu et al. 2024, arXiv:2405.00675, equation 4.7. Arguments are log ratios rho.
    """
    return (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2


def nca_loss(chosen: Examples, rejected: Examples, beta: float) -> Examples:
    """-log s(beta rho_c) - 1/2 log s(-beta rho_c) - 1/2 log s(-beta rho_r).

    Chen et al. 2024, arXiv:2402.05369, the pairwise NCA. Arguments are log ratios rho.
    """
    up = jax.nn.log_sigmoid(beta * chosen)
    down = jax.nn.log_sigmoid(-beta * chosen) + jax.nn.log_sigmoid(-beta * rejected)
    return -up - 0.5 * down


def check_settings(**settings: float) -> None:
    """Settings of a loss, by name, are usable.

    Raises:
        InputError: `beta` is not positive, a weight or `gamma` negative, or `label_smoothing`
            outside [0, 0.5).
    """
    for name, value in settings.items():
        if name == "beta":
            good, expected = value > 0 and value < float("inf"), "a positive number"
        elif name == "label_smoothing":
            good, expected = 0 <= value < 0.5, "a share in [0, 0.5)"
        else:
            good, expected = 0 <= value < float("inf"), "zero or more"
        if not good:
            raise InputError(f"{name} is {value}; expected {expected}")
