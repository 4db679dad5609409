"""Reinforcement learning of a trained model on its verifiable task, as one record of choices."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import Critic
from jaxreason.objectives.algorithm_config import AlgorithmConfig, check_group
from jaxreason.objectives.algorithms import ALGORITHMS
from jaxreason.objectives.policy_gradient import policy_gradient
from jaxreason.objectives.process_reward import process_reward_loss
from jaxreason.objectives.value import value_loss
from jaxreason.sampling import autoregressive
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.rules import TRANSFORMER_RULES
from jaxreason.training.clock import Clock
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.held_out import held_out_rewards
from jaxreason.training.loop import TrainResult
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.post_training import (
    PostTraining,
    lora_optimizer,
    origin_json,
    problem_source,
)
from jaxreason.training.program import Program, run_program
from jaxreason.training.reinforcement import ReinforcementStep, make_scorers
from jaxreason.training.rollouts import PromptStream, RolloutConfig, RolloutSource
from jaxreason.training.run_directory import check_run_directory
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
from jaxreason.training.typed_fields import typed_fields
from jaxreason.types import Objective, Params


@dataclass(frozen=True)
class ReinforcementExperiment(PostTraining):
    """Online RL from a run directory, on the problems that run was trained on or others.

    Attributes:
        base: run directory of the model to start from.
        base_step: which of its checkpoints; the newest by default.
        method: name of a published algorithm, see `jaxreason.objectives.algorithms`.
        overrides: fields of its `AlgorithmConfig` that are to differ, such as `clip_high 0.3`.
        problems: number of different training problems.
        problem_changes: fields of the base's data to change, such as `generator kruskal` or
            `seed 1`.
        rollout: how many completions a step learns from, and how they are drawn.
        optimizer: of the policy; a step makes `rollout.epochs` x `rollout.minibatches` updates.
        auxiliary_rate: learning rate of the critic or reward model over the policy's.
        params_dtype: "bfloat16" stores the parameters in bfloat16 (moments: see `optimizer`).
        mask: file of a saved update mask; only the weights in it are trained.
        mask_placement: "update" freezes the others for good; "gradient" masks gradients just
            before the optimizer, as Mukherjee et al. 2025 do.
        held_out: problems of the validation split decoded at every evaluation, greedily and not.
        train: lengths and intervals; a step is a rollout with its updates.
        mesh: how devices are arranged.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        lora: train low-rank updates and nothing else; see `PostTraining`.
    """

    method: str = "grpo"
    overrides: dict[str, str] = field(default_factory=dict)
    problems: int = 10_000
    problem_changes: dict[str, str] = field(default_factory=dict)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    auxiliary_rate: float = 1.0
    held_out: int = 200

    kind = "reinforcement"

    def __post_init__(self) -> None:
        super().__post_init__()
        algorithm = self.algorithm()
        check_group(algorithm, self.rollout.group)
        if algorithm.overlong == "soft":
            algorithm.buffer(self.rollout.max_new_tokens)
        for name, least in (("problems", 1), ("held_out", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not self.auxiliary_rate > 0:
            raise InputError(f"auxiliary_rate is {self.auxiliary_rate}; expected more than 0")

    def algorithm(self) -> AlgorithmConfig:
        """The published algorithm with the overrides.

        Raises:
            InputError: unknown method or field, or a value that does not fit.
        """
        if self.method not in ALGORITHMS:
            raise InputError(f"method is {self.method!r}; expected one of {', '.join(ALGORITHMS)}")
        preset = ALGORITHMS[self.method]
        return replace(preset, **typed_fields(AlgorithmConfig, self.overrides, "overrides"))

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other or the base, or a directory of another
                experiment.
            FailureError: see `training.loop.train`; no base run.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        base = self.load_base()
        mesh = self.device_mesh()
        self.check_rows(mesh)
        clock = Clock()
        source = problem_source(base, self.problems, self.problem_changes)
        params = self.initial_params(base)
        build = ReinforcementBuilder(self, base, params, mesh, clock, source)
        rollout = self.rollout
        rows = rollout.prompts * rollout.oversample
        began = fingerprint(base.params)
        stream = PromptStream(self.problems, rows, self.train.seed, began)
        return run_program(
            run_directory,
            build.program(),
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=stream,
            config_json={**self.as_json(), "origin": origin_json(self.base)},
            evaluate_fn=held_out_rewards(base, rollout, self.held_out, mesh),
            clock=clock,
            updates_per_step=rollout.epochs * rollout.minibatches,
            evaluate_at_start=True,
            progress=progress,
        )

    def check_rows(self, mesh: Mesh | None) -> None:
        """Refuse completions that mesh, minibatches and micro-batches cannot split."""
        ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
        if self.rollout.prompts % ways:
            raise InputError(
                f"rollout.prompts is {self.rollout.prompts}; it must be a multiple of mesh axes "
                f"replica x fsdp ({ways})"
            )
        rollout, parts = self.rollout, ways * self.train.accumulation
        if rollout.rows // rollout.minibatches % parts:
            raise InputError(
                f"rollout.minibatches is {rollout.minibatches}: an update would see "
                f"{rollout.rows // rollout.minibatches} completions, which must be a multiple of "
                f"train.accumulation ({self.train.accumulation}) x mesh axes replica x fsdp "
                f"({ways})"
            )


@dataclass(frozen=True)
class ReinforcementBuilder:
    """Puts the pieces of one experiment together.

    Attributes:
        experiment: what to build.
        base: the model to start from; its parameters may be shapes.
        params: its parameters as they are to be stored.
        mesh: devices; None is one.
        clock: where the phases are measured.
        source: the problems.
    """

    experiment: ReinforcementExperiment
    base: Run
    params: Params
    mesh: Mesh | None
    clock: Clock
    source: Any

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
        rollout, vocabulary = self.experiment.rollout, self.source.vocabulary
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
            self.base.experiment.reward,
            self.source.problem,
            vocabulary,
            self.mesh,
            self.clock.measure,
        )
