"""What users name becomes a local path or an object, and never a folder called `gs:`."""

import ast
import os
import pathlib
from pathlib import Path

import numpy as np
import pytest

import jaxreason
from jaxreason import object_store
from jaxreason.cli.main import SUBCOMMANDS, main
from jaxreason.errors import FailureError, InputError
from jaxreason.object_store import ObjectPath
from jaxreason.paths import as_path, is_local, local_copy, local_path, put_whole


@pytest.mark.parametrize("name", ["runs/a", "/somewhere/b", "c:d", "x@3", "a//b", Path("d")])
def test_local_names_stay_what_pathlib_makes_of_them(name):
    assert as_path(name) == Path(name)
    assert is_local(as_path(name))


def test_a_url_keeps_its_slashes():
    path = as_path("memory://bucket/runs//a/")
    assert str(path) == "memory://bucket/runs/a"
    assert as_path(path) is path
    assert str(path / "config.json") == "memory://bucket/runs/a/config.json"
    assert (path.name, str(path.parent), path.parts[0]) == (
        "a",
        "memory://bucket/runs",
        "memory://",
    )
    assert path.resolve() == path.absolute() == path
    assert str(as_path("file:///tmp/x")) == "/tmp/x"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http://host/run", r"http:// URL; expected gs://, s3://, memory:// or a local path"),
        ("memory://", "names no bucket; expected memory://BUCKET/NAME"),
        (Path("gs://bucket/run"), "'gs:/bucket/run' is a URL that has lost a slash"),
        ("s3:/bucket/run", "has lost a slash: give it as text"),
    ],
)
def test_what_cannot_be_meant_is_said(name, message):
    with pytest.raises(InputError, match=message):
        as_path(name)


@pytest.mark.parametrize(
    ("scheme", "package", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")]
)
def test_a_missing_package_is_one_sentence_with_the_remedy(monkeypatch, scheme, package, extra):
    object_store.file_system.cache_clear()
    monkeypatch.setattr(object_store.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"{package}: pip install 'jaxreason\[{extra}\]'"):
        as_path(f"{scheme}://bucket/run")


def test_what_needs_a_local_file_gets_no_name_that_looks_like_a_url():
    path = as_path("memory://bucket/run")
    with pytest.raises(TypeError):
        os.fspath(path)
    with pytest.raises(TypeError):
        pathlib.Path(path)
    with pytest.raises(InputError, match="experiment file memory://bucket/run is a URL"):
        local_path(path, "experiment file")


ALLOWED = {
    "paths.py": 4,  # as_path itself, and temporary folders
    "evaluation/environment.py": 2,  # the program's name, /proc/cpuinfo
    "evaluation/report_folder.py": 1,  # a temporary folder
    "training/metrics.py": 1,  # /dev/null
    "training/checkpoint_store.py": 3,  # temporary folders
    "training/stored_params.py": 1,  # a temporary folder
    "training/converting.py": 1,  # a temporary folder
    "training/cache.py": 1,  # after a test for "://"
    "mazes/kernels/compilation.py": 2,  # numba's cache
    "masks/storage.py": 1,  # a temporary file
    "masks/coupling.py": 1,  # where JAX lies
    "data/prepared.py": 1,  # what TFDS has made of a local path
    "data/multimodal/records.py": 1,  # the working directory
    "data/language/parquet_rows.py": 1,  # a temporary folder
    "data/language/pictures.py": 1,  # a checked name in the working directory
    "rewards/math_judge.py": 1,  # the program beside it
    "tokens/template_process.py": 1,  # the program beside it
}
"""Calls of `Path(...)`; whatever a user names goes through `as_path` or `local_path`."""


def test_names_of_users_do_not_go_through_pathlib():
    root = Path(jaxreason.__file__).parent
    found = {}
    for file in root.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if _makes_path(node)]
        if calls:
            found[file.relative_to(root).as_posix()] = len(calls)
    assert {name: count for name, count in found.items() if count > ALLOWED.get(name, 0)} == {}


def _makes_path(node):
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Path"


NOWHERE = "memory://nothing/here"
COMMANDS = {
    "train": [NOWHERE],
    "evaluate": [NOWHERE],
    "report": [NOWHERE],
    "compare": [NOWHERE, NOWHERE],
    "overlap": [NOWHERE, NOWHERE, NOWHERE],
    "delta": ["make", NOWHERE, NOWHERE, "--out", NOWHERE],
    "benchmark": [NOWHERE, "--benchmark", "mmlu", "--data", NOWHERE, "--examples", NOWHERE],
    "answer": [
        *(NOWHERE, "--benchmark", "pope", "--data", NOWHERE, "--images", NOWHERE),
        *("--image-tokenizer", NOWHERE, "--out", NOWHERE),
    ],
    "score": ["pope", "--predictions", NOWHERE, "--data", NOWHERE],
    "sample": [NOWHERE],
    "convert": [NOWHERE, NOWHERE],
    "data": ["prepare", "--directory", NOWHERE],
    "mazes": ["validate", NOWHERE],
    "harness": [NOWHERE, "--tasks", "gsm8k"],
    "study": [NOWHERE],
    "preflight": [NOWHERE],
    "launch": None,  # names no path; what it starts is `train`
}


def test_every_command_is_walked():
    assert set(COMMANDS) == set(SUBCOMMANDS)


@pytest.mark.parametrize("command", sorted(name for name in COMMANDS if COMMANDS[name]))
def test_a_command_takes_a_url_as_it_is(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, *COMMANDS[command]]) in (1, 2)
    assert NOWHERE in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_object_is_used_like_a_file(store, tmp_path):
    run = as_path(f"{store}/run")
    assert not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    (run / "a.json").write_text("ä")
    (run / "sub/b.bin").write_bytes(b"12345")
    assert (run.is_dir(), run.is_file(), run.exists()) == (True, False, True)
    assert ((run / "a.json").is_file(), (run / "a.json").is_dir()) == (True, False)
    assert list(run.iterdir()) == [run / "a.json", run / "sub"]
    assert list(run.glob("*.json")) == [run / "a.json"]
    assert list(run.glob("*/*.bin")) == [run / "sub/b.bin"]
    assert (run / "a.json").read_text() == "ä"
    assert (run / "sub/b.bin").read_range(3, 10) == b"45"
    assert (run / "sub/b.bin").stat().st_size == 5
    (run / "a.json").write_text("new")
    assert (run / "a.json").read_text() == "new"
    (run / "sub").rename(run / "moved/1")
    assert (run / "moved/1/b.bin").read_bytes() == b"12345"
    assert not (run / "sub").exists()
    run.download(tmp_path)
    assert (tmp_path / "moved/1/b.bin").read_bytes() == b"12345"
    (as_path(store) / "copy").upload(tmp_path)
    assert (as_path(store) / "copy/a.json").read_text() == "new"
    (run / "moved/1/b.bin").unlink()
    (run / "moved/1/b.bin").unlink(missing_ok=True)
    run.remove_tree()
    assert not run.exists()


def test_what_is_not_there_is_a_missing_file(store):
    nothing = as_path(store) / "nothing"
    for use in (nothing.read_bytes, nothing.stat, lambda: list(nothing.iterdir())):
        with pytest.raises(FileNotFoundError, match="nothing"):
            use()


def test_an_object_is_put_whole_or_not_at_all(store):
    path = as_path(f"{store}/numbers.npz")
    with pytest.raises(TypeError), put_whole(path) as file:
        file.writelines([b"half", None])
    assert not path.exists()
    with put_whole(path) as file:
        np.savez(file, numbers=np.arange(5))
    with path.open("rb") as source, np.load(source) as arrays:
        np.testing.assert_array_equal(arrays["numbers"], np.arange(5))
    with local_copy(path) as copy, np.load(copy) as arrays:
        assert arrays["numbers"].size == 5


def test_a_store_that_refuses_is_a_failure(monkeypatch):
    class Refusing:
        def isfile(self, url):
            raise RuntimeError("no credentials\nand a long story")

    monkeypatch.setattr(object_store, "file_system", lambda scheme: Refusing())
    with pytest.raises(FailureError, match="gs://b/r cannot be used: RuntimeError: no credentials"):
        ObjectPath("gs", "b/r").is_file()
