"""Files that are either complete or absent, and the run's config.json."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import is_local

FREE_FIELDS = (
    "train.steps",
    "train.log_every",
    "train.evaluate_every",
    "train.save_every",
    "train.keep_last",
    "train.keep_every",
    "train.max_consecutive_skipped",
    "train.tensorboard",
    "train.step_timeout",
    "mesh",
)
"""Fields of config.json that may differ when a run is resumed; a name covers what is below it."""

RETIRED_FIELDS = ("batch.process_index", "batch.process_count")
"""Fields that only older runs have; they say nothing about the run."""

IMPLIED: dict[str, Any] = {
    "batch.streams": 1,
    "model.qk_norm": False,
    "model.output_bias": False,
    "model.mlp_bias": False,
    "model.rope_scaling": None,
    "model.window": 0,
    "model.window_layers": [],
    "model.lora": None,
    "optimizer.moments_dtype": "float32",
    "lora": None,
    "decoding.remasking": "low_confidence",
    "decoding.ban_eos": False,
    "decoding.defer_eos": False,
}
"""What holds in a run from before there was such a field."""


@contextmanager
def claim(run_directory: Path) -> Iterator[None]:
    """Make the run directory and keep other processes from training in it meanwhile.

    The claim ends with the process, however that ends. In an object store nothing is claimed:
    there are no locks, and two processes in one run directory are not told apart.

    Raises:
        InputError: the path is a file.
        FailureError: another process trains there, or the directory cannot be written.
    """
    if run_directory.exists() and not run_directory.is_dir():
        raise InputError(f"run directory {run_directory} is a file; choose another directory")
    if not is_local(run_directory):
        yield
        return
    with disk_errors(f"run directory {run_directory}"):
        run_directory.mkdir(parents=True, exist_ok=True)
        file = (run_directory / ".lock").open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FailureError(
                f"another process is training in {run_directory}: wait until it ends, or use "
                "another run directory"
            ) from error
        except OSError as error:
            # Some network file systems have no locks; there two processes are not told apart.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one step: readers see the old file or the new one.

    Raises:
        FailureError: the disk is full or refuses to be written.
    """
    if not is_local(path):
        with disk_errors(str(path)):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return
    temporary = path.with_name(path.name + ".tmp")
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def flatten(tree: Any, name: str = "") -> dict[str, Any]:
    """Nested dicts to one dict with dotted names; lists and tuples count as values."""
    if not isinstance(tree, Mapping):
        return {name: tree}
    items: dict[str, Any] = {}
    for key, value in tree.items():
        items |= flatten(value, f"{name}.{key}" if name else str(key))
    return items


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(free + ".") for free in FREE_FIELDS)


def _within(name: str) -> str:
    """A field's name in the config of its own run: post-training keeps its base's as `origin`."""
    while name.startswith("origin."):
        name = name.removeprefix("origin.")
    return name


def settle_config(
    run_directory: Path, config: Mapping[str, Any], *, begun: bool, write: bool = True
) -> None:
    """Write config.json into a new run, or check that a resumed run still has the same one.

    Fields in `FREE_FIELDS` may change; the file is then brought up to date.

    Args:
        run_directory: of the run.
        config: what config.json should hold.
        begun: the run has checkpoints. Without any, a config of the same sections is replaced:
            nothing depends on it, and a mistyped field must not spoil the directory.
        write: False checks only, for processes other than the first.

    Raises:
        InputError: the run was started with another value of a field (all are named), its
            config.json is not JSON, or there are checkpoints without one.
    """
    path = run_directory / "config.json"
    # Compare what JSON makes of it: tuples become lists.
    new = json.loads(json.dumps(config))
    if path.exists():
        try:
            old = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); restore it or start a new run") from (
                error
            )
        after = flatten(new)
        before = {name: IMPLIED[_within(name)] for name in after if _within(name) in IMPLIED}
        before |= {n: v for n, v in flatten(old).items() if _within(n) not in RETIRED_FIELDS}
        missing = object()
        differing = [
            f"{name} ({before.get(name, 'absent')!r} then, {after.get(name, 'absent')!r} now)"
            for name in sorted(before.keys() | after.keys())
            if before.get(name, missing) != after.get(name, missing) and not _is_free(name)
        ]
        of_same_kind = isinstance(old, Mapping) and old.keys() == new.keys()
        if differing and (begun or not of_same_kind):
            raise InputError(
                f"run {run_directory} was started with another config: {', '.join(differing)}; "
                "use the same values or another run directory"
            )
        if old == new:
            return
    elif begun:
        raise InputError(
            f"{run_directory} has checkpoints but no config.json, so they are not known to be of "
            "this run; restore config.json or use another run directory"
        )
    if write:
        write_atomically(path, json.dumps(new, indent=2) + "\n")
