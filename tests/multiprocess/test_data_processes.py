"""A run of four processes goes on with two, and learns from the batches of a single one."""

import json

import jax
import numpy as np
import pytest
from harness import run_processes

from jaxreason.training.runs import load_run

TOY = """
from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig

experiment = MazeExperiment(
    data=MazeData(width=4, height=4, count=40),
    batch=BatchConfig(batch_size=8, length=128, window=4),
    model=TransformerConfig(0, 1, 16, 2, 2, 8, 32),
    train=TrainConfig(steps=6, log_every=1),
    validation_examples=8,
)
"""


def train(directory, processes, *changes):
    """Train on four devices, shared out over so many processes."""
    file = directory.parent / "toy.py"
    file.write_text(TOY)
    command = ["train", file, "--run", directory, *changes]
    for done in run_processes(processes, command, devices=4 // processes):
        assert done.returncode == 0, done.stderr


def rows(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").open()]


@pytest.mark.slow  # seven processes start
def test_a_run_of_four_processes_goes_on_with_two(tmp_path):
    parted, whole = tmp_path / "parted", tmp_path / "whole"
    train(parted, 4, "--train.steps", "3", "--train.evaluate_every", "3")
    config = json.loads((parted / "config.json").read_text())
    assert config["batch"]["streams"] == 4
    train(parted, 2, "--train.evaluate_every", "3")
    train(whole, 1, "--batch.streams", "4", "--train.evaluate_every", "3")

    one, other = load_run(parted), load_run(whole)
    assert (one.step, one.experiment) == (6, other.experiment)
    # Sums over processes are taken in another order than over devices.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        one.params,
        other.params,
    )
    for name in ("loss", "accuracy"):
        pairs = [[row[name] for row in rows(run) if name in row] for run in (parted, whole)]
        assert len(pairs[0]) == 6
        np.testing.assert_allclose(*pairs, rtol=1e-5)
    found = [
        [row["evaluation"]["validation_loss"] for row in rows(run) if "evaluation" in row]
        for run in (parted, whole)
    ]
    assert len(found[0]) == 2
    np.testing.assert_allclose(*found, rtol=1e-5)
