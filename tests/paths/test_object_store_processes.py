"""Several processes write one run into a store that all of them reach; one process goes on."""

import subprocess
import sys

import pytest

from jaxreason.cli.main import main
from jaxreason.paths import as_path
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.metrics import read_metrics

FILE = """
from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

experiment = MazeExperiment(
    data=MazeData(width=4, height=4, count=32),
    batch=BatchConfig(batch_size=8, length=160, streams=2),
    model=TransformerConfig(0, 1, 16, 2, 1, 8, 32),
    optimizer=OptimizerConfig(warmup_steps=2, total_steps=4),
    train=TrainConfig(steps=4, save_every=2, log_every=1),
    mesh=MeshConfig(fsdp=2),
)
"""
COMMAND = "import sys; from jaxreason.cli.main import main; sys.exit(main())"


@pytest.mark.slow
@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_two_processes_begin_and_one_goes_on(store, tmp_path):
    file, run = tmp_path / "spread.py", f"{store}/run"
    file.write_text(FILE)
    launch = [sys.executable, "-c", COMMAND, "launch", "--processes", "2", "--restarts", "0", "--"]
    train = ["train", str(file), "--run", run, "--train.steps", "2"]
    done = subprocess.run([*launch, *train], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert checkpoint_steps(run) == [2]
    assert main(["train", str(file), "--run", run, "--mesh.fsdp", "8"]) == 0
    assert checkpoint_steps(run) == [2, 4]
    assert main(["train", str(file), "--run", f"{store}/alone", "--mesh.fsdp", "8"]) == 0
    losses = [
        [row["loss"] for row in read_metrics(as_path(place) / "metrics.jsonl")]
        for place in (run, f"{store}/alone")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["spread.py"]
