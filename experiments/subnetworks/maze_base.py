"""The supervised model that the RL and preference experiments start from: 6x6 Wilson mazes.

    jaxreason train experiments/subnetworks/maze_base.py --run runs/subnetworks/base

0.17 M parameters, plans only (no trace), stopped early so that post-training has room: about half
of the held-out mazes are solved greedily, a third by sampling. About a minute on one CPU core.
"""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 1_000

experiment = MazeExperiment(
    data=MazeData(generator="wilson", width=6, height=6, count=50_000, regime="solution_only"),
    batch=BatchConfig(batch_size=3, length=288),
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
    train=TrainConfig(steps=STEPS, log_every=20, evaluate_every=500, save_every=500),
)
