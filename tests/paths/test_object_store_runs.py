"""A run in an object store trains, goes on, and is evaluated, reported and compared by its URL."""

import json

import jax
import numpy as np
import pytest

from jaxreason.cli.main import main
from jaxreason.paths import as_path
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.checkpoint_store import COMPLETE
from jaxreason.training.metrics import read_metrics
from jaxreason.training.runs import load_run

FILE = """
from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

experiment = MazeExperiment(
    data=MazeData(width=4, height=4, count=32),
    batch=BatchConfig(batch_size=8, length=160),
    model=TransformerConfig(0, 1, 16, 2, 1, 8, 32),
    optimizer=OptimizerConfig(warmup_steps=2, total_steps=4),
    train=TrainConfig(steps=4, evaluate_every=2, save_every=1, keep_last=2, log_every=1),
    validation_examples=8,
)
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    file = tmp_path_factory.mktemp("experiment") / "tiny.py"
    file.write_text(FILE)
    return str(file)


@pytest.fixture(scope="module")
def local(tmp_path_factory, experiment):
    """The same run in a folder: where it ends is where the others must end."""
    folder = tmp_path_factory.mktemp("local") / "run"
    assert main(["train", experiment, "--run", str(folder)]) == 0
    return folder


def rows_without_time(run):
    return [{**row, "time": 0} for row in read_metrics(as_path(run) / "metrics.jsonl")]


def test_a_run_goes_on_where_it_was_and_is_found_by_its_url(store, local, experiment):
    run = f"{store}/run"
    assert main(["train", experiment, "--run", run, "--train.steps", "2"]) == 0
    assert checkpoint_steps(run) == [1, 2]
    assert main(["train", experiment, "--run", run]) == 0
    assert checkpoint_steps(run) == [3, 4]
    assert rows_without_time(run) == rows_without_time(local)
    assert (as_path(run) / "summary.json").is_file()
    found, expected = load_run(run), load_run(local)
    assert (found.step, found.experiment) == (expected.step, expected.experiment)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


SLOW = [pytest.param(scheme, marks=pytest.mark.slow) for scheme in ("gs", "s3")]


@pytest.mark.parametrize("store", ["memory", *SLOW], indirect=True)
def test_what_is_made_of_a_run_goes_by_urls_too(store, local, tmp_path, monkeypatch, capsys):
    run = f"{store}/run"
    as_path(run).upload(local)
    for step in checkpoint_steps(local):
        (as_path(run) / f"checkpoints/{step}/{COMPLETE}").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", run, "--count", "2", "--temperature", "0", "--name", "two"]) == 0
    assert json.loads((as_path(run) / "evaluation/two.json").read_text())["run"] == "run"
    assert main(["report", run, "--out", f"{store}/report"]) == 0
    assert "</html>" in (as_path(store) / "report/report.html").read_text()
    assert main(["compare", run, str(local), "--report", f"{store}/same"]) == 0
    assert (as_path(store) / "same/compare.html").is_file()
    assert main(["delta", "make", f"{run}@3", run, "--out", f"{store}/step.delta"]) == 0
    assert main(["delta", "apply", f"{run}@3", f"{store}/step.delta", "--out", f"{store}/new"]) == 0
    capsys.readouterr()
    for other in (run, f"{store}/new"):
        assert main(["compare", other, str(local), "--json"]) == 0
        total = json.loads(capsys.readouterr().out)["total"]
        assert total["unchanged"]["exact"] == total["size"] > 2000
    assert not list(tmp_path.iterdir())
