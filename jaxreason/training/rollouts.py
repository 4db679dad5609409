"""From prompts to judged completions: what a policy does before it learns from it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data.orders import epoch_order
from jaxreason.errors import InputError
from jaxreason.objectives.advantages import informative_groups
from jaxreason.rewards import Reward, RewardFunction
from jaxreason.training.judging import checked, draw, judge_rows
from jaxreason.training.prompt_rows import LENGTH_STEP, Widths, encode_prompts, join, padded
from jaxreason.types import Params, Sampler

__all__ = ["LENGTH_STEP", "PromptStream", "Rollout", "RolloutConfig", "RolloutSource"]
__all__ += ["encode_prompts", "join"]


@dataclass(frozen=True)
class RolloutConfig:
    """How many completions a step learns from, and how they are drawn.

    Attributes:
        prompts: prompts per step.
        group: completions of each.
        max_new_tokens: limit of a completion, its end token included.
        temperature: of the sampling, and of the probabilities the objective sees.
        top_k: sample among the k most likely tokens only; 0 for all.
        top_p: sample from the smallest set of tokens with at least this probability.
        epochs: passes over the completions of a step.
        minibatches: updates per pass; each sees 1 / minibatches of the completions.
        keep: "all" groups; or those whose rewards differ and whose mean lies in `mean_between`,
            drawing up to `oversample` x `prompts` prompts to find them (DAPO's dynamic sampling,
            PRIME's accuracy filter). Where too few are found, others fill the step.
        mean_between: see `keep`.
        oversample: see `keep`.

    Raises:
        InputError: a number out of range.
    """

    prompts: int = 16
    group: int = 8
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    epochs: int = 1
    minibatches: int = 1
    keep: str = "all"
    mean_between: tuple[float, float] = (0.0, 1.0)
    oversample: int = 1

    def __post_init__(self) -> None:
        least = dict.fromkeys(("prompts", "group", "max_new_tokens", "epochs", "oversample"), 1)
        for name, minimum in {**least, "minibatches": 1, "top_k": 0}.items():
            if getattr(self, name) < minimum:
                raise InputError(
                    f"rollout.{name} is {getattr(self, name)}; it must be at least {minimum}"
                )
        if not (self.temperature > 0 and np.isfinite(self.temperature)):
            raise InputError(
                f"rollout.temperature is {self.temperature}; a policy that learns from its own "
                "samples needs a temperature above 0"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"rollout.top_p is {self.top_p}; it must lie in (0, 1]")
        if self.keep not in ("all", "informative"):
            raise InputError(f"rollout.keep is {self.keep!r}; expected 'all' or 'informative'")
        low, high = self.mean_between
        if not low <= high:
            raise InputError(f"rollout.mean_between is {self.mean_between}; expected low, high")
        if self.keep == "all" and self.oversample > 1:
            raise InputError(
                f"rollout.oversample is {self.oversample}, but rollout.keep is 'all': nothing "
                "would be dropped; set keep to 'informative'"
            )
        if self.rows % self.minibatches:
            raise InputError(
                f"rollout.minibatches is {self.minibatches}; it must divide prompts x group "
                f"= {self.rows}"
            )

    @property
    def rows(self) -> int:
        """Completions a step learns from."""
        return self.prompts * self.group


class Rollout(NamedTuple):
    """Judged completions on the host, prompt-major; see `RolloutConfig.group`.

    Attributes:
        batch: `tokens, targets_mask, segments, positions` [rows, length], prompt and completion in
            one row.
        finished: [rows] bool.
        log_probabilities: [rows] float32, the sampler's own, summed over each completion.
        lengths: [rows] int32, tokens of each completion.
        reward: one value per row, and its breakdown.
    """

    batch: dict[str, np.ndarray]
    finished: np.ndarray
    log_probabilities: np.ndarray
    lengths: np.ndarray
    reward: Reward

    def take(self, rows: np.ndarray) -> "Rollout":
        """Some of the rows."""
        return jax.tree.map(lambda x: x[rows], self)


class PromptStream:
    """Batches of problem indices, every problem once per epoch, in a seeded order.

    Args:
        count: number of problems.
        rows: indices per batch.
        seed: of the order.
        base: what else a run must find unchanged when it goes on, as plain JSON: the
            fingerprint of the model it started from, which is its reference.
        data: what says which problems they are, as plain JSON.
    """

    def __init__(
        self, count: int, rows: int, seed: int, base: Any = None, data: Any = None
    ) -> None:
        if count < rows:
            raise InputError(
                f"problems is {count}; a step samples from {rows} different ones, so there must "
                "be at least as many"
            )
        self._count, self._rows, self._seed, self._position = count, rows, seed, 0
        self._base, self._data = base, data

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return PromptStream(self._count, self._rows, self._seed, self._base, self._data)

    def __next__(self) -> dict[str, np.ndarray]:
        places = np.arange(self._position, self._position + self._rows)
        self._position += self._rows
        epochs = places // self._count
        orders = {e: epoch_order(self._count, self._seed, e) for e in set(epochs.tolist())}
        picked = [orders[e][p] for e, p in zip(epochs.tolist(), places % self._count, strict=True)]
        return {"problems": np.array(picked, np.int64)}

    def get_state(self) -> dict[str, Any]:
        """Where the stream stands, and of which stream it is."""
        return {
            "position": self._position,
            "identity": [self._count, self._rows, self._seed],
            "base": self._base,
            **({} if self._data is None else {"data": self._data}),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            InputError: it belongs to another stream.
        """
        identity = [self._count, self._rows, self._seed]
        if state["identity"] != identity:
            raise InputError(
                f"the saved position is of a stream of (problems, rows, seed) "
                f"{state['identity']}, this one has {identity}; resume with the same values"
            )
        if state.get("base", self._base) != self._base:
            raise InputError(
                "the base has other parameters than when the run began, so its reference would "
                "change: restore the base as it was then, or start a new run"
            )
        if state.get("data", self._data) != self._data:
            raise InputError(
                "the prompts are other ones than when the run began: restore the data as they "
                "were then, or start a new run"
            )
        self._position = state["position"]


@dataclass(frozen=True)
class RolloutSource:
    """Draws and judges completions.

    Attributes:
        config: how many, and how.
        sampler: of the policy, `config.group` completions per prompt.
        reward: the verifier.
        problem: index to problem.
        vocabulary: `encode_prompt` and `pad`.
        mesh: devices the prompts are split over; None for one.
        measure: context manager by phase name, such as `Clock.measure`.
        widths: to what prompts, and prompts with completions, are padded.
    """

    config: RolloutConfig
    sampler: Sampler
    reward: RewardFunction
    problem: Callable[[int], Any]
    vocabulary: Any
    mesh: Mesh | None
    measure: Callable[[str], Any]
    widths: Widths = padded

    def __call__(self, params: Params, indices: np.ndarray, key: jax.Array) -> Rollout:
        """`config.prompts` groups, from the first of the given problems that qualify."""
        config, chunks = self.config, []
        for number in range(len(indices) // config.prompts):
            first = number * config.prompts
            chosen = indices[first : first + config.prompts]
            chunks.append(self.draw(params, chosen, jax.random.fold_in(key, number)))
            if config.keep == "all" or sum(self.good(c).sum() for c in chunks) >= config.prompts:
                break
        rollout = chunks[0] if len(chunks) == 1 else concatenate(chunks, self.vocabulary.pad)
        # Qualifying groups first, each kind in the order drawn.
        order = np.argsort(~self.good(rollout), kind="stable")[: config.prompts]
        rows = (order[:, None] * config.group + np.arange(config.group)).ravel()
        return rollout.take(rows)

    def good(self, rollout: Rollout) -> np.ndarray:
        """[groups] bool: which groups qualify."""
        rewards = rollout.reward.values.reshape(-1, self.config.group)
        if self.config.keep == "all":
            return np.ones(len(rewards), bool)
        low, high = self.config.mean_between
        mean = rewards.mean(axis=1)
        differ = informative_groups(rollout.reward.values, self.config.group)
        return differ & (low <= mean) & (mean <= high)

    def draw(self, params: Params, indices: np.ndarray, key: jax.Array) -> Rollout:
        """The completions of some problems."""
        problems = [self.problem(int(index)) for index in indices]
        prompts = encode_prompts(self.vocabulary, problems, self.widths)
        with self.measure("sampling"):
            completions = draw(self.sampler, params, prompts, key, self.mesh)
        group = self.config.group
        with self.measure("reward"):
            answered = [problem for problem in problems for _ in range(group)]
            reward = judge_rows(checked(self.reward), answered, completions, self.mesh)
        return Rollout(
            join(prompts, completions, group, self.vocabulary.pad, self.widths),
            np.asarray(completions.finished),
            np.asarray(completions.log_probabilities).sum(axis=1),
            np.asarray(completions.lengths),
            reward,
        )


def concatenate(rollouts: Sequence[Rollout], pad: int) -> Rollout:
    """Rows of several rollouts, padded to the longest."""
    width = max(rollout.batch["tokens"].shape[1] for rollout in rollouts)

    def widen(name: str, x: np.ndarray) -> np.ndarray:
        value = pad if name == "tokens" else 0
        return np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=value)

    wide = [
        rollout._replace(batch={n: widen(n, x) for n, x in rollout.batch.items()})
        for rollout in rollouts
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *wide)
