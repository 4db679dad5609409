"""Stage 3: UniGRPO on the plans of stage 2, reasoning included.

    jaxreason train experiments/mmada/stage3_unigrpo.py --run runs/mmada/stage3

Goes on from `runs/mmada/stage2-correct`. An answer earns 2 if its plan is valid and 0.5 if it has
the form `<think> reasoning </think> plan`, the paper's weights. Rollouts keep every token of
probability 0.9 or more at once, which is what makes answers of more than a hundred tokens
affordable here.
"""

from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 40

experiment = DiffusionReinforcementExperiment(
    base="runs/mmada/stage2-correct",
    task="plan",
    rollout=DiffusionRolloutConfig(prompts=16, group=8),
    decoding=DecodingConfig(temperature=1.0, threshold=0.9),
    optimizer=OptimizerConfig(
        learning_rate=2e-4,
        warmup_steps=5,
        total_steps=STEPS,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, log_every=5, evaluate_every=STEPS, save_every=20),
    held_out=200,
)
