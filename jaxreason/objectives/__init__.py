"""Training objectives: `(params, batch, key) -> (loss, metrics)`."""

from jaxreason.objectives.advantages import compute_advantages
from jaxreason.objectives.algorithms import ALGORITHMS, AlgorithmConfig
from jaxreason.objectives.kto import kto
from jaxreason.objectives.next_token import next_token
from jaxreason.objectives.policy_gradient import policy_gradient
from jaxreason.objectives.preference import anchored, dpo, ipo, orpo, simpo
from jaxreason.objectives.process_reward import process_reward_loss
from jaxreason.objectives.value import value_loss

__all__ = [
    "ALGORITHMS",
    "AlgorithmConfig",
    "anchored",
    "compute_advantages",
    "dpo",
    "ipo",
    "kto",
    "next_token",
    "orpo",
    "policy_gradient",
    "process_reward_loss",
    "simpo",
    "value_loss",
]
