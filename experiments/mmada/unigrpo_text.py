r"""UniGRPO on words: the plan of a described maze; minutes on two CPU cores.

    jaxreason train experiments/mmada/unigrpo_base.py --run runs/mmada/unigrpo_base
    jaxreason train experiments/mmada/unigrpo_text.py --run runs/mmada/unigrpo_text

An answer earns 2 if its plan is valid and 0.5 if its form is right, the paper's weights. Other
algorithms by name, other choices by field:

    jaxreason train experiments/mmada/unigrpo_text.py --run runs/mmada/espo --method espo
    jaxreason train experiments/mmada/unigrpo_text.py --run runs/mmada/random \
        --overrides timestep_rule random updates 2

README.md has the numbers.
"""

from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 60

experiment = DiffusionReinforcementExperiment(
    base="runs/mmada/unigrpo_base",
    task="plan",
    rollout=DiffusionRolloutConfig(prompts=16, group=8),
    decoding=DecodingConfig(temperature=1.0, block=4),
    optimizer=OptimizerConfig(
        learning_rate=2e-4,
        warmup_steps=5,
        total_steps=STEPS,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, log_every=5, evaluate_every=20, save_every=30),
    held_out=500,
)
