"""One step of online reinforcement learning: sample, reward, advantages, inner updates.

The inner updates are those of `make_step`, the same as in supervised training: an algorithm is an
advantage function and an objective. A second network (PPO's critic, PRIME's reward model) has its
own objective, optimizer and `TrainState`, kept in the policy's state as `auxiliary`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.models import Critic, Transformer
from jaxreason.objectives.advantages import compute_advantages, informative_groups
from jaxreason.objectives.algorithm_config import AlgorithmConfig
from jaxreason.objectives.log_probabilities import token_statistics
from jaxreason.objectives.process_reward import implicit_rewards
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.clock import Clock
from jaxreason.training.judging import ambient
from jaxreason.training.rollouts import Rollout, RolloutConfig, RolloutSource
from jaxreason.training.state import TrainState
from jaxreason.training.step import Step
from jaxreason.types import Batch, Metrics, Params

CORE = ("tokens", "targets_mask", "segments", "positions")
OLD_NAMES = {
    "log_probabilities": "old_log_probabilities",
    "reference_log_probabilities": "reference_log_probabilities",
    "values": "old_values",
}


RolloutWatch = Callable[[int, Rollout], None]
"""`(step, rollout)`: told of the completions of a step, before it learns from them."""


class Scorers(NamedTuple):
    """Jitted functions of one network and a batch, each `(params, batch) -> [rows, length]`.

    Attributes:
        log_probabilities: of the tokens, at the sampling temperature.
        model_log_probabilities: of the tokens, at temperature 1, for reward models.
        values: of the states before the tokens.
        advantages: rollout and scores to `advantages`, `targets_mask`, `returns` and `metrics`.
    """

    log_probabilities: Callable[[Params, Batch], jax.Array]
    model_log_probabilities: Callable[[Params, Batch], jax.Array]
    values: Callable[[Params, Batch], jax.Array]
    advantages: Callable[[Mapping[str, jax.Array]], dict[str, Any]]


def make_scorers(
    model: Transformer, algorithm: AlgorithmConfig, config: RolloutConfig, chunk: int | None
) -> Scorers:
    """The scorers of a policy and of networks of the same shape.

    Args:
        model: the policy's.
        algorithm: which advantages.
        config: group size, limit and temperature.
        chunk: tokens whose logits exist at once; None computes all logits at once.
    """
    critic = Critic(model.config)

    def log_probabilities(params: Params, batch: Batch) -> jax.Array:
        return token_statistics(model, params, batch, chunk, config.temperature)[0]

    def model_log_probabilities(params: Params, batch: Batch) -> jax.Array:
        return token_statistics(model, params, batch, chunk)[0]

    def values(params: Params, batch: Batch) -> jax.Array:
        return critic.values(params, batch)

    def advantages(rollout: Mapping[str, jax.Array]) -> dict[str, Any]:
        return compute_advantages(
            algorithm, rollout, group=config.group, max_tokens=config.max_new_tokens
        )

    return Scorers(
        jax.jit(log_probabilities),
        jax.jit(model_log_probabilities),
        jax.jit(values),
        jax.jit(advantages),
    )


@dataclass
class ReinforcementStep:
    """`state, metrics = step(state, {"problems": indices})`, a `training.loop.StepFunction`.

    The key of rollout n is folded from the state's key and n, so a resumed run draws what an
    uninterrupted one draws. What is on the host is the same on all processes.

    Attributes:
        rollouts: draws and judges completions.
        algorithm: what is learned from them.
        scorers: see `make_scorers`.
        update: the policy's training step.
        auxiliary_update: the second network's training step; None without one.
        reference: parameters of the frozen reference; None if the algorithm needs none.
        mesh: devices to split over; None for one.
        clock: where the phases are measured.
        watch: told of every rollout.
    """

    rollouts: RolloutSource
    algorithm: AlgorithmConfig
    scorers: Scorers
    update: Step
    auxiliary_update: Step | None
    reference: Params | None
    mesh: Mesh | None
    clock: Clock
    watch: RolloutWatch | None = None
    called: bool = field(default=False, init=False)

    def is_compiled(self, batch: Any) -> bool:
        """False before the first call."""
        del batch
        return self.called

    def __call__(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Metrics]:
        """One rollout and its updates; the state given must not be used again."""
        self.called = True
        number = int(state.step)
        key = jax.random.fold_in(jax.random.fold_in(state.key, number), 1)
        rollout = self.rollouts(state.params, batch["problems"], key)
        if self.watch is not None:
            self.watch(number, rollout)
        totals = rollout_metrics(rollout, self.rollouts.config.group)
        with self.clock.measure("scoring"), ambient(self.mesh):
            state, rows, metrics = self._score(state, rollout, number)
            add_metrics(totals, metrics)
        for i, chosen in enumerate(self._minibatches(key)):
            part = {name: values[chosen] for name, values in rows.items()}
            state = self._inner(state, part, number, i, totals)
        state = state._replace(step=like(state.step, number + 1))
        return state, totals

    def _minibatches(self, key: jax.Array) -> list[np.ndarray]:
        config = self.rollouts.config
        whole = np.arange(config.rows)
        parts: list[np.ndarray] = []
        for epoch in range(config.epochs):
            order = whole
            if config.minibatches > 1:
                order = to_host(jax.random.permutation(jax.random.fold_in(key, epoch), config.rows))
            parts += np.split(order, config.minibatches)
        return parts

    def _score(
        self, state: TrainState, rollout: Rollout, number: int
    ) -> tuple[TrainState, dict[str, np.ndarray], Metrics]:
        """The state (a reward model learns first), the rows to learn from, and metrics."""
        batch = place_everywhere(rollout.batch, self.mesh)
        rewards = rollout.reward.values.astype(np.float32)
        given = place_everywhere({"rewards": rewards, "finished": rollout.finished}, self.mesh)
        inputs = {**given, "targets_mask": batch["targets_mask"]}
        if self.scores_old():
            inputs["log_probabilities"] = self.scorers.log_probabilities(state.params, batch)
        metrics: dict[str, Any] = {}
        if self.reference is not None:
            scored = self.scorers.log_probabilities(self.reference, batch)
            inputs["reference_log_probabilities"] = scored
        if self.algorithm.auxiliary == "critic":
            inputs["values"] = self.scorers.values(state.auxiliary.params, batch)
        elif self.algorithm.auxiliary == "reward_model":
            state, process = self._process_rewards(state, rollout, batch, number, metrics)
            inputs["process_rewards"] = process
        unscored = {"log_probabilities": np.zeros(rollout.batch["tokens"].shape, np.float32)}
        result = self.scorers.advantages({**place_everywhere(unscored, self.mesh), **inputs})
        found = to_host(result["metrics"])
        metrics |= {name: found[name] for name in ("shaped_reward", "dropped")}
        learned = {name: x for name, x in result.items() if name != "metrics"}
        learned |= {new: inputs[name] for name, new in OLD_NAMES.items() if name in inputs}
        rows = {name: rollout.batch[name] for name in CORE} | to_host(learned)
        return state, rows, metrics

    def scores_old(self) -> bool:
        """Whether the policy that sampled must be scored.

        At the only update of a step it equals the current policy, and the objective knows that.
        """
        config, algorithm = self.rollouts.config, self.algorithm
        penalised = algorithm.kl_placement == "reward" and algorithm.kl_coefficient > 0
        return config.epochs * config.minibatches > 1 or penalised

    def _process_rewards(
        self,
        state: TrainState,
        rollout: Rollout,
        batch: Batch,
        number: int,
        metrics: dict[str, Any],
    ) -> tuple[TrainState, jax.Array]:
        """PRIME: the reward model learns from the verdicts, then rewards each token."""
        assert self.reference is not None
        reference = self.scorers.model_log_probabilities(self.reference, batch)
        correct = rollout.reward.values > self.algorithm.correct_above
        labelled = {
            **rollout.batch,
            "correct": correct.astype(np.float32),
            "reference_log_probabilities": to_host(reference),
        }
        state = self._learn_auxiliary(state, labelled, number, 0, metrics)
        scored = self.scorers.model_log_probabilities(state.auxiliary.params, batch)
        mask = batch["targets_mask"]
        return state, implicit_rewards(self.algorithm, scored, reference, mask)

    def _inner(
        self,
        state: TrainState,
        rows: Mapping[str, np.ndarray],
        number: int,
        index: int,
        totals: dict[str, Any],
    ) -> TrainState:
        """One update of the policy, and of the critic on the same rows."""
        config = self.rollouts.config
        inner = number * config.epochs * config.minibatches + index
        if self.algorithm.auxiliary == "critic":
            state = self._learn_auxiliary(state, rows, inner, index, totals)
        auxiliary = state.auxiliary
        numbered = state._replace(step=like(state.step, inner), auxiliary=None)
        learned, metrics = self._run(self.update, numbered, rows)
        add_metrics(totals, metrics, index)
        return learned._replace(auxiliary=auxiliary)

    def _learn_auxiliary(
        self,
        state: TrainState,
        rows: Mapping[str, Any],
        inner: int,
        index: int,
        totals: dict[str, Any],
    ) -> TrainState:
        assert self.auxiliary_update is not None
        before = state.auxiliary._replace(step=like(state.auxiliary.step, inner))
        after, metrics = self._run(self.auxiliary_update, before, rows)
        add_metrics(
            totals, {f"{self.algorithm.auxiliary}_{n}": x for n, x in metrics.items()}, index
        )
        return state._replace(auxiliary=after)

    def _run(
        self, step: Step, state: TrainState, rows: Mapping[str, Any]
    ) -> tuple[TrainState, Metrics]:
        batch = place_everywhere(dict(rows), self.mesh)
        part = "step" if step.is_compiled(batch) else "compile"
        with self.clock.measure(part):
            state, metrics = step(state, batch)
            # A rollout's tokens are counted once, however often it is learned from.
            return state, {n: x for n, x in to_host(metrics).items() if n != "tokens"}


def rollout_metrics(rollout: Rollout, group: int) -> dict[str, Any]:
    """Means over completions of reward, its breakdown and lengths; `tokens` that will be read.

    `informative_groups` is the share of groups whose rewards differ: the others teach nothing to
    algorithms that compare within a group.
    """
    reward = rollout.reward
    rows = np.float64(len(reward.values))
    differ = informative_groups(reward.values, group)
    means = {"reward": reward.values, **reward.breakdown, "completion_tokens": rollout.lengths}
    metrics: dict[str, Any] = {
        name: (np.sum(values, dtype=np.float64), rows) for name, values in means.items()
    }
    metrics["informative_groups"] = (np.float64(differ.sum()), np.float64(len(differ)))
    metrics["tokens"] = (np.float64(np.count_nonzero(rollout.batch["segments"])), rows)
    return metrics


def add_metrics(totals: dict[str, Any], metrics: Mapping[str, Any], index: int = 0) -> None:
    """Add (sum, count) pairs; of `consecutive_skipped` the latest stands."""
    for name, (total, count) in metrics.items():
        before = totals.get(name)
        if before is None or name.endswith("consecutive_skipped"):
            totals[name] = (total, count)
        else:
            totals[name] = (before[0] + total, before[1] + count)


def like(scalar: jax.Array, value: int) -> jax.Array:
    """An int32 scalar that lives where another one lives."""
    # Each process makes its own copy; `device_put` over processes may give one that is not whole.
    host = np.asarray(value, np.int32)
    return jax.make_array_from_callback((), scalar.sharding, lambda _: host)
