r"""RL on 6x6 mazes: plan validity as reward, any of the online algorithms, minutes on a CPU.

    jaxreason train experiments/subnetworks/maze_base.py --run runs/subnetworks/base
    jaxreason train experiments/subnetworks/maze_grpo.py --run runs/maze_grpo
    jaxreason train experiments/subnetworks/maze_grpo.py --run runs/maze_ppo --method ppo

`--method` takes every name of `jaxreason.objectives.algorithms.ALGORITHMS`, and `--overrides
clip_high 0.3` changes a field of it. metrics.jsonl logs the reward, the four cells of trace against
plan validity, and every 25 steps the reward on held-out mazes; README.md beside this file has the
numbers. PRIME needs its authors' filter of prompts, and here less weight on its process reward,
which otherwise makes completions longer and longer:

    jaxreason train experiments/subnetworks/maze_grpo.py --run runs/maze_prime --method prime \
        --rollout.keep informative --rollout.mean-between 0.2 0.8 --rollout.oversample 4 \
        --overrides process_weight 1 overlong mask
"""

from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig

STEPS = 100

experiment = ReinforcementExperiment(
    base="runs/subnetworks/base",
    method="grpo",
    rollout=RolloutConfig(prompts=16, group=8, max_new_tokens=40),
    optimizer=OptimizerConfig(
        learning_rate=1e-4,
        warmup_steps=5,
        total_steps=STEPS,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, log_every=5, evaluate_every=25, save_every=50),
    held_out=500,
)
