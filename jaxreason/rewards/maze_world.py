"""Verdicts on answers about mazes, weighted into a reward."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jaxreason.errors import InputError
from jaxreason.rewards.reward import Reward

TEXT_WEIGHTS: Mapping[str, float] = {"correct": 2.0, "format": 0.5}
"""Of answers in words that carry reasoning (Yang et al. 2025, arXiv 2505.15809, section 2.3.2)."""


class Judgement(Protocol):
    """What a judge says of a batch of answers."""

    @property
    def breakdown(self) -> Mapping[str, np.ndarray]:
        """Name to [batch] float32."""
        ...


def judged_reward(
    judge: Callable[[Sequence[Any], Any], Judgement], weights: Mapping[str, float] = TEXT_WEIGHTS
) -> Callable[[Sequence[Any], Any], Reward]:
    """`(problems, answers) -> Reward`: the weighted sum of what a judge says.

    Args:
        judge: `(problems, answers) -> verdicts`, such as `partial(source.judge, "plan")` of a maze
            world; its breakdown becomes the reward's.
        weights: name in the breakdown to what it earns.

    Raises:
        InputError: no weights; from the reward, a name that the judge does not know.
    """
    if not weights:
        raise InputError("weights is empty; expected the name of at least one verdict")

    def reward(problems: Sequence[Any], answers: Any) -> Reward:
        breakdown = judge(problems, answers).breakdown
        unknown = sorted(set(weights) - set(breakdown))
        if unknown:
            raise InputError(
                f"weights has {unknown[0]!r}; the judge says {', '.join(sorted(breakdown))}"
            )
        parts = [weight * np.asarray(breakdown[name]) for name, weight in weights.items()]
        return Reward(np.sum(parts, axis=0).astype(np.float32), breakdown)

    return reward
