"""One step of online RL of a diffusion policy: sample, reward, noise, score, inner updates.

The noise of all inner updates is drawn first, and old and reference policy are scored under it; the
updates are those of `make_step`, the same as in supervised training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.models import Transformer
from jaxreason.objectives.diffusion.advantages import diffusion_advantages
from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig
from jaxreason.objectives.diffusion.noising import Noise, draw_noise, response_lengths
from jaxreason.objectives.diffusion.policy import noised_log_probabilities
from jaxreason.objectives.diffusion.preference import preference_pairs
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.rollouts import DiffusionRollouts
from jaxreason.training.judging import ambient
from jaxreason.training.reinforcement import (
    RolloutWatch,
    add_metrics,
    like,
    rollout_metrics,
)
from jaxreason.training.rollouts import Rollout
from jaxreason.training.state import TrainState
from jaxreason.training.step import Step
from jaxreason.types import Batch, Metrics, Params

LEARNED_FROM = ("tokens", "keys", "maskable", "counted", "order")


class DiffusionScorers(NamedTuple):
    """Jitted functions of rows.

    Attributes:
        noise: `(rows, key) -> Noise` of all updates, [N, B, K, T].
        log_probabilities: `(params, batch) -> [B, K, T]` under the noise in the batch.
        advantages: `(rewards [B]) -> [B]`.
        lengths: `(rows) -> [B]` float32.
    """

    noise: Callable[[Batch, jax.Array], Noise]
    log_probabilities: Callable[[Params, Batch], jax.Array]
    advantages: Callable[[jax.Array], jax.Array]
    lengths: Callable[[Batch], jax.Array]


def make_diffusion_scorers(
    model: Transformer,
    algorithm: DiffusionAlgorithmConfig,
    *,
    group: int,
    steps: int,
    mask_id: int,
    mask_mode: Any = "bool",
    chunk: int | None = None,
) -> DiffusionScorers:
    """The scorers of a policy.

    Args:
        model: the policy's.
        algorithm: which noise and advantages.
        group: answers per prompt.
        steps: denoising steps of the sampler, at most.
        mask_id: of the mask token.
        mask_mode: how padding is hidden.
        chunk: tokens whose logits exist at once; None computes all logits at once.
    """

    def noise(rows: Batch, key: jax.Array) -> Noise:
        return draw_noise(algorithm, rows, key, group=group, steps=steps)

    def log_probabilities(params: Params, batch: Batch) -> jax.Array:
        return noised_log_probabilities(
            model, params, batch, mask_id=mask_id, mask_mode=mask_mode, chunk=chunk
        )

    return DiffusionScorers(
        jax.jit(noise),
        jax.jit(log_probabilities),
        jax.jit(lambda rewards: diffusion_advantages(algorithm, rewards, group)),
        jax.jit(lambda rows: response_lengths(algorithm, rows)),
    )


@dataclass
class DiffusionReinforcementStep:
    """`state, metrics = step(state, {"problems": indices})`, a `training.loop.StepFunction`.

    The key of rollout n is folded from the state's key and n, so a resumed run draws what an
    uninterrupted one draws. What is on the host is the same on all processes.

    Attributes:
        rollouts: draws and judges answers.
        algorithm: what is learned from them.
        scorers: see `make_diffusion_scorers`.
        update: the policy's training step.
        reference: parameters of the frozen reference; None if the algorithm needs none.
        mesh: devices to split over; None for one.
        clock: where the phases are measured.
        slices: parts in which the rows of a step are scored, one after the other, so that scoring
            needs no more memory than the micro-batches of an update.
        watch: told of every rollout.
    """

    rollouts: DiffusionRollouts
    algorithm: DiffusionAlgorithmConfig
    scorers: DiffusionScorers
    update: Step
    reference: Params | None
    mesh: Mesh | None
    clock: Clock
    slices: int = 1
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
        sample_key, noise_key, order_key = (jax.random.fold_in(key, i) for i in range(3))
        rollout = self.rollouts(state.params, batch["problems"], sample_key)
        if self.watch is not None:
            self.watch(number, rollout)
        totals = rollout_metrics(rollout, self.rollouts.config.group)
        with self.clock.measure("scoring"), ambient(self.mesh):
            updates = self._score(state.params, rollout, noise_key)
        parts = self.rollouts.config.minibatches
        index = 0
        for n, rows in enumerate(updates):
            examples = len(rows["tokens"])
            for chosen in self._minibatches(jax.random.fold_in(order_key, n), examples):
                inner = number * len(updates) * parts + index
                state = self._inner(state, rows, chosen, inner, totals, index)
                index += 1
        return state._replace(step=like(state.step, number + 1)), totals

    def _minibatches(self, key: jax.Array, examples: int) -> list[np.ndarray]:
        parts = self.rollouts.config.minibatches
        order = np.arange(examples)
        if parts > 1:
            order = to_host(jax.random.permutation(key, examples))
        return np.split(order, parts)

    def _score(self, params: Params, rollout: Rollout, key: jax.Array) -> list[dict[str, Any]]:
        """The rows of each update, with its noise and what old and reference say under it."""
        rows = {name: rollout.batch[name] for name in LEARNED_FROM}
        placed = place_everywhere(rows, self.mesh)
        rewards = place_everywhere(rollout.reward.values.astype(np.float32), self.mesh)
        shared = {
            "tokens": rows["tokens"],
            "keys": rows["keys"],
            "advantages": to_host(self.scorers.advantages(rewards)),
            "lengths": to_host(self.scorers.lengths(placed)),
        }
        noise = self.scorers.noise(placed, key)
        found = []
        for n in range(self.algorithm.updates):
            noised = {"masked": noise.masked[n], "weights": noise.weights[n]}
            batch = {"tokens": placed["tokens"], "keys": placed["keys"], **noised}
            scores = self._log_probabilities(params, batch)
            learned = {**shared, **to_host({**noised, **scores})}
            if self.algorithm.surrogate == "preference":
                group = self.rollouts.config.group
                learned = preference_pairs(learned, rollout.reward.values, group)
            found.append(learned)
        return found

    def _log_probabilities(self, params: Params, batch: Batch) -> dict[str, Any]:
        """What old and reference policy say of rows, slice after slice."""
        policies: dict[str, Params] = {}
        if self.scores_old():
            policies["old_log_probabilities"] = params
        if self.reference is not None:
            policies["reference_log_probabilities"] = self.reference
        score = self.scorers.log_probabilities
        if self.slices == 1:
            return {name: score(policy, batch) for name, policy in policies.items()}
        host = to_host(batch)
        rows = len(host["tokens"]) // self.slices
        parts: dict[str, list[np.ndarray]] = {name: [] for name in policies}
        for first in range(0, rows * self.slices, rows):
            cut = {name: values[first : first + rows] for name, values in host.items()}
            placed: Batch = place_everywhere(cut, self.mesh)
            for name, policy in policies.items():
                parts[name].append(to_host(score(policy, placed)))
        return {name: np.concatenate(found) for name, found in parts.items()}

    def scores_old(self) -> bool:
        """Whether the policy that sampled must be scored.

        At the only update of a step it equals the current policy, and the objective knows that.
        """
        if self.algorithm.surrogate == "preference":
            return False
        return self.algorithm.updates * self.rollouts.config.minibatches > 1

    def _inner(
        self,
        state: TrainState,
        rows: Mapping[str, np.ndarray],
        chosen: np.ndarray,
        inner: int,
        totals: dict[str, Any],
        index: int,
    ) -> TrainState:
        """One update of the policy."""
        mine = {name: values[chosen] for name, values in rows.items()}
        batch = place_everywhere(mine, self.mesh)
        part = "step" if self.update.is_compiled(batch) else "compile"
        with self.clock.measure(part):
            learned, metrics = self.update(state._replace(step=like(state.step, inner)), batch)
            # A rollout's tokens are counted once, however often it is learned from.
            counted = {n: x for n, x in to_host(metrics).items() if n != "tokens"}
            add_metrics(totals, counted, index)
        return learned
