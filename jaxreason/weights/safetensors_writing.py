"""Safetensors files written tensor by tensor, complete or not at all."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np

from jaxreason.errors import InputError, disk_errors
from jaxreason.paths import is_local, put_whole
from jaxreason.weights.safetensors_files import DTYPES

_CODES = {dtype: code for code, dtype in DTYPES.items()}


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when everything is written, and else not at all.

    A folder made for it goes again with it.

    Raises:
        FailureError: the disk is full or refuses.
    """
    if not is_local(path):
        with disk_errors(str(path)), put_whole(path) as file:
            yield file
        return
    temporary = path.with_name(path.name + ".tmp")
    fresh = [folder for folder in path.parents if not folder.exists()]
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            with suppress(OSError):  # another process may have put something there
                for folder in fresh:
                    folder.rmdir()
            raise


def dtype_code(name: str, dtype: np.dtype) -> str:
    """What the format calls a dtype.

    Raises:
        InputError: it has no such dtype.
    """
    if dtype not in _CODES:
        raise InputError(f"tensor {name} has dtype {dtype}, which safetensors files cannot hold")
    return _CODES[dtype]


def write_safetensors(
    path: Path,
    entries: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
    arrays: Iterable[np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a .safetensors file, holding one tensor at a time.

    Args:
        path: of the file; an existing one is replaced at the end, in one step.
        entries: name to dtype and shape, in the order of `arrays`.
        arrays: the tensors, made as they are asked for.
        metadata: texts for the header, for example `{"format": "pt"}`.

    Raises:
        InputError: a dtype the format does not have.
        FailureError: the disk is full or refuses.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in entries.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        code = dtype_code(name, dtype)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start aligned, as the reference writes them
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        remaining = iter(arrays)
        for dtype, shape in entries.values():
            array = next(remaining)
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(f"expected {dtype} {shape}, got {array.dtype} {array.shape}")
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            del array  # before the next one is made
