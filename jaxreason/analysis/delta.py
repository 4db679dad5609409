"""A lossless sparse difference of two checkpoints: what to send when a few weights changed.

`make_delta(base, new, file)` keeps the entries whose bits differ; `apply_delta(base, file, out)`
gives back the new checkpoint, bit for bit, -0 and NaN payloads included. Post-training leaves most
bfloat16 weights bitwise alone, which sparse weight synchronisation rests on (PULSE, Miahi and
Belilovsky, arXiv 2602.03839, who compare after the cast to the dtype that is served: `read_dtype`
here). Where most entries change, blocks are kept densely, so a difference is never much larger
than the checkpoint.

A difference knows its base: a base whose tensors have other SHA-256 sums is refused. It holds the
model's tensors only; of a run directory of ours these are the parameters, not the optimizer's
state, so applying writes a safetensors file, whatever the base was.
"""

import hashlib
import os
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.delta_blocks import (
    BLOCK,
    DamagedBlock,
    as_integers,
    decode_block,
    encode_block,
)
from jaxreason.analysis.delta_file import (
    MAGIC,
    DeltaIndex,
    TensorDelta,
    packed_blocks,
    read_delta,
)
from jaxreason.analysis.tensors import Checkpoint
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.weights.safetensors_writing import atomic_file, dtype_code, write_safetensors

READ_DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
_FLOATS = tuple(map(np.dtype, (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)))

Source = str | Path | Checkpoint
"""A checkpoint, or the path of one."""


@dataclass(frozen=True)
class DeltaSummary:
    """What a difference is worth.

    Attributes:
        path: of the file written.
        tensors: number of tensors.
        entries: number of entries in all.
        changed: number of entries whose bits differ.
        delta_bytes: size of the difference.
        full_bytes: size of the new checkpoint's tensors.
        seconds: wall time, reading and writing included.
    """

    path: Path
    tensors: int
    entries: int
    changed: int
    delta_bytes: int
    full_bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        """Bytes of the full checkpoint per second."""
        return self.full_bytes / max(self.seconds, 1e-9)


def make_delta(
    base: Source,
    new: Source,
    path: str | Path,
    *,
    read_dtype: str | None = None,
    threads: int | None = None,
) -> DeltaSummary:
    """Writes what turns `base` into `new`; holds one tensor of each in memory.

    Args:
        base: a checkpoint or its path.
        new: one with the same names, shapes and dtypes.
        path: of the difference; an earlier difference is replaced at the end, in one step.
        read_dtype: "bfloat16" or "float16" casts floating-point tensors of both first: the
            difference of what is served, not of the master weights.
        threads: for packing; by default one per core, at most 8.

    Raises:
        InputError: names, shapes or dtypes differ (found before any work), or `path` is another
            kind of file.
        FailureError: a checkpoint is damaged, or the disk refuses.
    """
    started = time.perf_counter()
    base, new, path = _opened(base), _opened(new), as_path(path)
    _check_free(path)
    entries = _entries(new, read_dtype)
    _check_same(base, _entries(base, read_dtype), entries, f"in {new.path}")
    packed, size = [], len(MAGIC)
    with ThreadPoolExecutor(_threads(threads)) as workers, atomic_file(path) as file:
        file.write(MAGIC)
        for name, (dtype, shape) in entries.items():
            before = as_integers(_cast(base.read(name), dtype))
            after = as_integers(_cast(new.read(name), dtype))
            was, becomes = workers.map(_digest, (before, after))
            blocks, changed = [], 0
            for data, count in workers.map(encode_block, _split(before), _split(after)):
                file.write(data)
                blocks.append((len(data), zlib.crc32(data)))
                changed += count
            code = dtype_code(name, dtype)
            packed.append(TensorDelta(name, code, shape, was, becomes, changed, tuple(blocks)))
            size += sum(length for length, _ in blocks)
        trailer = DeltaIndex(tuple(packed), read_dtype).trailer()
        file.write(trailer)
    return _summary(path, packed, size + len(trailer), started)


def apply_delta(
    base: Source, delta: str | Path, out: str | Path, *, threads: int | None = None
) -> DeltaSummary:
    """Writes the checkpoint that a difference was made for.

    The difference is checked in full before anything is written. Where it was made with
    `read_dtype`, the base is cast the same way, and may be stored in that dtype already.

    Args:
        base: the checkpoint the difference was made from, or its path.
        delta: a file written by `make_delta`.
        out: a new `.safetensors` file, or a new folder for `model.safetensors`.
        threads: for unpacking; by default one per core, at most 8.

    Raises:
        InputError: the base is another checkpoint, or `out` exists.
        FailureError: the difference is damaged, or the disk refuses.
    """
    started = time.perf_counter()
    base, delta, out = _opened(base), as_path(delta), as_path(out)
    if out.exists():
        raise InputError(f"{out} exists; name a new .safetensors file or folder")
    target = out if out.suffix == ".safetensors" else out / "model.safetensors"
    index = read_delta(delta)
    entries = {item.name: (item.numpy_dtype, item.shape) for item in index.tensors}
    _check_same(base, _entries(base, index.read_dtype), entries, f"in the base of {delta}")
    with ThreadPoolExecutor(_threads(threads)) as workers:
        rebuild = partial(_rebuild, base, delta, workers)
        arrays = (rebuild(item, blocks) for item, blocks in packed_blocks(delta, index))
        write_safetensors(target, entries, arrays, {"format": "pt"})
    return _summary(target, index.tensors, delta.stat().st_size, started)


def _rebuild(
    base: Checkpoint, path: Path, workers: Executor, item: TensorDelta, blocks: list[bytes]
) -> np.ndarray:
    before = as_integers(_cast(base.read(item.name), item.numpy_dtype))
    if _digest(before) != item.before:
        raise InputError(
            f"{base.path} is not the base of {path}: tensor {item.name} holds other values; "
            "apply it to the checkpoint it was made from"
        )
    after = np.empty_like(before)
    try:
        for there, part in zip(
            _split(after), workers.map(decode_block, _split(before), blocks), strict=True
        ):
            there[:] = part
    except DamagedBlock as error:
        raise FailureError(f"{path} is damaged (tensor {item.name}: {error})") from error
    if _digest(after) != item.after:
        raise FailureError(f"{path} is damaged (tensor {item.name} has another checksum)")
    return after.view(item.numpy_dtype).reshape(item.shape)


def _opened(source: Source) -> Checkpoint:
    return source if isinstance(source, Checkpoint) else open_checkpoint(source)


def _check_free(path: Path) -> None:
    """Only an earlier difference is overwritten, never a checkpoint."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                return
    if path.exists():
        raise InputError(f"{path} exists and is no difference; name another file")


def _threads(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1")
    return min(8, os.cpu_count() or 1) if threads is None else threads


def _digest(integers: np.ndarray) -> str:
    return hashlib.sha256(integers.data).hexdigest()


def _split(flat: np.ndarray) -> Iterator[np.ndarray]:
    return (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large for float16 becomes infinite
        return array.astype(dtype, copy=False)


def _entries(
    checkpoint: Checkpoint, read_dtype: str | None
) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Name to dtype, after the cast, and shape."""
    if read_dtype is not None and read_dtype not in READ_DTYPES:
        raise InputError(
            f"read_dtype is {read_dtype!r}; expected one of {', '.join(READ_DTYPES)} or none"
        )

    def cast(dtype: np.dtype) -> np.dtype:
        return READ_DTYPES[read_dtype] if read_dtype and dtype in _FLOATS else dtype

    return {
        name: (cast(checkpoint.dtype(name)), tuple(checkpoint.shape(name)))
        for name in checkpoint.names()
    }


def _check_same(
    base: Checkpoint,
    found: dict[str, tuple[np.dtype, tuple[int, ...]]],
    wanted: dict[str, tuple[np.dtype, tuple[int, ...]]],
    where: str,
) -> None:
    def text(entry: tuple[np.dtype, tuple[int, ...]] | None) -> str:
        return "absent" if entry is None else f"{entry[0]} {list(entry[1])}"

    names = [*wanted, *(name for name in found if name not in wanted)]
    different = [name for name in names if found.get(name) != wanted.get(name)]
    if different:
        shown = "; ".join(
            f"{name} is {text(found.get(name))} in {base.path}, {text(wanted.get(name))} {where}"
            for name in different[:3]
        )
        more = f"; and {len(different) - 3} more" if len(different) > 3 else ""
        raise InputError(f"the checkpoints are of different models: {shown}{more}")


def _summary(
    path: Path, tensors: list[TensorDelta] | tuple[TensorDelta, ...], size: int, started: float
) -> DeltaSummary:
    return DeltaSummary(
        path=path,
        tensors=len(tensors),
        entries=sum(item.size for item in tensors),
        changed=sum(item.changed for item in tensors),
        delta_bytes=size,
        full_bytes=sum(item.size * item.numpy_dtype.itemsize for item in tensors),
        seconds=time.perf_counter() - started,
    )
