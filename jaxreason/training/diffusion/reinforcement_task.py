"""What diffusion RL takes from its base: mazes, rewards and verdicts on held-out mazes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxreason.data.multimodal.judging import Judgement
from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS, MazeWorld
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.rewards import Reward
from jaxreason.rewards.maze_world import judged_reward
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.held_out import Judge
from jaxreason.training.diffusion.reward_models import PictureScores
from jaxreason.training.judging import judge_rows
from jaxreason.training.runs import Run
from jaxreason.training.typed_fields import typed_fields
from jaxreason.types import Params


def check_base(base: Run, path: str, task: str) -> None:
    """Refuse a base that is no diffusion model of the task.

    Raises:
        InputError: it is of another kind, was trained in blocks, was not trained on the task,
            reasons before drawing, or lets answers in words depend on padding.
    """
    experiment = base.experiment
    if not hasattr(experiment, "world"):
        raise InputError(
            f"base {path} was trained on {experiment.words()}; expected a run of masked diffusion "
            "on a maze world"
        )
    if experiment.blocks.length:
        raise InputError(
            f"base {path} is a block-diffusion model (blocks.length {experiment.blocks.length}); "
            "expected one of masked diffusion over whole rows"
        )
    if task not in experiment.tasks():
        raise InputError(
            f"task is {task!r}, but base {path} was trained on {', '.join(experiment.tasks())}"
        )
    if task in PICTURE_TASKS and experiment.world.reasons:
        raise InputError(
            f"task {task!r} of base {path} writes reasoning before it draws (world.reasoning is "
            f"{experiment.world.reasoning!r}); expected a base whose world has reasoning 'none'"
        )
    mode = experiment.objective.mask_mode
    # Words are sampled with padding before the prompt and scored with padding after the answer.
    if task not in PICTURE_TASKS and mode != "bool":
        raise InputError(
            f"base {path} was trained with objective.mask_mode {mode!r}, under which a row depends "
            f"on its padding: answers to {task!r} would be scored otherwise than they were "
            "sampled; expected a base with 'bool', or a task of pictures"
        )


def world_source(base: Run, count: int, changes: Mapping[str, str]) -> MazeWorldSource:
    """The training mazes of a base, with fields of its world changed.

    Raises:
        InputError: an unknown field or value, one that is set elsewhere, or mazes whose words are
            not those of the model.
    """
    fixed = sorted({"split", "count"} & changes.keys())
    if fixed:
        raise InputError(
            f"problem_changes has {fixed[0]!r}, which is not to be changed: training takes as many "
            "mazes as it is told to, of the split train"
        )
    changed = typed_fields(MazeWorld, changes, "problem_changes")
    source = base.experiment.source(split="train", count=count, **changed)
    known = base.experiment.vocabulary()
    if (known.words, known.ids) != (source.vocabulary.words, source.vocabulary.ids):
        raise InputError(
            f"problem_changes {dict(changes)} gives mazes with other words than the {known.size} "
            "the base was trained on; keep the fields that decide which words there are"
        )
    return source


def answer_reward(
    source: MazeWorldSource,
    task: str,
    weights: Mapping[str, float],
    scores: PictureScores | None = None,
) -> Callable[[Sequence[Any], Any], Reward]:
    """`(problems, answers) -> Reward`: the weighted sum of the world's verdicts, and of scores.

    Args:
        source: whose judge it is.
        task: of the world.
        weights: verdict or score to weight.
        scores: of pictures, see `jaxreason.training.diffusion.reward_models`.

    Raises:
        InputError: a weight for what neither the task's judge nor the scores say.
    """
    for name, weight in weights.items():
        if not np.isfinite(weight):
            raise InputError(f"reward {name} is {weight}; expected a finite number")

    def judge(problems: Sequence[Any], answers: Any) -> Judgement:
        judgement = source.judge(task, problems, answers)
        if scores is None:
            return judgement
        scored = {**judgement.breakdown, **scores(problems, answers)}
        return judgement._replace(breakdown=scored)

    reward = judged_reward(judge, weights)
    # One answer tells which verdicts there are, before anything is sampled.
    codes = np.zeros((1, source.codec.tokens), np.int32)
    words = np.full((1, 1), source.vocabulary.ids.eos, np.int32)
    reward([source.problem(0)], codes if task in PICTURE_TASKS else words)
    return reward


def held_out_answers(
    base: Run,
    task: str,
    decoding: DecodingConfig,
    weights: Mapping[str, float],
    mazes: int,
    mesh: Mesh | None,
    changes: Mapping[str, str] | None = None,
    scores: PictureScores | None = None,
) -> Callable[[Params, int], Mapping[str, float]]:
    """`(params, step) -> numbers`: verdicts on held-out mazes, one answer each.

    `held_out_*` of the most likely answers, `held_out_sampled_*` as in the rollouts.

    Args:
        base: the model, and the world it was trained on.
        task: of the world.
        decoding: of the rollouts.
        weights: verdict or score to weight in the reward.
        mazes: how many, of the validation split.
        mesh: devices the answers are split over.
        changes: fields of the world, changed as for training.
        scores: of pictures, if some have a weight.
    """
    judges = held_out_judges(base, decoding, mazes, mesh, changes or {})

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        numbers = {"held_out_mazes": float(mazes)}
        for name, judge in judges.items():
            answered = judge.answer(params, task)
            verdicts = dict(answered.judgement.breakdown)
            if scores is not None and answered.pictures is not None:
                codes = answered.pictures.codes
                verdicts |= judge_rows(scores, answered.problems, codes, mesh)
            numbers[f"{name}_reward"] = sum(
                weight * float(verdicts[verdict].mean()) for verdict, weight in weights.items()
            )
            for verdict, values in verdicts.items():
                numbers[f"{name}_{verdict}"] = float(values.mean())
        return numbers

    return evaluate


def held_out_judges(
    base: Run,
    decoding: DecodingConfig,
    mazes: int,
    mesh: Mesh | None,
    changes: Mapping[str, str],
) -> dict[str, Judge]:
    """The judges of greedy ("held_out") and of sampled answers ("held_out_sampled")."""
    changed = typed_fields(MazeWorld, changes, "problem_changes")
    world = replace(base.experiment.world, **changed)
    greedy = replace(decoding, temperature=0.0, image_temperature=0.0, choice_temperature=0.0)
    return {
        name: Judge(
            replace(base.experiment, decoding=how, world=world),
            base.model,
            mesh,
            mazes=mazes,
            batch=64,
        )
        for name, how in (("held_out", greedy), ("held_out_sampled", decoding))
    }
