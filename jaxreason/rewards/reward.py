"""What a verifier says of a batch of completions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.types import Completions


class Reward(NamedTuple):
    """One number per completion, and what it is made of.

    Attributes:
        values: [batch] float32, what training maximises.
        breakdown: name to [batch] float32, logged and never trained on.
    """

    values: np.ndarray
    breakdown: Mapping[str, np.ndarray]


RewardFunction = Callable[[Sequence[Any], Completions], Reward]
"""`(problems, completions) -> Reward`; problem i is the one completion i answers."""
