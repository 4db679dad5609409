"""Orbax checkpoints read tensor by tensor, without knowing the model they belong to.

Orbax keeps every leaf of a tree as a zarr array, alone in a folder or together in one OCDBT
database; `_METADATA` beside them names the leaves. Reading a leaf through TensorStore takes the
memory of that leaf alone, and neither Orbax nor JAX.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from jaxreason.errors import FailureError
from jaxreason.paths import as_path, is_local
from jaxreason.training.checkpoint_store import copied

_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredLeaf:
    """A leaf of a stored tree.

    Attributes:
        name: its keys joined by "/".
        shape: of the array.
        dtype: of the array; bfloat16 and the float8 kinds as ml_dtypes has them.
        read: gives the array; raises FailureError when it is damaged.
        read_rows: gives rows [first, last) of axis 0, unchecked.
        chunk: shape of what is stored, and so read, together.
        number: what `leaf_number` of the array must be; None where nothing was noted.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    read_rows: Callable[[int, int], np.ndarray]
    chunk: tuple[int, ...] = ()
    number: int | None = None


def is_stored_tree(folder: Path) -> bool:
    """Whether the folder holds one tree that Orbax wrote."""
    return (folder / "_METADATA").is_file()


def leaf_number(array: np.ndarray) -> int:
    """The number that `fingerprint.fingerprint` gives this array, computed on the host.

    Args:
        array: of any numeric dtype or bool.
    """
    size = array.dtype.itemsize
    words = np.ascontiguousarray(array).reshape(-1).view(f"u{size}")
    total = 0
    for start in range(0, words.size, _CHUNK):
        bits = words[start : start + _CHUNK].astype(np.uint32)
        position = np.arange(start, start + bits.size, dtype=np.uint64).astype(np.uint32)
        total += int(np.sum(bits * (2 * position + 1), dtype=np.uint32))
    return total % 2**32


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FailureError(f"{path} cannot be read: {error}") from error


def _damaged(folder: Path, name: str, error: Exception) -> FailureError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return FailureError(f"tensor {name} in {folder} cannot be read: {reason}")


def _open(folder: Any, keys: Sequence[str], layout: dict[str, Any]) -> Any:
    import tensorstore

    path = ".".join(keys)
    store: dict[str, Any] = {"driver": "file", "path": f"{folder}/"}
    if not is_local(folder):
        bucket, *below = folder.key.parts
        store = {"driver": "gcs", "bucket": bucket, "path": "/".join([*below, ""])}
    if layout.get("use_ocdbt", False):
        store = {"driver": "ocdbt", "base": store, "path": f"{path}/"}
    else:
        store["path"] += f"{path}/"
    driver = "zarr3" if layout.get("use_zarr3", False) else "zarr"
    # What has been read of a checkpoint holds: it does not change, and asking again takes time.
    once: dict[str, Any] = {"recheck_cached_data": "open", "recheck_cached_metadata": "open"}
    spec = {"driver": driver, "kvstore": store, **once}
    return tensorstore.open(spec, open=True, read=True).result()


def _streamed(folder: Path) -> tuple[Path, Any]:
    """The folder as TensorStore reads it, and what must live as long: a temporary copy, if any.

    Local folders and gs:// are read in place, other object stores through a copy in $TMPDIR.
    """
    if is_local(folder) or cast(Any, folder).scheme == "gs":
        return folder, None
    copy = copied(folder)
    return Path(copy.name), copy


def _leaf(folder: Path, keys: Sequence[str], layout: dict[str, Any], kept: Any) -> StoredLeaf:
    name = "/".join(keys)
    try:
        array = _open(folder, keys, layout)
    except Exception as error:  # damaged bytes make TensorStore fail in many ways
        raise _damaged(folder, name, error) from error

    held = array, kept  # a copy stays until its last leaf is let go

    def read(first: int | None = None, last: int | None = None) -> np.ndarray:
        opened, _ = held
        try:
            some = opened if first is None else opened[first:last].translate_to[0]
            return np.asarray(some.read().result())
        except Exception as error:
            raise _damaged(folder, name, error) from error

    chunk = tuple(array.chunk_layout.read_chunk.shape or ())
    dtype = np.dtype(array.dtype.numpy_dtype)
    return StoredLeaf(name, tuple(array.shape), dtype, read, read, chunk)


def stored_leaves(folder: str | Path) -> tuple[list[StoredLeaf], list[str]]:
    """The arrays of a tree that Orbax wrote, and the names of leaves that are no arrays.

    Args:
        folder: with `_METADATA`; written by the v0 or the v1 interface, any layout.

    Raises:
        FailureError: its metadata or an array's header cannot be read.
    """
    folder, kept = _streamed(as_path(folder).absolute())
    layout = _json(folder / "_METADATA")
    leaves, others = [], []
    try:
        for entry in layout["tree_metadata"].values():
            keys = [str(item["key"]) for item in entry["key_metadata"]]
            value = entry["value_metadata"]
            if value["value_type"] in _ARRAYS and not value.get("skip_deserialize", False):
                leaves.append(_leaf(folder, keys, layout, kept))
            else:
                others.append("/".join(keys))
    except (KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"{folder / '_METADATA'} is damaged: no {error}") from error
    return leaves, others


def checked_leaves(checkpoint: str | Path) -> list[StoredLeaf]:
    """The parameters in `RUN/checkpoints/STEP`; reading checks that they are what was saved.

    Args:
        checkpoint: the folder of one step.

    Raises:
        FailureError: metadata or headers cannot be read, or are not those that were saved.
    """
    checkpoint = as_path(checkpoint)
    leaves, _ = stored_leaves(checkpoint / "params")
    path = checkpoint / "_CHECKPOINT_METADATA"
    metadata = _json(path)
    try:
        saved = metadata["custom_metadata"]
        if zlib.crc32(saved["json"].encode()) != int(saved["crc32"]):
            raise FailureError(f"{path} does not have its checksum: choose another checkpoint")
        extra = json.loads(saved["json"])
        numbers = {
            name.removeprefix("params/"): number
            for (name, *_), number in zip(extra["structure"], extra["fingerprint"], strict=True)
            if name.startswith("params/")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(f"{path} is damaged: {error}") from error
    differing = numbers.keys() ^ {leaf.name for leaf in leaves}
    if differing:
        raise FailureError(
            f"checkpoint {checkpoint} is damaged: {min(differing)} is not both saved and listed"
        )
    return [_checked(checkpoint, leaf, numbers[leaf.name]) for leaf in leaves]


def _checked(checkpoint: Path, leaf: StoredLeaf, number: int) -> StoredLeaf:
    def read() -> np.ndarray:
        array = leaf.read()
        if leaf_number(array) != number:
            raise FailureError(
                f"tensor {leaf.name} of checkpoint {checkpoint} does not hold the values that "
                "were saved: choose another checkpoint"
            )
        return array

    return replace(leaf, read=read, number=number)
