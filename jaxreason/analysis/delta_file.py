"""The file of a sparse difference: packed blocks, then an index, then a trailer.

    magic (8 bytes) | packed blocks, one after the other | index (JSON)
    | trailer: length of the index (8 bytes), CRC-32 of the index (4), CRC-32 of those 12 bytes (4)

The index lists the tensors in order: name, dtype, shape, SHA-256 of the tensor's bytes before and
after, and of each block its length and CRC-32. The blocks fill the file without gaps, so that no
byte can change unnoticed.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.analysis.delta_blocks import BLOCK
from jaxreason.errors import FailureError, InputError
from jaxreason.weights.safetensors_files import DTYPES

MAGIC = b"JXDELTA\x01"
_TRAILER = struct.Struct("<QI")
_TAIL = _TRAILER.size + 4


@dataclass(frozen=True)
class TensorDelta:
    """One tensor of the index.

    Attributes:
        name: of the tensor.
        dtype: as safetensors files call it, e.g. "BF16".
        shape: of the tensor.
        before: SHA-256 of its bytes in the base, hexadecimal.
        after: likewise in the new checkpoint.
        changed: number of entries whose bits differ.
        blocks: (length, CRC-32) of each packed block, in order; length 0 if nothing changed in it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    before: str
    after: str
    changed: int
    blocks: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def numpy_dtype(self) -> np.dtype:
        """The dtype of the array."""
        return DTYPES[self.dtype]


@dataclass(frozen=True)
class DeltaIndex:
    """What a difference holds, without the blocks.

    Attributes:
        tensors: in the order of the file.
        read_dtype: what both checkpoints were cast to before they were compared, or None.
    """

    tensors: tuple[TensorDelta, ...]
    read_dtype: str | None

    def trailer(self) -> bytes:
        """Index and trailer, as they end the file."""
        body = {"read_dtype": self.read_dtype, "tensors": [asdict(item) for item in self.tensors]}
        text = json.dumps(body, separators=(",", ":")).encode()
        tail = _TRAILER.pack(len(text), zlib.crc32(text))
        return text + tail + struct.pack("<I", zlib.crc32(tail))


def _damaged(path: Path, what: str) -> FailureError:
    return FailureError(f"{path} is damaged ({what}); make or copy the difference again")


def read_delta(path: Path) -> DeltaIndex:
    """The index of a difference, after every byte of the file has been checked.

    Raises:
        InputError: there is no such file, or it is no difference.
        FailureError: it cannot be read, or is damaged.
    """
    if not path.exists():
        raise InputError(
            f"difference {path} does not exist; expected a file written by `jaxreason delta make`"
        )
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise InputError(
                    f"{path} does not begin as a difference does; expected a file written by "
                    "`jaxreason delta make`"
                )
            size = path.stat().st_size
            if size < len(MAGIC) + _TAIL:
                raise _damaged(path, "cut off")
            file.seek(size - _TAIL)
            tail = file.read(_TAIL)
            length, checksum = _TRAILER.unpack(tail[:-4])
            start = size - _TAIL - length
            if struct.unpack("<I", tail[-4:])[0] != zlib.crc32(tail[:-4]) or start < len(MAGIC):
                raise _damaged(path, "its trailer has another checksum, or it was cut off")
            file.seek(start)
            text = file.read(length)
            if zlib.crc32(text) != checksum:
                raise _damaged(path, "its index has another checksum")
            index = _parse(path, text)
            file.seek(len(MAGIC))
            for item in index.tensors:
                for number, (length, checksum) in enumerate(item.blocks):
                    if zlib.crc32(file.read(length)) != checksum:
                        raise _damaged(path, f"tensor {item.name}, block {number}")
            if file.tell() != start:
                raise _damaged(path, f"{start - file.tell()} bytes belong to no tensor")
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror or error}") from error
    return index


def _parse(path: Path, text: bytes) -> DeltaIndex:
    try:
        body = json.loads(text)
        index = DeltaIndex(tuple(map(_tensor, body["tensors"])), body["read_dtype"])
        for item in index.tensors:
            fitting = item.dtype in DTYPES and len(item.blocks) == -(-item.size // BLOCK)
            if not fitting or any(length < 0 for length, _ in item.blocks):
                raise ValueError(f"tensor {item.name} has an impossible entry")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"its index: {error}") from error
    return index


def _tensor(entry: dict[str, Any]) -> TensorDelta:
    blocks = tuple((int(length), int(checksum)) for length, checksum in entry["blocks"])
    return TensorDelta(**{**entry, "shape": tuple(entry["shape"]), "blocks": blocks})


def packed_blocks(path: Path, index: DeltaIndex) -> Iterator[tuple[TensorDelta, list[bytes]]]:
    """Each tensor with its packed blocks, read as they are asked for.

    Raises:
        FailureError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(len(MAGIC))
            for item in index.tensors:
                yield item, [file.read(length) for length, _ in item.blocks]
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror or error}") from error
