"""The supervised model that RL on Countdown starts from: three numbers, one target.

    jaxreason train experiments/subnetworks/countdown_base.py --run runs/countdown/base

0.17 M parameters trained on canonical solutions, stopped early: about a third of the held-out
problems are solved greedily. Fifteen seconds on one CPU core.
"""

from jaxreason.data import BatchConfig, CountdownData
from jaxreason.models import TransformerConfig
from jaxreason.training.countdown_experiment import CountdownExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 400

experiment = CountdownExperiment(
    data=CountdownData(),
    batch=BatchConfig(batch_size=32, length=18, packing="padded"),
    model=TransformerConfig(
        vocabulary_size=0,
        layers=3,
        width=64,
        heads=4,
        kv_heads=4,
        head_size=16,
        mlp_width=192,
        unroll=3,
    ),
    optimizer=OptimizerConfig(
        method="muon",
        learning_rate=4e-3,
        warmup_steps=50,
        total_steps=STEPS,
        final_fraction=0.02,
        b2=0.99,
    ),
    train=TrainConfig(steps=STEPS, log_every=20, evaluate_every=200, save_every=200),
)
