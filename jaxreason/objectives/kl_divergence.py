"""Estimators of KL(policy || reference) from samples of the policy (Schulman, "Approximating KL
Divergence", 2020), and what each of them becomes when it is differentiated.

With x = reference - current log-probability of the sampled token:

| name | value         | mean under the policy | gradient of the mean, put in the loss           |
|------|---------------|-----------------------|-------------------------------------------------|
| k1   | -x            | KL(policy, reference) | zero                                            |
| k2   | x^2 / 2       | biased                | that of KL(policy, reference)                   |
| k3   | e^x - x - 1   | KL(policy, reference) | that of KL(reference, policy), the other one    |

k1 in the reward, and k1 or k3 in the loss times the importance ratio, give the gradient of
KL(policy, reference) (arXiv 2512.21852).
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreason.errors import InputError

KLEstimator = Literal["k1", "k2", "k3"]
KL_ESTIMATORS: tuple[str, ...] = get_args(KLEstimator)

LARGEST_DIFFERENCE = 20.0
"""Differences of log-probabilities are clipped to this before `exp` (verl)."""


def bounded(difference: Float[Array, "..."]) -> Float[Array, "..."]:
    """A difference of log-probabilities that `exp` cannot overflow."""
    return jnp.clip(difference, -LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)


def kl_divergence(
    log_probabilities: Float[Array, "..."],
    reference_log_probabilities: Float[Array, "..."],
    estimator: str,
) -> Float[Array, "..."]:
    """The estimate per token, in nats, differentiable in both arguments.

    Args:
        log_probabilities: of the sampled tokens under the policy that sampled them.
        reference_log_probabilities: of the same tokens under the reference.
        estimator: one of `KL_ESTIMATORS`.

    Raises:
        InputError: the estimator is unknown.
    """
    x = bounded(reference_log_probabilities - log_probabilities)
    match estimator:
        case "k1":
            return -x
        case "k2":
            return x * x / 2
        case "k3":
            return jnp.expm1(x) - x
        case _:
            raise InputError(
                f"kl_estimator={estimator!r}: expected one of {', '.join(KL_ESTIMATORS)}"
            )
