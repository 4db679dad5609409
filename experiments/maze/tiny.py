"""6x6 Wilson mazes on a laptop."""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

experiment = MazeExperiment(
    data=MazeData(generator="wilson", width=6, height=6, count=50_000, regime="correct"),
    batch=BatchConfig(batch_size=5, length=288),
    model=TransformerConfig(
        vocabulary_size=0,
        layers=4,
        width=64,
        heads=4,
        kv_heads=4,
        head_size=16,
        mlp_width=192,
        unroll=4,
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=50, total_steps=1600, b2=0.99),
    train=TrainConfig(steps=1600, evaluate_every=400, save_every=400, log_every=20),
)
