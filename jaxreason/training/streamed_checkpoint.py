"""A checkpoint of parameters that never are in memory as a whole, written block by block.

What results is what `Checkpoints` writes: Orbax writes a checkpoint of the same tree with leaves of
one element, its arrays are replaced by those that TensorStore has streamed, and the shapes in its
metadata by theirs. Arrays are stored as Orbax stores them (zarr 3 in an OCDBT database), in chunks
of one layer, uncompressed.
"""

import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from orbax.checkpoint import v1 as ocp

from jaxreason.errors import disk_errors
from jaxreason.training.checkpoint_reading import stored_parts
from jaxreason.training.fingerprint import fingerprint, structure
from jaxreason.training.state import TrainState

_ELEMENTS = 1 << 18  # numbered at once
_DATABASE = ("manifest.ocdbt", "d", "ocdbt.process_0")


@dataclass(frozen=True)
class StreamedLeaf:
    """A leaf and how it comes.

    Attributes:
        keys: its path in the parameters.
        shape: of it.
        dtype: of it.
        chunk: shape of what is stored together; blocks should begin and end where chunks do, or a
            chunk is read again to be completed.
        blocks: gives (index of the first element, array) until all is given.
    """

    keys: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: tuple[int, ...]
    blocks: Callable[[], Iterator[tuple[tuple[int, ...], NDArray]]]

    @property
    def bytes(self) -> int:
        """How much it takes on disk."""
        return math.prod(self.shape) * self.dtype.itemsize


def block_number(array: NDArray, start: Sequence[int], shape: Sequence[int]) -> int:
    """What a block adds to its leaf's number in `fingerprint.fingerprint`, modulo 2^32.

    Args:
        array: the block, of any numeric dtype or bool.
        start: index of its first element in the leaf.
        shape: of the leaf.
    """
    partial = [k for k in range(array.ndim) if array.shape[k] != shape[k]]
    axis = partial[-1] if partial else 0
    strides = [math.prod(shape[k + 1 :]) for k in range(array.ndim)]
    offsets = np.zeros((1,), np.uint64)
    for k in range(axis):
        offsets = np.add.outer(offsets, np.arange(array.shape[k], dtype=np.uint64) * strides[k])
        offsets = offsets.reshape(-1)
    offsets = offsets + sum(at * stride for at, stride in zip(start, strides, strict=True))
    words = np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")
    rows = words.reshape(len(offsets), -1)
    total, stride = 0, max(1, _ELEMENTS // max(1, rows.shape[1]))
    for first in range(0, len(rows), stride):
        some = rows[first : first + stride]
        for column in range(0, rows.shape[1], _ELEMENTS):
            bits = some[:, column : column + _ELEMENTS].astype(np.uint32)
            odd = 2 * np.arange(bits.shape[1], dtype=np.uint32) + 1
            sums = bits.sum(1, dtype=np.uint32)
            twice = (2 * (offsets[first : first + stride] + column)).astype(np.uint32)
            bits *= odd
            total += int((twice * sums).sum(dtype=np.uint32)) + int(bits.sum(dtype=np.uint32))
    return total % 2**32


def write_streamed(
    root: Path, leaves: Sequence[StreamedLeaf], told: Callable[[str, float], None] | None = None
) -> None:
    """Writes `root/0`, a checkpoint of step 0 of a run that has not begun.

    Args:
        root: of the checkpoints of a run, on this machine.
        leaves: of the parameters, in any order.
        told: called with a leaf's name and a part of all bytes, after each block.

    Raises:
        FailureError: the disk is full or refuses, or a source cannot be read.
    """
    root = root.absolute()
    streamed = root / "arrays"
    with disk_errors(str(root)):
        streamed.mkdir(parents=True)
        total = max(1, sum(leaf.bytes for leaf in leaves))

        def written(name: str, count: int) -> None:
            if told is not None:
                told(name, count / total)

        numbers = {leaf.keys: _write_leaf(streamed, leaf, written) for leaf in leaves}
        _write_skeleton(root, leaves, numbers)
        params = root / "0" / "params"
        for name in _DATABASE:
            path = params / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path in streamed.iterdir():
            path.rename(params / path.name)
        streamed.rmdir()
        _write_shapes(params, leaves)


def _write_leaf(folder: Path, leaf: StreamedLeaf, written: Callable[[str, int], None]) -> int:
    import tensorstore

    name = ".".join(leaf.keys)
    base = {"driver": "file", "path": f"{folder}/"}
    inner = [{"name": "bytes", "configuration": {"endian": "little"}}]
    index = [*inner, {"name": "crc32c"}]
    configuration = {"chunk_shape": leaf.chunk, "codecs": inner, "index_codecs": index}
    metadata = {
        "shape": leaf.shape,
        "data_type": str(leaf.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": leaf.chunk}},
        "codecs": [{"name": "sharding_indexed", "configuration": configuration}],
    }
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"},
        "metadata": metadata,
        "store_data_equal_to_fill_value": True,
    }
    array = tensorstore.open(spec, create=True, open=False).result()
    number = 0
    for start, block in leaf.blocks():
        box = tuple(slice(at, at + n) for at, n in zip(start, block.shape, strict=True))
        block = np.ascontiguousarray(block, leaf.dtype)
        array[box].write(block, can_reference_source_data_indefinitely=True).result()
        number += block_number(block, start, leaf.shape)
        written("/".join(leaf.keys), block.nbytes)
        del block  # before the next one is made
    return number % 2**32


def _tree(leaves: Sequence[StreamedLeaf], value: Callable[[StreamedLeaf], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for leaf in leaves:
        node = tree
        for key in leaf.keys[:-1]:
            node = node.setdefault(key, {})
        node[leaf.keys[-1]] = value(leaf)
    return tree


def _write_skeleton(
    root: Path, leaves: Sequence[StreamedLeaf], numbers: dict[tuple[str, ...], int]
) -> None:
    zeros = [jnp.zeros((), jnp.int32) for _ in range(3)]
    tiny = _tree(leaves, lambda leaf: jnp.zeros((1,) * len(leaf.shape), leaf.dtype))
    state = TrainState(zeros[0], tiny, (), jax.random.key(0), zeros[1], zeros[2])
    shapes = _tree(leaves, lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
    described = structure(state._replace(params=shapes))
    known = {"/".join(("params", *keys)): number for keys, number in numbers.items()}
    found = fingerprint(state)
    body = {
        "data": None,
        "structure": described,
        "fingerprint": [
            known.get(name, own) for (name, *_), own in zip(described, found, strict=True)
        ],
    }
    text = json.dumps(body)
    metadata = {"json": text, "crc32": zlib.crc32(text.encode())}
    with ocp.training.Checkpointer(root) as checkpointer:
        checkpointer.save_checkpointables(0, stored_parts(state), custom_metadata=metadata)


def _write_shapes(params: Path, leaves: Sequence[StreamedLeaf]) -> None:
    """The shapes of the streamed arrays in what Orbax has noted of those it wrote."""
    by_name = {leaf.keys: leaf for leaf in leaves}
    path = params / "_METADATA"
    noted = json.loads(path.read_text())
    for entry in noted["tree_metadata"].values():
        leaf = by_name[tuple(item["key"] for item in entry["key_metadata"])]
        entry["value_metadata"]["write_shape"] = list(leaf.shape)
    path.write_text(json.dumps(noted))
    path = params / "array_metadatas" / "process_0"
    arrays = json.loads(path.read_text())
    for item in arrays["array_metadatas"]:
        entry = item["array_metadata"]
        leaf = by_name[tuple(entry["param_name"].split("."))]
        entry |= {"write_shape": list(leaf.shape), "chunk_shape": list(leaf.chunk)}
    path.write_text(json.dumps(arrays))
