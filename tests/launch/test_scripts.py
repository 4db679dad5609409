"""The scripts in launch/, with stand-ins for what they install and run."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

JAXREASON = """#!/usr/bin/env bash
trap 'echo "stopped $1"; exit 42' TERM
echo "$*"
case "$*" in
  train*fail*correct) exit 7 ;;
  train*slow*) for i in {1..200}; do sleep 0.05; done ;;
esac
"""

PYTHON = """#!/usr/bin/env bash
echo "$*" >> installed.txt
"""


@pytest.fixture
def project(tmp_path):
    """A checkout in a folder with a space, whose virtual environment holds stand-ins."""
    root = tmp_path / "a project"
    shutil.copytree(ROOT / "launch", root / "launch")
    shutil.copy(ROOT / "pyproject.toml", root)
    for name, text in (("jaxreason", JAXREASON), ("python", PYTHON)):
        path = root / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return root


def start(project, script, *arguments):
    return subprocess.Popen(
        [str(project / "launch" / script), *arguments],
        cwd=project.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Tests started in the background ignore SIGINT, and a shell cannot trap what it was
        # started to ignore; a person's terminal does not do that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_quickstart_trains_evaluates_and_reports_where_the_caller_stands(project):
    process = start(project, "quickstart.sh", "my runs")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    folder = project.parent / "my runs"
    for regime in ("solution_only", "correct", "swapped"):
        train = f"train experiments/maze/tiny.py --run {folder}/{regime} --data.regime {regime}"
        assert f"{regime:13} | {train}" in output
        assert f"{regime:13} | evaluate {folder}/{regime} " in output
    assert f"report {folder}/solution_only {folder}/correct {folder}/swapped --out" in output


def test_a_regime_that_fails_fails_the_script_with_its_code(project):
    process = start(project, "quickstart.sh", "fail")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "evaluate" not in output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_the_script_lets_every_training_save(project, number, code):
    process = start(project, "quickstart.sh", "slow")
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert output.count("stopped train") == 3


def test_installed_once_for_every_set_of_extras(project):
    for script in ("quickstart.sh", "quickstart.sh", "test.sh", "quickstart.sh", "test.sh"):
        assert start(project, script).wait(timeout=60) == 0
    lines = (project / "installed.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines if "install" in line] == [".", ".[dev]"]
    (project / "launch" / "constraints.txt").write_text("numpy==2.0\n")
    assert start(project, "test.sh").wait(timeout=60) == 0
    lines = (project / "installed.txt").read_text().splitlines()
    assert sum("install" in line for line in lines) == 3
