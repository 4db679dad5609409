"""What README shows works as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from jaxreason.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text()
MAZE_COMMANDS = [
    line for line in README.splitlines() if line.startswith(("jaxreason mazes", "jaxreason data"))
]


TRAINING_EXAMPLE, MASK_EXAMPLE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs_and_its_loss_is_that_of_a_fresh_model(capsys):
    code = TRAINING_EXAMPLE
    exec(compile(code, "README.md", "exec"), {})
    losses = [float(line) for line in capsys.readouterr().out.split()]
    assert len(losses) == 3
    assert 3 < losses[0] < 5  # log of 56 words is 4.03
    assert losses[2] < losses[0]


def test_the_mask_example_freezes_what_is_outside_the_mask(capsys):
    exec(compile(MASK_EXAMPLE, "README.md", "exec"), {})
    out = capsys.readouterr().out.split()
    assert 0 < int(out[0]) <= int(out[2]) == 3


def test_the_maze_commands_run_in_order(tmp_path, monkeypatch, capsys):
    assert len(MAZE_COMMANDS) >= 3
    monkeypatch.chdir(tmp_path)
    for line in MAZE_COMMANDS:
        command, _, target = line.partition(" > ")
        words = ["5" if word == "1000" else word for word in shlex.split(command)[1:]]
        assert main(words) == 0, line
        out = capsys.readouterr().out
        if target:
            (tmp_path / target).write_text(out)
    assert (tmp_path / "search.gif").stat().st_size > 1000


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_a_link_leads_to_a_file(path):
    assert (Path(__file__).parents[1] / path).exists()
