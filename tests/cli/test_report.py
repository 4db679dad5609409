"""`jaxreason evaluate` and `jaxreason report` from the outside."""

import json
from dataclasses import replace

import pytest

from jaxreason.cli.main import main
from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment, run_experiment
from jaxreason.training.loop import TrainConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model trained for one step: its completions are noise, its files are real."""
    experiment = MazeExperiment(
        data=MazeData(width=6, height=6, count=8),
        batch=BatchConfig(batch_size=8, length=512),
        model=TransformerConfig(0, 1, 16, 2, 2, 8, 32),
        train=TrainConfig(steps=1, log_every=1),
    )
    experiment = replace(experiment, validation_examples=2)
    directory = tmp_path_factory.mktemp("runs") / "noise"
    run_experiment(experiment, directory, progress=False)
    return directory


ARGUMENTS = ["--count", "3", "--generators", "wilson", "free_space", "--temperature", "0", "1"]
ARGUMENTS += ["--samples", "2", "--max-new-tokens", "12", "--batch-size", "4"]


def test_evaluate_then_report(run, capsys):
    assert main(["evaluate", str(run), *ARGUMENTS, "--name", "first"]) == 0
    assert "Free space" in capsys.readouterr().out
    first = json.loads((run / "evaluation" / "first.json").read_text())
    assert [r["metrics"]["plan_valid"]["n"] for r in first["results"]] == [3, 3, 6, 6]
    assert first["step"] == 1
    assert first["parameters"] > 0
    assert first["environment"]["device"]

    assert main(["evaluate", str(run), *ARGUMENTS, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (run / "evaluation" / "step-1.json").is_file()
    assert again["results"] == first["results"]
    assert [path.suffix for path in (run / "evaluation").iterdir()] == [".json", ".json"]

    assert main(["report", str(run), "--evaluation", "first"]) == 0
    assert "report.html" in capsys.readouterr().out.replace("\n", "")
    assert (run / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["evaluate", "absent"], 1, "absent is not a run directory"),
        (["report", "absent"], 1, "absent is not a run directory"),
        (["report"], 2, "no run given"),
        (["evaluate", "RUN", "--generators", "prim"], 2, "generators has 'prim'"),
        (["evaluate", "RUN", "--generators", "all", "dfs"], 2, "'all' stands alone"),
        (["evaluate", "RUN", "--count", "0"], 2, "count is 0"),
        (["evaluate", "RUN", "--name", "a/b"], 2, "name is 'a/b'"),
        (["evaluate", "RUN", "--colour", "red"], 2, "--colour"),
        (["evaluate", "RUN", "--checkpoint", "77"], 1, "77"),
        (["report", "RUN", "--evaluation", "none"], 2, "evaluation 'none' is not in"),
    ],
)
def test_bad_input_is_one_sentence(run, capsys, arguments, code, words):
    arguments = [str(run) if word == "RUN" else word for word in arguments]
    assert main(arguments) == code
    error = capsys.readouterr().err.strip()
    assert words in error
    assert len(error.splitlines()) == 1
