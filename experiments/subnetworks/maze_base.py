"""The supervised model that the RL and preference experiments start from.

    jaxreason train experiments/subnetworks/maze_base.py --run runs/subnetworks/base

6x6 mazes by Drunkard's walk, 0.17 M parameters, plans only (no trace), stopped early so that
post-training has room: about a quarter of the held-out mazes are solved greedily. Half a minute on
one CPU core. Open mazes have many valid plans, so that their validity says more than the one plan
A* wrote down; on Wilson's trees, where the path is unique, RL mostly memorised its problems.
"""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 600

experiment = MazeExperiment(
    data=MazeData(
        generator="drunkards_walk", width=6, height=6, count=50_000, regime="solution_only"
    ),
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
    train=TrainConfig(steps=STEPS, log_every=20, evaluate_every=300, save_every=300),
)
