"""A run of four processes goes on with two, and learns from the batches of a single one."""

import json

import jax
import numpy as np
import pytest
from harness import run_processes

from jaxreason.training.runs import load_run
from jaxreason.training.stored_batches import read_arrays

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
    for done in run_processes(processes, command, devices=4 // processes, timeout=500):
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


PREFERENCE = """
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.preference_experiment import PreferenceExperiment

experiment = PreferenceExperiment(
    method="dpo",
    pairs="off_policy",
    sampling=SamplingConfig(problems=8, samples=2, max_new_tokens=16),
    batch_size=4,
    held_out=4,
    train=TrainConfig(steps=2, log_every=1),
)
"""


@pytest.mark.slow  # three runs of an experiment that samples
def test_preferences_drawn_scored_and_learnt_by_two_processes_are_those_of_one(tmp_path):
    train(tmp_path / "base", 1, "--train.steps", "1")
    file = tmp_path / "preference.py"
    file.write_text(PREFERENCE)
    for processes in (1, 2):
        run = tmp_path / str(processes)
        command = ["train", file, "--base", tmp_path / "base", "--run", run]
        for done in run_processes(processes, command, devices=2 // processes, timeout=500):
            assert done.returncode == 0, done.stderr
    one, other = (read_arrays(tmp_path / name / "data.npz")[0] for name in ("1", "2"))
    assert one.keys() == other.keys() >= {"reference_log_probabilities"}
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=1e-5)
    first, second = (rows(tmp_path / name) for name in ("1", "2"))
    assert len(first) == len(second) == 2
    for left, right in zip(first, second, strict=True):
        del left["time"], right["time"]
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
