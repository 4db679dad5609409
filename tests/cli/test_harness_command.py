"""`jaxreason harness`: what is refused before anything is loaded."""

import sys

import pytest

from jaxreason.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["RUN", "--tasks", "x"], 1, "has no config.json"),
        (["RUN"], 2, "--tasks is missing"),
        (["RUN", "--tasks", "x", "--samples"], 2, "samples go into a file; give its name by --out"),
        (["RUN", "--tasks", "x", "--batch-size", "few"], 2, "expected a whole number, got 'few'"),
        (["RUN", "--tasks", "x", "--task", "y"], 2, "--task"),
    ],
)
def test_arguments_that_cannot_be(arguments, code, said, tmp_path, capsys):
    given = [str(tmp_path) if word == "RUN" else word for word in arguments]
    assert main(["harness", *given]) == code
    assert said in capsys.readouterr().err


def test_the_missing_library_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    monkeypatch.delitem(sys.modules, "jaxreason.evaluation.harness_lm", raising=False)
    assert main(["harness", str(tmp_path), "--tasks", "x"]) == 2
    assert "pip install 'jaxreason[evaluation]'" in capsys.readouterr().err
