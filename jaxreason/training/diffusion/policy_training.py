"""Reinforcement learning of a diffusion policy, whatever it is asked: fields, checks, program.

Answers are sampled with guidance if `decoding.guidance` says so, but the loss is of the conditional
model: log-probabilities are read without guidance and at temperature 1.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.attention import MaskMode
from jaxreason.objectives.diffusion.algorithm_config import (
    DiffusionAlgorithmConfig,
    check_group,
)
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.policy import diffusion_policy
from jaxreason.objectives.diffusion.preference import diffusion_preference
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.rules import TRANSFORMER_RULES
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.reinforcement import (
    DiffusionReinforcementStep,
    make_diffusion_scorers,
)
from jaxreason.training.diffusion.rollouts import (
    AnswerReward,
    AnswerTask,
    DiffusionRolloutConfig,
    DiffusionRollouts,
)
from jaxreason.training.post_training import PostTraining, origin_json
from jaxreason.training.program import Program
from jaxreason.training.reinforcement import RolloutWatch
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


@dataclass(frozen=True)
class DiffusionPolicyTraining(PostTraining):
    """Online RL of a diffusion model; subclasses say what it is asked.

    Attributes:
        method: name of a published algorithm, see `jaxreason.objectives.diffusion.algorithms`.
        overrides: fields of its `DiffusionAlgorithmConfig` that are to differ, such as `updates 2`.
        rollout: how many answers a step learns from.
        decoding: how they are sampled; the temperature must be above 0.

    The other fields are those of `PostTraining`; a step of `train` is a rollout with its updates.
    """

    method: str = "unigrpo"
    overrides: dict[str, str] = field(default_factory=dict)
    rollout: DiffusionRolloutConfig = field(default_factory=DiffusionRolloutConfig)
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_group(self.algorithm(), self.rollout.group)

    def check_temperature(self, name: str) -> None:
        """Refuse decoding that draws the same answer over and over."""
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

    def run_json(self) -> dict[str, Any]:
        """What config.json holds of a run: the fields, the algorithm they resolve to, the base.

        With the algorithm spelled out, a run is not continued after its preset has changed.
        """
        algorithm = asdict(self.algorithm())
        return {**self.as_json(), "algorithm": algorithm, "origin": origin_json(self.base)}

    def updates_per_step(self) -> int:
        """Optimizer updates in a step."""
        return self.algorithm().updates * self.rollout.minibatches

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


class Asked(NamedTuple):
    """What a policy is asked, and how it answers.

    Attributes:
        task: prompts, problems and rows.
        sampler: of answers, `rollout.group` to each prompt.
        steps: denoising steps it takes, at most.
        reward: of answers; None where nothing is judged.
        mask_id: of the mask token.
        mask_mode: how padding is hidden when answers are scored.
        watch: told of every rollout; None tells nobody.
    """

    task: AnswerTask
    sampler: Any
    steps: int
    reward: AnswerReward | Any
    mask_id: int
    mask_mode: MaskMode
    watch: RolloutWatch | None = None


def policy_program(
    e: DiffusionPolicyTraining,
    model: Transformer,
    params: Params,
    asked: Asked,
    mesh: Mesh | None,
    clock: Clock,
) -> Program:
    """The step of the algorithm, and the state it starts from.

    Parameters may be shapes; then only `abstract` may be called, and there is no reference.
    """
    algorithm, chunk = e.algorithm(), e.loss_chunk or None
    shown: dict[str, Any] = {
        "mask_id": asked.mask_id, "mask_mode": asked.mask_mode, "chunk": chunk
    }  # fmt: skip
    scorers = make_diffusion_scorers(
        model, algorithm, group=e.rollout.group, steps=asked.steps, **shown
    )
    if algorithm.surrogate == "preference":
        objective = diffusion_preference(model, beta=algorithm.preference_beta, **shown)
    else:
        objective = diffusion_policy(model, algorithm, **shown)
    optimizer = e.optimizer_for(params)
    update = make_step(objective, optimizer, mesh, TRANSFORMER_RULES, e.train.accumulation)
    key = jax.random.key(e.train.seed)
    reference = None
    if algorithm.needs_reference and not are_shapes(params):
        # The state that is trained, and donated, holds copies.
        reference = place_params(params, mesh)
    rollouts = DiffusionRollouts(
        e.rollout, asked.task, asked.sampler, asked.reward, mesh, clock.measure
    )
    step = DiffusionReinforcementStep(
        rollouts,
        algorithm,
        scorers,
        update,
        reference,
        mesh,
        clock,
        e.train.accumulation,
        asked.watch,
    )
    return Program(
        step,
        lambda: abstract_state(given_params(params), optimizer, mesh),
        lambda: state_from_params(params, optimizer, key, mesh),
    )
