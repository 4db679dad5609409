"""A Countdown experiment: the second verifiable task under the same training."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxreason.countdown import Problem
from jaxreason.data import CountdownData, countdown_source
from jaxreason.rewards import Reward, countdown_reward
from jaxreason.tokens import CountdownVocabulary
from jaxreason.training.experiment import NextTokenExperiment
from jaxreason.types import Completions


@dataclass(frozen=True)
class CountdownExperiment(NextTokenExperiment):
    """Next-token training of one model on canonical solutions of Countdown problems.

    Attributes:
        data: the training problems; the other fields are those of `NextTokenExperiment`.
    """

    data: CountdownData = field(default_factory=CountdownData)

    def vocabulary(self) -> CountdownVocabulary:
        """Its numbers and operators."""
        return self.data.vocabulary()

    def source(self, **changes: Any) -> Any:
        """The examples."""
        return countdown_source(replace(self.data, **changes))

    def reward(self, problems: Sequence[Problem], completions: Completions) -> Reward:
        """Whether the expression reaches the target; see `rewards.countdown_reward`."""
        return countdown_reward(problems, completions, self.vocabulary())

    def words(self) -> str:
        """Names the task."""
        return f"Countdown problems up to {self.data.problems.limit}"

    def as_json(self) -> dict[str, Any]:
        """What config.json holds."""
        return {"kind": "countdown", **super().as_json()}
