"""Safetensors files read tensor by tensor, with every number in their header checked.

The format (github.com/huggingface/safetensors): 8 bytes, the little-endian length of the header;
the header, JSON `{name: {dtype, shape, data_offsets: [begin, end]}}`; the bytes of the tensors,
row-major and without gaps.
"""

import math
from pathlib import Path, PurePath
from typing import Any

import ml_dtypes
import numpy as np

from jaxreason.errors import FailureError
from jaxreason.paths import is_local
from jaxreason.weights.json_text import MOST_BYTES, named, parse_json, read_json, shown
from jaxreason.weights.stored_tensor import StoredTensor

DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "F32": np.dtype(np.float32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
}
_MOST_AXES = 32  # of an array in any NumPy
_MOST_ELEMENTS = 2**62


def _header(path: Path) -> tuple[dict[str, Any], Any, int, int]:
    """The parsed header, its metadata, where the tensors' bytes start, and how many there are."""
    try:
        if not path.is_file():  # a pipe would never end
            raise FailureError(f"{path} is no file; expected a safetensors file")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8:
                raise FailureError(
                    f"{path} is no safetensors file or was cut off: it has {size} bytes"
                )
            if length > min(size - 8, MOST_BYTES):
                raise FailureError(
                    f"{path} is no safetensors file or was cut off: its {size} bytes do not "
                    f"hold the header of {length} bytes it announces"
                )
            text = file.read(length)
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        header = parse_json(text)
    except ValueError as error:  # also what is no UTF-8
        raise FailureError(f"{path} has a damaged header: {error}") from error
    if not isinstance(header, dict):
        raise FailureError(f"{path} has a damaged header: expected an object of tensors")
    metadata = header.pop("__metadata__", {})
    return header, metadata, 8 + length, size - 8 - length


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_shape(value: Any) -> bool:
    """Whether an array can have it, also an empty one."""
    if not isinstance(value, list) or len(value) > _MOST_AXES or not all(map(_is_count, value)):
        return False
    return max(value, default=0) < _MOST_ELEMENTS and (
        math.prod(size for size in value if size) < _MOST_ELEMENTS
    )


def _entry(path: Path, name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """dtype, shape, first byte and last byte (exclusive) of a tensor, each of them checked."""
    try:
        code, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise FailureError(
            f"{path}: tensor {name} has a damaged entry {shown(entry)}; expected dtype, shape and "
            "two data_offsets"
        ) from error
    if not isinstance(code, str) or code not in DTYPES:
        raise FailureError(
            f"{path}: tensor {name} has dtype {shown(code)}; readable are {', '.join(DTYPES)}"
        )
    if not _is_shape(shape) or not _is_count(begin) or not _is_count(end):
        raise FailureError(
            f"{path}: tensor {name} has shape {shown(shape)} and data_offsets {shown(begin)} to "
            f"{shown(end)}, which no array has"
        )
    needed = math.prod(shape) * DTYPES[code].itemsize
    if end - begin != needed:
        raise FailureError(
            f"{path}: tensor {name} of dtype {code} and shape {shape} needs {needed} bytes, but "
            f"its data_offsets are {shown(begin)} to {shown(end)}"
        )
    return DTYPES[code], tuple(shape), begin, end


def _elements(path: Any, dtype: np.dtype, count: int, offset: int) -> np.ndarray:
    """At most `count` numbers from a byte on; of an object in a store only these are fetched."""
    if is_local(path):
        return np.fromfile(path, dtype, count, offset=offset)
    data = bytearray(path.read_range(offset, count * dtype.itemsize) if count else b"")
    return np.frombuffer(data, dtype, len(data) // dtype.itemsize)


def _read(path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> np.ndarray:
    count = math.prod(shape)
    try:
        # Plain reading rather than a memory map: what is read once should not stay mapped.
        flat = _elements(path, dtype, count, offset)
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror or error}") from error
    if flat.size != count:
        raise FailureError(f"{path} was cut off while it was read")
    return flat.reshape(shape)


def _stored(
    path: Path, name: str, dtype: np.dtype, shape: tuple[int, ...], offset: int
) -> StoredTensor:
    def rows(first: int, last: int) -> np.ndarray:
        row = math.prod(shape[1:]) * dtype.itemsize
        return _read(path, dtype, (last - first, *shape[1:]), offset + first * row)

    return StoredTensor(
        name,
        shape,
        dtype,
        lambda: _read(path, dtype, shape, offset),
        rows if shape else None,
    )


def read_file(path: Path) -> list[StoredTensor]:
    """The tensors of one safetensors file.

    Raises:
        FailureError: the file cannot be read, was cut off, or its header contradicts itself;
            names the file, the tensor and what is wrong.
    """
    header, _, start, size = _header(path)
    checked = {name: _entry(path, named(name), entry) for name, entry in header.items()}
    reached = 0
    for name, (_, _, begin, end) in sorted(checked.items(), key=lambda item: item[1][2:]):
        if begin != reached:
            raise FailureError(
                f"{path}: tensor {named(name)} starts at byte {begin}, but the one before ends at "
                f"{reached}"
            )
        reached = end
    if reached != size:
        raise FailureError(
            f"{path}: its tensors need {reached} bytes, but {size} follow the header: it was cut "
            "off or overwritten"
        )
    return [
        _stored(path, name, dtype, shape, start + begin)
        for name, (dtype, shape, begin, _) in checked.items()
    ]


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file; empty if it has none.

    Raises:
        FailureError: the header is damaged.
    """
    _, metadata, _, _ = _header(path)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FailureError(
            f"{path} has damaged metadata {shown(metadata)}; expected names and texts"
        )
    return metadata


def read_index(path: Path) -> tuple[list[StoredTensor], list[str]]:
    """The tensors of a sharded folder, and names its files hold but the index does not list.

    Files are named without a folder, so none outside can be meant; what lies there may be a link
    to somewhere else, as in the cache of the Hugging Face hub.

    Args:
        path: `model.safetensors.index.json`, whose `weight_map` names the file of each tensor.

    Raises:
        FailureError: the index is damaged, a file of it is missing, damaged, or lacks a tensor.
    """
    try:
        places = read_json(path)["weight_map"]
        files = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"{path} cannot be read as an index of tensors: {error}") from error
    found: dict[str, StoredTensor] = {}
    unlisted = []
    for name in files:
        if not isinstance(name, str) or PurePath(name).name != name or name == "..":
            raise FailureError(f"{path} names the file {shown(name)}; expected one beside it")
        if not name.endswith(".safetensors"):
            raise FailureError(
                f"{path} names the file {shown(name)}; expected safetensors files, as others (such "
                "as pickles, which could run any code) are not read: convert them"
            )
        try:
            missing = not (path.parent / name).is_file()
        except OSError as error:  # such as a name that is too long
            raise FailureError(
                f"{path} names the file {shown(name)}, which cannot be read: {error.strerror}"
            ) from error
        if missing:
            raise FailureError(f"{path} names the file {shown(name)}, which is missing")
        for tensor in read_file(path.parent / name):
            if places.get(tensor.name) == name:
                found[tensor.name] = tensor
            elif tensor.name not in places:
                unlisted.append(tensor.name)
    absent = [name for name in places if name not in found]
    if absent:
        name = absent[0]
        raise FailureError(f"{path.parent / places[name]} lacks tensor {named(name)}")
    return list(found.values()), unlisted
