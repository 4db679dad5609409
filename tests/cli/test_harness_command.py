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
        (["RUN", "--tasks", "x", "--limit", "-1"], 2, "limit is -1; expected a number of examples"),
        (["RUN", "--tasks", "x", "--limit", "0"], 2, "limit is 0; expected a number of examples"),
        (["RUN", "--tasks", "x", "--limit", "2.5"], 2, "limit is 2.5; expected a number"),
        (["RUN", "--tasks", "x", "--limit", "inf"], 2, "limit is inf; expected a number"),
        (["RUN", "--tasks", "x", "--limit", "nan"], 2, "limit is nan; expected a number"),
        (["RUN", "--tasks", "x", "--limit", "0.5"], 1, "has no config.json"),
        (["RUN", "--tasks", "x", "--num-fewshot", "-2"], 2, "num_fewshot is -2; expected at least"),
        (["RUN", "--tasks", "x", "--batch-size", "0"], 2, "batch_size is 0; expected at least 1"),
        (["RUN", "--tasks", "x", "--checkpoint", "-1"], 2, "checkpoint is -1; expected at least 0"),
        (["RUN", "--tasks", "x", "--bootstrap", "-1"], 2, "bootstrap is -1; expected at least 0"),
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
