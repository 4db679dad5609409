"""Reinforcement learning of a trained diffusion policy on its maze world, as one record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS, TASKS_OF_WORLD
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.rewards.maze_world import TEXT_WEIGHTS
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.kept_codec import keep_codec
from jaxreason.training.diffusion.policy_training import (
    Asked,
    DiffusionPolicyTraining,
    policy_program,
)
from jaxreason.training.diffusion.reinforcement_task import (
    answer_reward,
    check_base,
    held_out_answers,
    world_source,
)
from jaxreason.training.diffusion.reward_models import picture_scores
from jaxreason.training.diffusion.rollouts import MazeAnswers, sampler_of
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.loop import TrainResult
from jaxreason.training.program import run_program
from jaxreason.training.rollouts import PromptStream
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run

PICTURE_WEIGHTS: Mapping[str, float] = {"correct": 1.0}
"""A picture earns all or nothing."""


@dataclass(frozen=True)
class DiffusionReinforcementExperiment(DiffusionPolicyTraining):
    """Online RL from the run directory of a `MaskedDiffusionExperiment`.

    Attributes:
        task: of the base's world: "plan", "read_plan", "read_maze" (words), "draw_maze" or
            "draw_solution" (pictures).
        problems: number of different training mazes.
        problem_changes: fields of the base's world to change, such as `generator kruskal`.
        reward: verdict to weight, see `MazeWorldSource.judge`; without any, 2.0 for a correct
            answer and 0.5 for its format (MMaDA), and for pictures 1 for a correct one. Pictures
            may also be scored against their text by `clip` and `colour_words`, on a scale of 100,
            and by `image_reward`, see `jaxreason.training.diffusion.reward_models`:
            {"correct": 1, "colour_words": 0.001}.
        clip_folder: a published CLIP as `clip`; "" trains one for the mazes at the start.
        image_reward_folder: the published ImageReward as `image_reward`.
        held_out: mazes of the validation split answered at every evaluation, greedily and sampled.

    The other fields are those of `DiffusionPolicyTraining`.
    """

    task: str = "plan"
    problems: int = 10_000
    problem_changes: dict[str, str] = field(default_factory=dict)
    reward: dict[str, float] = field(default_factory=dict)
    clip_folder: str = ""
    image_reward_folder: str = ""
    held_out: int = 200

    kind = "diffusion_reinforcement"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in TASKS_OF_WORLD or self.task == "text":
            known = ", ".join(task for task in TASKS_OF_WORLD if task != "text")
            raise InputError(f"task is {self.task!r}; expected one of {known}")
        for name in ("problems", "held_out"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        self.check_temperature("image_temperature" if self.task in PICTURE_TASKS else "temperature")

    def as_json(self) -> dict[str, Any]:
        """What config.json holds of the fields, folders of reward models only where there are."""
        document = super().as_json()
        for name in ("clip_folder", "image_reward_folder"):
            if not document[name]:
                del document[name]
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
        folders = self.clip_folder, self.image_reward_folder
        scores = picture_scores(source, self.task, self.weights(), *folders)
        reward = answer_reward(source, self.task, self.weights(), scores)
        params = self.initial_params(base)
        if base.experiment.tokenizer:
            keep_codec(run_directory, source.codec)
        stream = PromptStream(
            self.problems, self.rollout.prompts, self.train.seed, fingerprint(base.params)
        )
        return run_program(
            run_directory,
            policy_program(self, base.model, params, self.asked(base, source, reward), mesh, clock),
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
            updates_per_step=self.updates_per_step(),
            evaluate_at_start=True,
            progress=progress,
        )

    def asked(self, base: Run, source: MazeWorldSource, reward: Any) -> Asked:
        """What the policy is asked, and how it answers."""
        mode = base.experiment.objective.mask_mode
        sampler, steps = sampler_of(
            base.model, source, self.task, self.decoding, self.rollout.group, mode
        )
        task = MazeAnswers(source, self.task)
        return Asked(task, sampler, steps, reward, source.vocabulary.ids.mask, mode)

    def planned(self, base: Run) -> tuple[Asked, dict[str, Any]]:
        """What is compiled ahead: the policy, and prompts of the first step's shape.

        Raises:
            InputError: fields that do not fit the base.
        """
        check_base(base, self.base, self.task)
        source = world_source(base, self.problems, self.problem_changes)
        asked = self.asked(base, source, None)
        stream = PromptStream(self.problems, self.rollout.prompts, self.train.seed)
        return asked, asked.task.prompts(next(stream)["problems"].tolist())
