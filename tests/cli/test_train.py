"""`jaxreason train`: what a person meets who mistypes something."""

from pathlib import Path

import pytest

from jaxreason.cli.main import main

FILE = str(Path(__file__).parents[2] / "experiments/maze/tiny.py")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.py"], "absent.py does not exist"),
        (["--run", "x"], "expected an experiment file"),
        ([FILE, "--run"], "--run needs a value"),
        ([FILE, "--data.count", "0"], "count is 0"),
        ([FILE, "--data.regime", "swaped"], "swaped"),
        ([FILE, "--data.generator", "prim"], "prim"),
        ([FILE, "--train.steps", "-1"], "steps is -1"),
        ([FILE, "--model.heads", "3"], "model.kv_heads"),
        ([FILE, "--batch.packing", "tight"], "tight"),
        ([FILE, "--mesh.tensor", "3"], "mesh"),
        ([FILE, "--batch.batch-size", "8", "--batch.length", "20"], "tokens but length is 20"),
        ([FILE, "--train.stepz", "3"], "--train.stepz"),
        ([FILE, "--train.steps", "many"], "many"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message, capsys, tmp_path):
    if FILE in arguments and "--run" not in arguments:
        arguments = [*arguments, "--run", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_a_run_directory_of_another_experiment_is_refused(capsys, tmp_path):
    (tmp_path / "config.json").write_text('{"data": {"seed": 1}}')
    assert main(["train", FILE, "--run", str(tmp_path), "--batch.batch-size", "8"]) == 2
    assert "was started with another config" in capsys.readouterr().err


def test_a_cache_that_cannot_be_made_is_a_failure_with_its_remedy(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert main(["train", FILE, "--run", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "JAX_COMPILATION_CACHE_DIR" in error
    assert error.count("\n") == 1
