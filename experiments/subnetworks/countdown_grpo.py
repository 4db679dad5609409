"""RL on Countdown: the reward is whether the expression reaches the target.

    jaxreason train experiments/subnetworks/countdown_base.py --run runs/countdown/base
    jaxreason train experiments/subnetworks/countdown_grpo.py --run runs/countdown/grpo

The same code as on mazes, another verifier; options as in `maze_grpo.py`. One run (seed 0, 400
held-out problems, under a minute on two cores of an AMD EPYC): right answers sampled rose from 19.0
to 24.8 %, greedy ones stayed (34.8 and 35.0 %).
"""

from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig

STEPS = 200

experiment = ReinforcementExperiment(
    base="runs/countdown/base",
    method="grpo",
    problems=20_000,
    rollout=RolloutConfig(prompts=16, group=8, max_new_tokens=16),
    optimizer=OptimizerConfig(
        learning_rate=1e-4,
        warmup_steps=5,
        total_steps=STEPS,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, log_every=5, evaluate_every=50, save_every=50),
    held_out=400,
)
