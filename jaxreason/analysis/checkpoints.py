"""Checkpoints of several kinds, opened alike."""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxreason.analysis.tensors import Checkpoint, StoredTensor
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.weights import safetensors_files
from jaxreason.weights.folders import PICKLES, read_folder

_KINDS = (
    "a run directory (RUN or RUN@STEP), an Orbax checkpoint, a .safetensors file or a folder of "
    "such files"
)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Opens a checkpoint by its headers alone; tensors are read when asked for.

    Args:
        path: a run directory of ours, `RUN@STEP` for another step than the newest (also one
            step's folder), with LoRA's matrices added to their kernels; an Orbax checkpoint, where
            a tree with `params` beside other things counts as its `params`; a safetensors file; a
            folder of safetensors files, sharded by `model.safetensors.index.json`.

    Raises:
        InputError: there is no such path, its kind is not known, or it is pickle-based.
        FailureError: it is damaged, or has no such step.
    """
    folder, step = _split_step(path)
    if not folder.exists():
        raise InputError(f"checkpoint {path} does not exist; expected {_KINDS}")
    if folder.is_file():
        return _open_file(folder, step)
    for opener in (_open_run, _open_orbax, _open_folder):
        checkpoint = opener(folder, step)
        if checkpoint is not None:
            return checkpoint
    if any(file.suffix in PICKLES for file in folder.iterdir()):
        raise _refused(next(file for file in folder.iterdir() if file.suffix in PICKLES))
    raise InputError(f"{folder} holds no checkpoint; expected {_KINDS}")


def _split_step(path: str | Path) -> tuple[Path, int | None]:
    text = str(path)
    if "@" not in text or as_path(text).exists():
        return as_path(text), None
    folder, step = text.rsplit("@", 1)
    if not as_path(folder).exists():
        return as_path(text), None
    if not step.isdecimal():
        raise InputError(f"checkpoint {text!r}: expected a step after the @, got {step!r}")
    return as_path(folder), int(step)


def _refused(path: Path) -> InputError:
    return InputError(
        f"{path} is pickle-based: reading it could run any code, so it is refused; convert it to "
        "safetensors"
    )


def _is_pickle(path: Path) -> bool:
    if path.suffix in PICKLES:
        return True
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            return True
        file.seek(0)
        first = file.read(2)
    return first[:1] == b"\x80" and first[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _no_step(path: Path, step: int | None) -> None:
    if step is not None:
        raise InputError(f"{path} has no steps, so @{step} names nothing; leave it away")


def _checkpoint(
    path: Path,
    kind: str,
    step: int | None,
    leaves: Sequence[Any],
    left_out: Sequence[str] = (),
) -> Checkpoint:
    if not leaves:
        raise FailureError(f"checkpoint {path} holds no tensors")
    tensors = {
        leaf.name: StoredTensor(leaf.name, leaf.shape, leaf.dtype, leaf.read) for leaf in leaves
    }
    return Checkpoint(path, kind, step, tensors, tuple(left_out))


def _open_file(path: Path, step: int | None) -> Checkpoint:
    _no_step(path, step)
    if path.name.endswith(".safetensors.index.json"):
        tensors, unlisted = safetensors_files.read_index(path)
        return _checkpoint(path, "safetensors", None, tensors, unlisted)
    if path.suffix == ".safetensors":
        return _checkpoint(path, "safetensors", None, safetensors_files.read_file(path))
    if _is_pickle(path):
        raise _refused(path)
    raise InputError(f"{path} is no checkpoint of a known kind; expected {_KINDS}")


def _open_run(folder: Path, step: int | None) -> Checkpoint | None:
    from jaxreason.training.merged_tensors import merged_tensors
    from jaxreason.training.stored_params import checked_leaves, is_stored_tree

    if is_stored_tree(folder / "params") and (folder / "training").is_dir():
        _no_step(folder, step)
        name = int(folder.name) if folder.name.isdecimal() else None
        found = _checkpoint(folder, "run", name, checked_leaves(folder))
        return replace(found, tensors=merged_tensors(found.tensors, folder.parent.parent))
    root = folder / "checkpoints"
    if not root.is_dir():
        return None
    steps = _steps(root)
    if not steps or (step is not None and step not in steps):
        asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FailureError(f"{asked} in {root}; steps there: {steps or 'none'}")
    step = steps[-1] if step is None else step
    found = _checkpoint(folder, "run", step, checked_leaves(root / str(step)))
    return replace(found, tensors=merged_tensors(found.tensors, folder))


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def _open_orbax(folder: Path, step: int | None) -> Checkpoint | None:
    from jaxreason.training.stored_params import is_stored_tree, stored_leaves

    if is_stored_tree(folder):
        trees = [folder]
    else:
        trees = sorted(path for path in folder.iterdir() if is_stored_tree(path))
        named = [path for path in trees if path.name == "params"]
        trees = named or trees
    if not trees:
        steps = [number for number in _steps(folder) if _holds_tree(folder / str(number))]
        if not steps:
            return None
        if step is not None and step not in steps:
            raise FailureError(f"no checkpoint of step {step} in {folder}; steps there: {steps}")
        step = steps[-1] if step is None else step
        opened = _open_orbax(folder / str(step), None)
        return None if opened is None else replace(opened, path=folder, step=step)
    _no_step(folder, step)
    if len(trees) > 1:
        raise InputError(
            f"{folder} holds several trees: name one of {', '.join(str(path) for path in trees)}"
        )
    leaves, left_out = stored_leaves(trees[0])
    inside = [leaf for leaf in leaves if leaf.name.startswith("params/")]
    if inside:
        left_out += [leaf.name for leaf in leaves if not leaf.name.startswith("params/")]
        leaves = [replace(leaf, name=leaf.name.removeprefix("params/")) for leaf in inside]
    return _checkpoint(folder, "orbax", None, leaves, left_out)


def _holds_tree(folder: Path) -> bool:
    from jaxreason.training.stored_params import is_stored_tree

    return is_stored_tree(folder) or any(is_stored_tree(path) for path in folder.iterdir())


def _open_folder(folder: Path, step: int | None) -> Checkpoint | None:
    found = read_folder(folder)
    if found is None:
        return None
    _no_step(folder, step)
    published = (folder / "config.json").is_file()
    return replace(_checkpoint(folder, "safetensors", None, *found), published=published)
