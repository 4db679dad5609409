"""Preference learning on mazes: right and wrong plans of the base itself as pairs.

    jaxreason train experiments/subnetworks/maze_base.py --run runs/subnetworks/base
    jaxreason train experiments/subnetworks/maze_dpo.py --run runs/maze_dpo
    jaxreason train experiments/subnetworks/maze_dpo.py --run runs/maze_kto --method kto

`--method` is one of dpo, dpo_norm, ipo, kto, orpo, simpo; rft learns from the right samples alone,
sft from the solutions of the data. DPO and KTO have beta 1 here, since the usual 0.1 takes this
small model so far from its base that it gets worse; `--beta None` gives the others their own. The
completions are drawn once and kept in the run directory. metrics.jsonl logs the preference margin,
and every 25 steps the reward on held-out mazes; README.md beside this file has the numbers.
"""

from jaxreason.training.completions import SamplingConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preference_experiment import PreferenceExperiment

STEPS = 100

experiment = PreferenceExperiment(
    base="runs/subnetworks/base",
    method="dpo",
    beta=1.0,
    sampling=SamplingConfig(problems=4_000, samples=8, max_new_tokens=40),
    optimizer=OptimizerConfig(
        learning_rate=1e-4,
        warmup_steps=5,
        total_steps=STEPS,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, log_every=5, evaluate_every=25, save_every=50),
    batch_size=64,
    held_out=500,
)
