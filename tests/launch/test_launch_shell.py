"""Every script of launch/ is sound shell: parsed by bash, read by shellcheck."""

import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import BASH_SCRIPTS, LAUNCH

# Those beside install.sh need no arguments, and worker.sh is run.sh's.
FOR_PEOPLE = [p for p in BASH_SCRIPTS if p.parent != LAUNCH and p.name != "worker.sh"]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def test_all_the_systems_have_their_scripts():
    folders = {path.parent.name for path in BASH_SCRIPTS}
    assert {"slurm", "tpu_vm", "local", "launch"} <= folders


@pytest.mark.parametrize("script", BASH_SCRIPTS, ids=lambda path: path.name)
def test_bash_parses_it(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", FOR_PEOPLE, ids=lambda path: path.name)
def test_started_with_nothing_it_says_how_and_exits_with_2(script):
    done = subprocess.run(["bash", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: ")


def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(
        [
            SHELLCHECK,
            "--shell=bash",
            "--external-sources",
            "--source-path=SCRIPTDIR",
            *BASH_SCRIPTS,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_shellcheck_would_say_something(tmp_path):
    script = tmp_path / "careless.sh"
    script.write_text("#!/bin/bash\nrm -r $1\n")
    assert subprocess.run([SHELLCHECK, script], capture_output=True).returncode == 1
