"""Reinforcement learning of a next-token policy, whatever it is asked: fields, run, program."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.objectives.algorithm_config import AlgorithmConfig, check_group
from jaxreason.objectives.algorithms import ALGORITHMS
from jaxreason.paths import as_path
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.training.clock import Clock
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.held_out import Watch, held_out_rewards
from jaxreason.training.left_out import with_numbers
from jaxreason.training.loop import TrainResult
from jaxreason.training.policy_program import ReinforcementBuilder
from jaxreason.training.post_training import (
    PostTraining,
    origin_json,
)
from jaxreason.training.program import run_program
from jaxreason.training.prompt_rows import Task
from jaxreason.training.reinforcement import RolloutWatch
from jaxreason.training.rollouts import PromptStream, RolloutConfig
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.typed_fields import typed_fields


@dataclass(frozen=True)
class PolicyTraining(PostTraining):
    """Online RL of a next-token model; subclasses say what it is asked.

    Attributes:
        method: name of a published algorithm, see `jaxreason.objectives.algorithms`.
        overrides: fields of its `AlgorithmConfig` that are to differ, such as `clip_high 0.3`.
        rollout: how many completions a step learns from, and how they are drawn.
        auxiliary_rate: learning rate of the critic or reward model over the policy's.
        held_out: problems decoded at every evaluation, greedily and not.

    The other fields are those of `PostTraining`; a step of `train` is a rollout with its updates.
    """

    method: str = "grpo"
    overrides: dict[str, str] = field(default_factory=dict)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    auxiliary_rate: float = 1.0
    held_out: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        algorithm = self.algorithm()
        check_group(algorithm, self.rollout.group)
        if algorithm.overlong == "soft":
            algorithm.buffer(self.rollout.max_new_tokens)
        if self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}; it must be at least 1")
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

    def task(self, base: Run) -> Task:
        """What the policy is asked; a hook.

        Raises:
            InputError: problems that do not fit the base.
        """
        raise TypeError(f"{type(self).__name__} asks nothing")

    def asked(self, task: Task) -> tuple[int, int]:
        """How many training problems there are, and how many held-out ones; a hook."""
        raise TypeError(f"{type(self).__name__} asks nothing")

    def watches(self, run: Path, task: Task) -> tuple[RolloutWatch | None, Watch | None]:
        """What is told of rollouts and of held-out answers; a hook."""
        del run, task
        return None, None

    def left_out(self, task: Task, progress: bool) -> Mapping[str, float]:
        """Tells how many problems are not asked; the same for every evaluation. A hook."""
        del task, progress
        return {}

    def begin(self, run: Path, config_json: Mapping[str, Any]) -> None:
        """Called when nothing is left to refuse, before the base is loaded; a hook."""

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other or the base, or a directory of another
                experiment.
            FailureError: see `training.loop.train`; no base run.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        mesh = self.device_mesh()
        self.check_rows(mesh)
        clock, rollout = Clock(), self.rollout
        # Tokenizer and data first: the weights may take minutes to read.
        task = self.task(self.described())
        problems, held_out = self.asked(task)
        rows = rollout.prompts * rollout.oversample
        PromptStream(problems, rows, self.train.seed)  # refuses too few at once
        left_out = self.left_out(task, progress)
        config_json = {**self.as_json(), "origin": origin_json(self.base)}
        self.begin(as_path(run_directory), config_json)
        base = self.load_base()
        params = self.initial_params(base)
        on_rollout, on_held_out = self.watches(as_path(run_directory), task)
        build = ReinforcementBuilder(self, base, params, mesh, clock, task, on_rollout)
        stream = PromptStream(
            problems, rows, self.train.seed, fingerprint(base.params), task.identity
        )
        evaluate = held_out_rewards(base.model, task, rollout, held_out, mesh, watch=on_held_out)
        return run_program(
            run_directory,
            build.program(),
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=stream,
            config_json=config_json,
            evaluate_fn=with_numbers(evaluate, lambda: left_out),
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
