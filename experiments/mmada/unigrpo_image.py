r"""UniGRPO on pictures: draw the solution of a described maze; minutes on two CPU cores.

    jaxreason train experiments/mmada/unigrpo_base.py --run runs/mmada/unigrpo_base
    jaxreason train experiments/mmada/unigrpo_image.py --run runs/mmada/unigrpo_image

A picture earns 1 if every cell of it is right or its plan is another valid one, else 0. The rollout
draws without guidance; with `--decoding.guidance` above 0 it draws with it, while the loss stays
that of the conditional model. A score of picture and text may be added to the reward:

    jaxreason train experiments/mmada/unigrpo_image.py --run runs/mmada/unigrpo_colours \
        --reward correct 1 colour_words 0.001

README.md has the numbers.
"""

from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 160

experiment = DiffusionReinforcementExperiment(
    base="runs/mmada/unigrpo_base",
    task="draw_solution",
    rollout=DiffusionRolloutConfig(prompts=32, group=8),
    decoding=DecodingConfig(image_steps=8),
    optimizer=OptimizerConfig(
        learning_rate=2e-4,
        warmup_steps=5,
        total_steps=STEPS,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, log_every=5, evaluate_every=40, save_every=40),
    held_out=500,
)
