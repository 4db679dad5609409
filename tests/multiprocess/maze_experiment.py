"""An experiment file for `jaxreason train`: a tiny transformer on packed 4x4 mazes."""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

experiment = MazeExperiment(
    data=MazeData(generator="wilson", width=4, height=4, count=200, regime="correct"),
    batch=BatchConfig(batch_size=8, length=128, streams=4),
    model=TransformerConfig(
        vocabulary_size=0, layers=1, width=32, heads=2, kv_heads=2, head_size=16, mlp_width=64
    ),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2, total_steps=20),
    validation_examples=16,
    train=TrainConfig(steps=8, log_every=1, evaluate_every=4, save_every=4),
)
