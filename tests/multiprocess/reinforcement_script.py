"""Two steps of online RL on four devices, shared out over the processes that run this script.

Arguments: the method ("grpo" and its like, or "unigrpo:plan", a diffusion method and its task), the
base's run directory, the new one's. Prints, as JSON, how many rows each call of the reward judged,
and what a judge that fails on process 1 alone raises here.
"""

import json
import sys

import jax
import numpy as np

from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import FailureError, InputError
from jaxreason.rewards import Reward
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.start import start_processes
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.judging import checked, judge_rows
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig

MESH = MeshConfig(fsdp=2, tensor=2)
SHARED = {
    "problems": 32,
    "held_out": 8,
    # Adam with a tiny eps would turn rounding in tiny gradients into whole steps.
    "optimizer": OptimizerConfig(learning_rate=1e-2, warmup_steps=0, total_steps=8, eps=0.1),
    "mesh": MESH,
}


def experiment(method, base):
    name, _, task = method.partition(":")
    # Held-out problems take two more samplers to compile.
    train = TrainConfig(steps=2, log_every=1, evaluate_every=0 if name == "grpo" else 2)
    if task:
        return DiffusionReinforcementExperiment(
            base=base,
            method=name,
            task=task,
            overrides={"updates": "2"},
            # Partial credit, so that a model that has learned nothing has something to learn from.
            reward={"share": 1.0} if task == "draw_solution" else {"finished": 1.0},
            rollout=DiffusionRolloutConfig(prompts=4, group=4),
            decoding=DecodingConfig(temperature=1.0, length=8, tokens_per_step=2, image_steps=3),
            train=train,
            **SHARED,
        )
    informative = {"keep": "informative", "oversample": 2} if name == "dapo" else {}
    rollout = RolloutConfig(prompts=4, group=4, max_new_tokens=24, **informative)
    return ReinforcementExperiment(base=base, method=name, rollout=rollout, train=train, **SHARED)


def count_rows(owner, name, problems_at):
    """Count the rows of every call of a method that judges."""
    judged, original = [], getattr(owner, name)

    def counting(self, *arguments):
        judged.append(len(arguments[problems_at]))
        return original(self, *arguments)

    setattr(owner, name, counting)
    return judged


def refusal(fail):
    """What comes of judging five rows when it fails on process 1 only."""

    def judge(problems, answers):
        if jax.process_index() == 1:
            fail()
        return Reward(np.asarray(problems) + answers, {})

    try:
        return judge_rows(checked(judge), [1, 2, 3, 4, 5], np.zeros(5), make_mesh(MESH)).values
    except (InputError, FailureError, ZeroDivisionError) as error:
        return f"{type(error).__name__}: {error}"


def main(method, base, directory):
    start_processes()
    rows = count_rows(MazeExperiment, "reward", 0)
    answers = count_rows(MazeWorldSource, "judge", 1)
    experiment(method, base).run(directory, progress=False)
    found = {
        "judged": rows + answers,
        "values": np.asarray(refusal(lambda: None)).tolist(),
        "failed": refusal(lambda: 1 / 0) if jax.process_count() > 1 else None,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
