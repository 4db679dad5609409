"""Commands that work in one process say so when they are started as several."""

import json

import pytest

from jaxreason.cli.main import main

TWO = {
    "JAXREASON_COORDINATOR": "127.0.0.1:1234",
    "JAXREASON_PROCESSES": "2",
    "JAXREASON_PROCESS": "1",
}


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_several_processes_are_refused_before_anything_is_loaded(
    tmp_path, monkeypatch, capsys, command
):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "nothing"}))
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    assert main([command, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"`jaxreason {command}` works in one process, and this is one of 2" in said
    assert "JAXREASON_PROCESSES=1" in said

    # One process goes on, to find what else is wrong.
    for name in TWO:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAXREASON_PROCESSES", "1")
    assert main([command, str(tmp_path)]) != 0
    assert "works in one process" not in capsys.readouterr().err
