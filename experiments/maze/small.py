"""15x15 Wilson mazes, a 14 M parameter model: the three regimes on one accelerator.

    jaxreason train experiments/maze/small.py --run runs/small/swapped --data.regime swapped
    jaxreason evaluate runs/small/swapped --count 500 --max-new-tokens 1024
    jaxreason report runs/small/solution_only runs/small/correct runs/small/swapped

Hardware: one accelerator with bfloat16 (about 1 GiB of its memory). Not measured yet: no number is
published for it.
"""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import preset
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 6_000

experiment = MazeExperiment(
    data=MazeData(generator="wilson", width=15, height=15, count=50_000, regime="correct"),
    batch=BatchConfig(batch_size=16, length=2048),
    model=preset("maze_small", vocabulary_size=0, dtype="bfloat16"),
    optimizer=OptimizerConfig(
        learning_rate=1e-3, warmup_steps=200, total_steps=STEPS, final_fraction=0.02
    ),
    train=TrainConfig(
        steps=STEPS, log_every=20, evaluate_every=500, save_every=500, keep_every=2000
    ),
)
