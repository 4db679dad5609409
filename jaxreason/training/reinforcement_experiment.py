"""Reinforcement learning of a trained model on its verifiable task, as one record of choices."""

from dataclasses import dataclass, field

from jaxreason.errors import InputError
from jaxreason.training.policy_program import ReinforcementBuilder
from jaxreason.training.policy_training import PolicyTraining
from jaxreason.training.post_training import problem_source
from jaxreason.training.prompt_rows import Task
from jaxreason.training.runs import Run

__all__ = ["ReinforcementBuilder", "ReinforcementExperiment"]


@dataclass(frozen=True)
class ReinforcementExperiment(PolicyTraining):
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

    problems: int = 10_000
    problem_changes: dict[str, str] = field(default_factory=dict)

    kind = "reinforcement"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.problems < 1:
            raise InputError(f"problems is {self.problems}; it must be at least 1")

    def task(self, base: Run) -> Task:
        """Problems of the base's data, judged as that data says."""
        source = problem_source(base, self.problems, self.problem_changes)
        held_out = base.experiment.source(split="validation", count=self.held_out)
        return Task(source, held_out, base.experiment.reward)

    def asked(self, task: Task) -> tuple[int, int]:
        """As the fields say."""
        del task
        return self.problems, self.held_out
