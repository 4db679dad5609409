"""6x6 Wilson mazes, a 0.17 M parameter model: the three regimes on two CPU cores.

    launch/quickstart.sh

or one regime at a time:

    jaxreason train experiments/maze/tiny.py --run runs/tiny/swapped --data.regime swapped
    jaxreason evaluate runs/tiny/swapped --count 200
    jaxreason report runs/tiny/swapped

Every regime gets the same number of training tokens. The settings come from about fifteen
single-seed trials on two CPU cores, not from a sweep; README.md beside this file says which, with
the measured numbers.
"""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 5_500

experiment = MazeExperiment(
    data=MazeData(generator="wilson", width=6, height=6, count=50_000, regime="correct"),
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
