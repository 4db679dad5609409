"""The images: what hadolint says, and what their Dockerfiles promise."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from stand_ins import LAUNCH, ROOT

DOCKERFILES = sorted((LAUNCH / "docker").glob("*.Dockerfile"))
HADOLINT = Path(sys.executable).parent / "hadolint"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

each_image = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.stem)


def instructions(file):
    """(instruction, arguments) of a Dockerfile, lines joined, comments left out."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line]


def of_kind(file, kind):
    return [arguments for found, arguments in instructions(file) if found == kind]


def test_there_is_one_for_every_family():
    assert [file.stem for file in DOCKERFILES] == ["cpu", "cuda", "tpu"]


@each_image
def test_hadolint_has_nothing_to_say(file):
    done = subprocess.run([HADOLINT, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hadolint_would_say_something(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN pip install jax\n")
    assert subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True).returncode == 1


@each_image
def test_its_base_is_one_version_that_the_project_runs_on(file):
    (base,) = of_kind(file, "FROM")
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", base)


@each_image
def test_it_runs_the_command_as_somebody_with_few_rights(file):
    kinds = [kind for kind, _ in instructions(file)]
    assert kinds[-2:] == ["USER", "ENTRYPOINT"]
    assert of_kind(file, "USER") == ["1000"]
    assert any("useradd" in run and "--uid 1000" in run for run in of_kind(file, "RUN"))
    (command,) = of_kind(file, "ENTRYPOINT")
    assert command == '["jaxreason"]'
    assert "jaxreason" in PROJECT["scripts"]


@each_image
def test_what_it_copies_is_there_and_not_ignored(file):
    rules = (ROOT / ".dockerignore").read_text().split()
    for arguments in of_kind(file, "COPY"):
        *sources, _ = arguments.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            decided = [rule for rule in rules if fnmatch.fnmatch(source, rule.lstrip("!"))]
            assert decided[-1].startswith("!"), source
    copied = " ".join(of_kind(file, "COPY"))
    assert "experiments" in copied  # files to train without mounting anything


@each_image
def test_versions_are_those_tested_and_bytecode_is_compiled(file):
    (install,) = [run for run in of_kind(file, "RUN") if "pip install" in run]
    assert "--constraint launch/constraints.txt" in install
    assert "--compile" in install
    extras = re.search(r'"\.\[(.*)\]"', install).group(1)
    for cuda in ("12", "13"):
        chosen = set(extras.replace("${CUDA}", cuda).split(","))
        assert chosen <= set(PROJECT["optional-dependencies"])
        assert {"cpu": set(), "cuda": {f"cuda{cuda}", "k8s"}, "tpu": {"tpu"}}[file.stem] <= chosen
    assert "gcs" in extras.split(",")  # run directories in a bucket


def test_the_cuda_version_is_a_build_argument():
    assert of_kind(LAUNCH / "docker" / "cuda.Dockerfile", "ARG") == ["CUDA=12"]
