"""Training objectives: `(params, batch, key) -> (loss, metrics)`."""

from jaxreason.objectives.kto import kto
from jaxreason.objectives.next_token import next_token
from jaxreason.objectives.preference import anchored, dpo, ipo, orpo, simpo

__all__ = ["anchored", "dpo", "ipo", "kto", "next_token", "orpo", "simpo"]
