"""Reinforcement learning of a trained diffusion policy on its maze world, as one record of choices.

Answers are sampled with guidance if `decoding.guidance` says so, but the loss is of the conditional
model: log-probabilities are read without guidance and at temperature 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS, TASKS_OF_WORLD
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithm_config import (
    DiffusionAlgorithmConfig,
    check_group,
)
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.policy import diffusion_policy
from jaxreason.objectives.diffusion.preference import diffusion_preference
from jaxreason.rewards import Reward
from jaxreason.rewards.maze_world import TEXT_WEIGHTS
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.rules import TRANSFORMER_RULES
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.kept_codec import keep_codec
from jaxreason.training.diffusion.reinforcement import (
    DiffusionReinforcementStep,
    make_diffusion_scorers,
)
from jaxreason.training.diffusion.reinforcement_task import (
    answer_reward,
    check_base,
    held_out_answers,
    world_source,
)
from jaxreason.training.diffusion.reward_models import picture_scores
from jaxreason.training.diffusion.rollouts import (
    DiffusionRolloutConfig,
    DiffusionRollouts,
    sampler_of,
)
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.loop import TrainResult
from jaxreason.training.post_training import PostTraining, origin_json
from jaxreason.training.program import Program, run_program
from jaxreason.training.rollouts import PromptStream
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.state import (
    abstract_state,
    are_shapes,
    given_params,
    place_params,
    state_from_params,
)
from jaxreason.training.step import make_step
from jaxreason.training.typed_fields import typed_fields
from jaxreason.types import Params

PICTURE_WEIGHTS: Mapping[str, float] = {"correct": 1.0}
"""A picture earns all or nothing."""


@dataclass(frozen=True)
class DiffusionReinforcementExperiment(PostTraining):
    """Online RL from the run directory of a `MaskedDiffusionExperiment`.

    Attributes:
        task: of the base's world: "plan", "read_plan", "read_maze" (words), "draw_maze" or
            "draw_solution" (pictures).
        method: name of a published algorithm, see `jaxreason.objectives.diffusion.algorithms`.
        overrides: fields of its `DiffusionAlgorithmConfig` that are to differ, such as `updates 2`.
        problems: number of different training mazes.
        problem_changes: fields of the base's world to change, such as `generator kruskal`.
        rollout: how many answers a step learns from.
        decoding: how they are sampled; the temperature must be above 0.
        reward: verdict to weight, see `MazeWorldSource.judge`; without any, 2.0 for a correct
            answer and 0.5 for its format (MMaDA), and for pictures 1 for a correct one. Pictures
            may also be scored against their text by `clip` and `colour_words`, on a scale of 100,
            see `jaxreason.training.diffusion.reward_models`: {"correct": 1, "colour_words": 0.001}.
        clip_folder: a published CLIP as `clip`; "" trains one for the mazes at the start.
        held_out: mazes of the validation split answered at every evaluation, greedily and sampled.

    The other fields are those of `PostTraining`; a step of `train` is a rollout with its updates.
    """

    task: str = "plan"
    method: str = "unigrpo"
    overrides: dict[str, str] = field(default_factory=dict)
    problems: int = 10_000
    problem_changes: dict[str, str] = field(default_factory=dict)
    rollout: DiffusionRolloutConfig = field(default_factory=DiffusionRolloutConfig)
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=1.0))
    reward: dict[str, float] = field(default_factory=dict)
    clip_folder: str = ""
    held_out: int = 200

    kind = "diffusion_reinforcement"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_group(self.algorithm(), self.rollout.group)
        if self.task not in TASKS_OF_WORLD or self.task == "text":
            known = ", ".join(task for task in TASKS_OF_WORLD if task != "text")
            raise InputError(f"task is {self.task!r}; expected one of {known}")
        for name in ("problems", "held_out"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        name = "image_temperature" if self.task in PICTURE_TASKS else "temperature"
        if not getattr(self.decoding, name) > 0:
            raise InputError(
                f"decoding.{name} is {getattr(self.decoding, name)}; a policy that learns from "
                "its own answers needs a temperature above 0"
            )

    def algorithm(self) -> DiffusionAlgorithmConfig:
        """The published algorithm with the overrides.

        Raises:
            InputError: unknown method or field, or a value that does not fit.
        """
        if self.method not in DIFFUSION_ALGORITHMS:
            known = ", ".join(DIFFUSION_ALGORITHMS)
            raise InputError(f"method is {self.method!r}; expected one of {known}")
        fields = typed_fields(DiffusionAlgorithmConfig, self.overrides, "overrides")
        return replace(DIFFUSION_ALGORITHMS[self.method], **fields)

    def as_json(self) -> dict[str, Any]:
        """What config.json holds of the fields, a folder of CLIP only where there is one."""
        document = super().as_json()
        if not self.clip_folder:
            del document["clip_folder"]
        return document

    def weights(self) -> Mapping[str, float]:
        """Verdict to weight."""
        default = PICTURE_WEIGHTS if self.task in PICTURE_TASKS else TEXT_WEIGHTS
        return self.reward or default

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other or the base, or a directory of another
                experiment.
            FailureError: see `training.loop.train`; no base run.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        base = self.load_base()
        check_base(base, self.base, self.task)
        mesh = self.device_mesh()
        self.check_rows(mesh)
        clock = Clock()
        source = world_source(base, self.problems, self.problem_changes)
        scores = picture_scores(source, self.task, self.weights(), self.clip_folder)
        reward = answer_reward(source, self.task, self.weights(), scores)
        params = self.initial_params(base)
        algorithm = self.algorithm()
        if base.experiment.tokenizer:
            keep_codec(run_directory, source.codec)
        stream = PromptStream(
            self.problems, self.rollout.prompts, self.train.seed, fingerprint(base.params)
        )
        return run_program(
            run_directory,
            diffusion_program(self, base, params, source, reward, mesh, clock),
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=stream,
            config_json=self.run_json(),
            evaluate_fn=held_out_answers(
                base,
                self.task,
                self.decoding,
                self.weights(),
                self.held_out,
                mesh,
                self.problem_changes,
                scores,
            ),
            clock=clock,
            updates_per_step=algorithm.updates * self.rollout.minibatches,
            evaluate_at_start=True,
            progress=progress,
        )

    def run_json(self) -> dict[str, Any]:
        """What config.json holds of a run: the fields, the algorithm they resolve to, the base.

        With the algorithm spelled out, a run is not continued after its preset has changed.
        """
        algorithm = asdict(self.algorithm())
        return {**self.as_json(), "algorithm": algorithm, "origin": origin_json(self.base)}

    def check_rows(self, mesh: Mesh | None) -> None:
        """Refuse completions that mesh, minibatches and micro-batches cannot split."""
        ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
        if self.rollout.prompts % ways:
            raise InputError(
                f"rollout.prompts is {self.rollout.prompts}; it must be a multiple of mesh axes "
                f"replica x fsdp ({ways})"
            )
        pairs = self.algorithm().surrogate == "preference"
        examples = self.rollout.prompts if pairs else self.rollout.rows
        rows, rest = divmod(examples, self.rollout.minibatches)
        if rest or rows % (ways * self.train.accumulation):
            raise InputError(
                f"rollout.minibatches is {self.rollout.minibatches}: an update would see "
                f"{examples / self.rollout.minibatches:g} {'pairs' if pairs else 'answers'}, which "
                f"must be a multiple of train.accumulation ({self.train.accumulation}) x mesh axes "
                f"replica x fsdp ({ways})"
            )


def diffusion_program(
    e: DiffusionReinforcementExperiment,
    base: Run,
    params: Params,
    source: MazeWorldSource,
    reward: Callable[[Sequence[Any], Any], Reward],
    mesh: Mesh | None,
    clock: Clock,
) -> Program:
    """The step of the algorithm, and the state it starts from.

    Parameters may be shapes; then only `abstract` may be called, and there is no reference.
    """
    algorithm, chunk = e.algorithm(), e.loss_chunk or None
    mask_id = source.vocabulary.ids.mask
    mode = base.experiment.objective.mask_mode
    sampler, steps = sampler_of(base.model, source, e.task, e.decoding, e.rollout.group, mode)
    shown: dict[str, Any] = {"mask_id": mask_id, "mask_mode": mode, "chunk": chunk}
    scorers = make_diffusion_scorers(
        base.model,
        algorithm,
        group=e.rollout.group,
        steps=steps,
        **shown,
    )
    if algorithm.surrogate == "preference":
        objective = diffusion_preference(base.model, beta=algorithm.preference_beta, **shown)
    else:
        objective = diffusion_policy(base.model, algorithm, **shown)
    optimizer = e.optimizer_for(params)
    update = make_step(objective, optimizer, mesh, TRANSFORMER_RULES, e.train.accumulation)
    key = jax.random.key(e.train.seed)
    reference = None
    if algorithm.needs_reference and not are_shapes(params):
        # The state that is trained, and donated, holds copies.
        reference = place_params(params, mesh)
    rollouts = DiffusionRollouts(e.rollout, source, e.task, sampler, reward, mesh, clock.measure)
    step = DiffusionReinforcementStep(
        rollouts, algorithm, scorers, update, reference, mesh, clock, e.train.accumulation
    )
    return Program(
        step,
        lambda: abstract_state(given_params(params), optimizer, mesh),
        lambda: state_from_params(params, optimizer, key, mesh),
    )
