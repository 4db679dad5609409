"""A maze run small enough to start RL from in a test."""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment, run_experiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

BASE = MazeExperiment(
    data=MazeData(width=4, height=4, count=64, regime="solution_only"),
    batch=BatchConfig(batch_size=8, length=96),
    model=TransformerConfig(0, 1, 16, 2, 1, 8, 32),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, total_steps=20, b2=0.9),
    train=TrainConfig(steps=20, log_every=10),
)


def make_base(directory):
    """Train the base; returns its run directory as text."""
    run_experiment(BASE, directory, progress=False)
    return str(directory)
