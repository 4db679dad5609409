"""The programs of reinforcement learning of a next-token policy, whatever it is asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import optax
from jax.sharding import Mesh

from jaxreason.models import Critic
from jaxreason.objectives.algorithm_config import AlgorithmConfig
from jaxreason.objectives.policy_gradient import policy_gradient
from jaxreason.objectives.process_reward import process_reward_loss
from jaxreason.objectives.value import value_loss
from jaxreason.sampling import autoregressive
from jaxreason.sharding.rules import TRANSFORMER_RULES
from jaxreason.training.clock import Clock
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.post_training import (
    lora_optimizer,
)
from jaxreason.training.program import Program
from jaxreason.training.prompt_rows import Task
from jaxreason.training.reinforcement import ReinforcementStep, RolloutWatch, make_scorers
from jaxreason.training.rollouts import RolloutSource
from jaxreason.training.runs import Run
from jaxreason.training.state import (
    TrainState,
    abstract_state,
    are_shapes,
    given_params,
    place_params,
    state_from_params,
)
from jaxreason.training.step import Step, make_step
from jaxreason.types import Objective, Params

if TYPE_CHECKING:
    from jaxreason.training.policy_training import PolicyTraining


@dataclass(frozen=True)
class ReinforcementBuilder:
    """Puts the pieces of one experiment together.

    Attributes:
        experiment: what to build.
        base: the model to start from; its parameters may be shapes.
        params: its parameters as they are to be stored.
        mesh: devices; None is one.
        clock: where the phases are measured.
        task: the problems and their verifier.
        watch: told of every rollout.
    """

    experiment: "PolicyTraining"
    base: Run
    params: Params
    mesh: Mesh | None
    clock: Clock
    task: Task
    watch: RolloutWatch | None = None

    def program(self) -> Program:
        """The step of the algorithm, and the state it starts from.

        Parameters may be shapes; then only `abstract` may be called, and there is no reference.
        """
        e, model = self.experiment, self.base.model
        algorithm, chunk = e.algorithm(), e.loss_chunk or None
        rollout = e.rollout
        objective = policy_gradient(
            model,
            algorithm,
            max_tokens=rollout.max_new_tokens,
            batch_rows=rollout.rows // rollout.minibatches,
            temperature=rollout.temperature,
            chunk=chunk,
        )
        optimizer = e.optimizer_for(self.params)
        update = self.make_step(objective, optimizer)
        auxiliary = self.auxiliary(algorithm)
        step = ReinforcementStep(
            self.rollouts(),
            algorithm,
            make_scorers(model, algorithm, rollout, chunk),
            update,
            None if auxiliary is None else auxiliary[0],
            self.reference() if algorithm.needs_reference and not are_shapes(self.params) else None,
            self.mesh,
            self.clock,
            self.watch,
        )
        key = jax.random.key(e.train.seed)

        def initial() -> TrainState:
            state = state_from_params(self.params, optimizer, key, self.mesh)
            return state if auxiliary is None else state._replace(auxiliary=auxiliary[2]())

        def abstract() -> TrainState:
            state = abstract_state(given_params(self.params), optimizer, self.mesh)
            return state if auxiliary is None else state._replace(auxiliary=auxiliary[1]())

        return Program(step, abstract, initial)

    def make_step(self, objective: Objective, optimizer: optax.GradientTransformation) -> Step:
        """A training step on the mesh."""
        return make_step(
            objective, optimizer, self.mesh, TRANSFORMER_RULES, self.experiment.train.accumulation
        )

    def auxiliary(
        self, algorithm: AlgorithmConfig
    ) -> tuple[Step, Callable[[], TrainState], Callable[[], TrainState]] | None:
        """Step, abstract and initial state of the second network, in float32.

        With `lora` it trains low-rank matrices of its own, and the head that it has.
        """
        if algorithm.auxiliary is None:
            return None
        e, model = self.experiment, self.base.model
        rate = e.optimizer.learning_rate * e.auxiliary_rate
        config = replace(e.optimizer, learning_rate=rate)
        head = ""
        if algorithm.auxiliary == "critic":
            critic, head = Critic(model.config), "value_head"
            objective = value_loss(critic, algorithm.value_clip)
            if are_shapes(self.params):
                params = jax.eval_shape(critic.from_policy, self.base.params)
            else:
                params = critic.from_policy(self.base.params)
        else:
            chunk = e.loss_chunk or None
            objective = process_reward_loss(model, algorithm.process_beta, chunk)
            params = self.base.params
        optimizer = make_optimizer(config)
        if e.lora is not None:
            optimizer = lora_optimizer(config, params, head)
        key = jax.random.key(e.train.seed)
        return (
            self.make_step(objective, optimizer),
            lambda: abstract_state(given_params(params), optimizer, self.mesh),
            lambda: state_from_params(params, optimizer, key, self.mesh),
        )

    def reference(self) -> Params:
        """The base model's parameters, as they are at the start, on the mesh.

        They may be `params` themselves: the state that is trained, and donated, holds copies.
        """
        return place_params(self.params, self.mesh)

    def rollouts(self) -> RolloutSource:
        """What draws and judges completions."""
        rollout, vocabulary = self.experiment.rollout, self.task.source.vocabulary
        sampler = autoregressive(
            self.base.model,
            max_new_tokens=rollout.max_new_tokens,
            eos=vocabulary.eos,
            pad=vocabulary.pad,
            temperature=rollout.temperature,
            top_k=rollout.top_k or None,
            top_p=rollout.top_p,
            samples=rollout.group,
        )
        return RolloutSource(
            rollout,
            sampler,
            self.task.reward,
            self.task.source.problem,
            vocabulary,
            self.mesh,
            self.clock.measure,
            self.task.widths,
        )
