"""One block of a sparse difference: the changed entries of a run of integers, packed losslessly.

Weights are looked at as unsigned integers of their own width, so that -0, NaN payloads and
infinities survive. A block of a tensor becomes

    kind (1 byte: sparse or dense), number of values (4 bytes, little-endian), packed columns

Sparse blocks hold the gaps between changed positions and, for each of them, the difference of the
integers (modulo their width, zigzag-coded: a step to the neighbouring float is 1 or 2). Dense
blocks hold the difference of every entry. A column of integers is packed byte plane by byte plane:
high planes are nearly constant and vanish, low planes are Huffman-coded (deflate without string
matching, which finds nothing in noise and costs most of the time), or stored if that is no smaller.
"""

import struct
import zlib

import numpy as np

BLOCK = 1 << 22
"""Entries in a block: what is held in memory besides the tensor itself is a few of these."""

_SPARSE, _DENSE = 1, 2
_STORED, _DEFLATED, _CONSTANT = 0, 1, 2
_PROBE = 1 << 14
# Above this share of changed entries their positions cost more than the zeros in between: with
# density p they need H(p) / p bits per change, a zero at least one bit.
_BREAK_EVEN = 0.4


class DamagedBlock(Exception):
    """The bytes are not a block of the size expected."""


def as_integers(array: np.ndarray) -> np.ndarray:
    """The bits of an array, flat, as unsigned integers of the same width; no copy if possible.

    Booleans and 1-byte types become uint8, bfloat16 and float16 uint16, float32 uint32,
    float64 uint64.
    """
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.dtype(f"u{flat.dtype.itemsize}"))


def encode_block(before: np.ndarray, after: np.ndarray) -> tuple[bytes, int]:
    """Packs what turns `before` into `after`.

    Args:
        before: [n] unsigned integers, n at most `BLOCK`.
        after: [n], same dtype.

    Returns:
        The packed bytes (none if nothing changed) and the number of changed entries.
    """
    changed = before != after
    count = int(np.count_nonzero(changed))
    if count == 0:
        return b"", 0
    if count > _BREAK_EVEN * before.size:
        values = _zigzag(after - before)
        return struct.pack("<BI", _DENSE, values.size) + _pack(values), count
    where = np.flatnonzero(changed)
    gaps = np.diff(where, prepend=-1).astype(np.uint32) - np.uint32(1)
    values = _zigzag(after[where] - before[where])
    return struct.pack("<BI", _SPARSE, count) + _pack(gaps) + _pack(values), count


def decode_block(before: np.ndarray, packed: bytes) -> np.ndarray:
    """What `encode_block` was given as `after`.

    Raises:
        DamagedBlock: the bytes are not a block for that many entries.
    """
    after = before.copy()
    if not packed:
        return after
    if len(packed) < 5:
        raise DamagedBlock("cut short")
    kind, count = struct.unpack_from("<BI", packed)
    if kind not in (_SPARSE, _DENSE) or (kind == _DENSE and count != before.size):
        raise DamagedBlock("impossible header")
    if count > before.size:
        raise DamagedBlock("more changes than entries")
    place = 5
    where: np.ndarray | slice = slice(None)
    if kind == _SPARSE:
        gaps, place = _unpack(packed, place, count, np.dtype(np.uint32))
        where = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if count and where[-1] >= before.size:
            raise DamagedBlock("position outside the tensor")
    values, place = _unpack(packed, place, count, before.dtype)
    if place != len(packed):
        raise DamagedBlock("bytes left over")
    after[where] += _unzigzag(values)
    return after


def _zigzag(difference: np.ndarray) -> np.ndarray:
    """Small differences of either sign become small unsigned numbers."""
    sign = difference.view(np.dtype(f"i{difference.itemsize}")) >> (8 * difference.itemsize - 1)
    return (difference << 1) ^ sign.view(difference.dtype)


def _unzigzag(values: np.ndarray) -> np.ndarray:
    one = values.dtype.type(1)
    return (values >> one) ^ (~(values & one) + one)


def _pack(values: np.ndarray) -> bytes:
    """Byte planes, the lowest first, each with its method and length."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    planes = little.view(np.uint8).reshape(-1, values.itemsize)
    parts = []
    for column in range(values.itemsize):
        plane = np.ascontiguousarray(planes[:, column])
        if plane.size and plane.min() == plane.max():
            parts.append(struct.pack("<BIB", _CONSTANT, 1, plane[0]))
            continue
        method, data = _STORED, plane.tobytes()
        middle = max(0, plane.size // 2 - _PROBE // 2)
        if len(_deflate(data[middle : middle + _PROBE])) < 0.98 * min(len(data), _PROBE):
            smaller = _deflate(data)
            if len(smaller) < len(data):
                method, data = _DEFLATED, smaller
        parts.append(struct.pack("<BI", method, len(data)) + data)
    return b"".join(parts)


def _unpack(packed: bytes, place: int, count: int, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """The column of `count` values at `place`, and where the next one begins."""
    planes = np.empty((count, dtype.itemsize), np.uint8)
    for column in range(dtype.itemsize):
        if place + 5 > len(packed):
            raise DamagedBlock("cut short")
        method, length = struct.unpack_from("<BI", packed, place)
        data = packed[place + 5 : place + 5 + length]
        place += 5 + length
        if method == _DEFLATED:
            data = _inflate(data, count)
        if len(data) != (1 if method == _CONSTANT else count) or method > _CONSTANT:
            raise DamagedBlock("plane of the wrong length")
        planes[:, column] = np.frombuffer(data, np.uint8)
    values = planes.reshape(-1).view(dtype.newbyteorder("<"))
    return values.astype(dtype, copy=False), place


def _deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
    return machine.compress(data) + machine.flush()


def _inflate(data: bytes, count: int) -> bytes:
    """At most `count` bytes, so that damaged input cannot ask for all memory."""
    machine = zlib.decompressobj(-15)
    try:
        text = machine.decompress(data, count)
        # The end marker may still be unread when exactly `count` bytes came out.
        more = machine.decompress(machine.unconsumed_tail, 1) if not machine.eof else b""
    except zlib.error as error:
        raise DamagedBlock(str(error)) from error
    if more or not machine.eof or machine.unused_data:
        raise DamagedBlock("plane of the wrong length")
    return text
