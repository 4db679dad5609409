"""Weights in safetensors files: one file, or a folder of shards with an index.

Reading and writing hold one tensor at a time, so that a checkpoint may be larger than memory.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import as_path, is_local, remove_tree
from jaxreason.weights.json_text import read_json
from jaxreason.weights.safetensors_files import read_file, read_index, read_metadata
from jaxreason.weights.safetensors_writing import dtype_code, write_safetensors
from jaxreason.weights.stored_tensor import StoredTensor

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
OTHER_LAYOUT = re.compile(r"(consolidated.*|adapter_model)\.safetensors")
"""Files that hold the same weights under the publisher's own names, or an adapter for them."""


@dataclass(frozen=True)
class StoredWeights(Mapping[str, NDArray]):
    """Arrays by name, each read when it is asked for, a new one each time.

    Attributes:
        path: what was opened.
        tensors: name to tensor.
        metadata: texts of the index, or of the header of the first file.
    """

    path: Path
    tensors: dict[str, StoredTensor] = field(repr=False)
    metadata: Mapping[str, str]

    def __getitem__(self, name: str) -> NDArray:
        """One array.

        Raises:
            FailureError: it cannot be read.
        """
        return self.tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.tensors)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name to shape, known without reading."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def in_memory(arrays: Mapping[str, NDArray]) -> dict[str, StoredTensor]:
    """Arrays that are there already, as `save_weights` takes them."""
    return {
        name: StoredTensor(name, array.shape, array.dtype, lambda array=array: array)  # type: ignore[misc]
        for name, array in arrays.items()
    }


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder without an index; another layout beside them left out."""
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if not OTHER_LAYOUT.fullmatch(file.name)] or files


def read_folder(folder: Path) -> tuple[list[StoredTensor], list[str]] | None:
    """The tensors of a folder of safetensors files, and names its index does not list.

    Without an index all files are read, but for those of `OTHER_LAYOUT` beside others.

    None if there are no such files.

    Raises:
        InputError: it holds several indices.
        FailureError: a file is missing or damaged, or two files hold the same name.
    """
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if len(indices) > 1:
        raise InputError(f"{folder} holds several indices: name one of {[p.name for p in indices]}")
    if indices:
        return read_index(indices[0])
    files = _files(folder)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for tensor in read_file(file):
            if tensor.name in tensors:
                raise FailureError(
                    f"{file} and another file of {folder} hold tensor {tensor.name}; name one file"
                )
            tensors[tensor.name] = tensor
    return (list(tensors.values()), []) if files else None


def open_weights(path: str | Path) -> StoredWeights:
    """Weights by their headers alone.

    Args:
        path: a .safetensors file, an index of shards, or a folder with either.

    Raises:
        InputError: there is no such path, or no safetensors file in it (files that are pickles
            are named, and refused).
        FailureError: a file is missing or damaged, or holds tensors that the index does not list.
    """
    path = as_path(path)
    if not path.exists():
        raise InputError(f"weights {path} do not exist; expected a folder or a .safetensors file")
    unlisted: list[str] = []
    if path.is_dir():
        found = read_folder(path)
        if found is None:
            raise InputError(_nothing_in(path))
        tensors, unlisted = found
        indices = sorted(path.glob("*.safetensors.index.json"))
        source = indices[0] if indices else _files(path)[0]
    elif path.name.endswith(".safetensors.index.json"):
        tensors, unlisted = read_index(path)
        source = path
    elif path.suffix == ".safetensors":
        tensors, source = read_file(path), path
    else:
        raise InputError(f"weights {path} are no .safetensors file and no index of such files")
    if unlisted:
        raise FailureError(f"{path}: its files hold {unlisted[0]}, which the index does not list")
    by_name = {tensor.name: tensor for tensor in tensors}
    return StoredWeights(path, by_name, _metadata(source))


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix == ".safetensors":
        return read_metadata(path)
    texts = read_json(path).get("metadata")  # `read_index` has checked the file
    if not isinstance(texts, dict):
        return {}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _nothing_in(folder: Path) -> str:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    if not pickles:
        return f"weights folder {folder} holds no .safetensors file"
    return (
        f"weights folder {folder} holds {pickles[0]} and no .safetensors file: reading a pickle "
        "could run any code, so it is refused; convert it to safetensors"
    )


def save_weights(
    folder: str | Path,
    tensors: Mapping[str, StoredTensor],
    *,
    shard_bytes: int = SHARD_BYTES,
    metadata: Mapping[str, str] | None = None,
    documents: Mapping[str, str | bytes] | None = None,
    told: Callable[[str, float], None] | None = None,
) -> None:
    """Writes a folder of safetensors files, complete or not at all.

    One file is `model.safetensors`; several are `model-00001-of-00002.safetensors` and so on,
    with `model.safetensors.index.json`.

    Args:
        folder: a new one, or an empty one.
        tensors: name to tensor; each is read when its turn comes.
        shard_bytes: tensors go into one file until the next would not fit.
        metadata: texts for the headers of all files.
        documents: further files, name to content.
        told: called with each tensor's name and its part of all bytes, before it is written.

    Raises:
        InputError: the folder has files, there are no tensors, a dtype the format cannot hold.
        FailureError: the disk is full (checked first) or refuses.
    """
    folder = as_path(folder)
    if shard_bytes < 1:
        raise InputError(f"shard_bytes is {shard_bytes}; expected at least 1")
    if not tensors:
        raise InputError(f"there are no tensors to write to {folder}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"weights folder {folder} exists already; choose a new one")
    sizes = {name: _bytes_of(tensor) for name, tensor in tensors.items()}
    shards = _shards(sizes, shard_bytes)
    texts = {"format": "pt", **(metadata or {})}
    with disk_errors(str(folder)), appearing(folder, sum(sizes.values())) as partial:
        for name, text in (documents or {}).items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(text.encode() if isinstance(text, str) else text)
        names = _file_names(len(shards))
        for name, shard in zip(names, shards, strict=True):
            entries = {key: (tensors[key].dtype, tensors[key].shape) for key in shard}
            arrays = _read_in_turn([tensors[key] for key in shard], sum(sizes.values()), told)
            write_safetensors(partial / name, entries, arrays, texts)
        if len(shards) > 1:
            places = {key: n for n, shard in zip(names, shards, strict=True) for key in shard}
            index = {
                "metadata": {"total_size": sum(sizes.values()), **texts},
                "weight_map": places,
            }
            (partial / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _read_in_turn(
    tensors: Iterable[StoredTensor], total: int, told: Callable[[str, float], None] | None
) -> Iterator[NDArray]:
    for tensor in tensors:
        if told is not None:
            told(tensor.name, _bytes_of(tensor) / max(1, total))
        yield tensor.read()


@contextmanager
def appearing(folder: Path, needed: int) -> Iterator[Path]:
    """Where to write files that appear together, or are all removed after an error.

    In an object store they appear one by one.

    Args:
        folder: that will have them; there is none yet, or an empty one.
        needed: bytes that will be written.

    Raises:
        FailureError: there is no room for them.
    """
    if not is_local(folder):
        try:
            yield folder
        except BaseException:
            remove_tree(folder)
            raise
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted export has left
    partial.mkdir(parents=True)
    try:
        check_space(partial, needed)
        yield partial
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _bytes_of(tensor: StoredTensor) -> int:
    dtype_code(tensor.name, np.dtype(tensor.dtype))
    return tensor.size * np.dtype(tensor.dtype).itemsize


def _shards(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names by file, in order; a tensor larger than `most` has a file of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _file_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin to write what a local disk has no room for.

    Raises:
        FailureError: it has fewer free bytes than `needed`.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FailureError(
            f"the disk is full: {folder} needs {needed:,} bytes and {free:,} are free; nothing "
            "was written"
        )
