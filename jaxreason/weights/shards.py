"""Parameters put together on the devices that hold parts of them."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxreason.models.places import Place
from jaxreason.weights.blocks import Rows, blocks, rows_of
from jaxreason.weights.stored_tensor import StoredTensor

Bounds = tuple[tuple[int, int], ...]
"""First and last (exclusive) index along each axis."""


class _Part(NamedTuple):
    """What devices with the same part of a leaf hold: arrays of JAX, or memory of this process."""

    bounds: Bounds
    devices: list[Any]
    held: list[Any]


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """An array that a CPU device can take over as it is: its memory starts at 64 bytes."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def assemble(
    shape: tuple[int, ...],
    dtype: np.dtype,
    sharding: jax.sharding.Sharding | None,
    tensors: list[tuple[StoredTensor, Place]],
) -> jax.Array:
    """One leaf, each device of this process given its own part while the files are read.

    Beside the parts, the host holds a block of one tensor. Rows that no device here needs are not
    read; a tensor is read once, however many devices need it.

    Args:
        shape: of the whole leaf.
        dtype: of it.
        sharding: of it; None leaves it on the default device, uncommitted.
        tensors: what it is made of.

    Raises:
        FailureError: a file cannot be read.
    """
    parts = _parts(shape, dtype, sharding)
    for tensor, place in tensors:
        _fill(parts, tensor, place, dtype)
    arrays = [array for part in parts for array in _on_devices(part)]
    if sharding is None:
        return arrays[0]
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def _is_memory(device: Any) -> bool:
    """Whether the device (None: the default one) works on memory of this process."""
    if device is None:
        return jax.default_backend() == "cpu"
    return device.platform == "cpu"


def _parts(shape: tuple[int, ...], dtype: np.dtype, sharding: Any) -> list[_Part]:
    by_bounds: dict[Bounds, list[Any]] = {}
    everything = {None: tuple(slice(None) for _ in shape)}
    indices = sharding.addressable_devices_indices_map(shape) if sharding else everything
    for device, index in indices.items():
        bounds = tuple(slice_.indices(size)[:2] for slice_, size in zip(index, shape, strict=True))
        by_bounds.setdefault(bounds, []).append(device)
    parts = []
    for bounds, devices in by_bounds.items():
        size = tuple(last - first for first, last in bounds)
        if _is_memory(devices[0]):
            parts.append(_Part(bounds, devices, [aligned(size, dtype)]))
        else:
            zeros = [jnp.zeros(size, dtype, device=device) for device in devices]
            parts.append(_Part(bounds, devices, zeros))
    return parts


def _ranges(parts: list[_Part], place: Place, rows: Rows | None) -> Iterator[Any]:
    """The parts that a tensor goes into, with what of it: (parts, first step, last step)."""
    layered = place.layer is not None
    by_range: dict[tuple[int, int], list[_Part]] = {}
    for part in parts:
        if layered and not part.bounds[0][0] <= int(place.layer or 0) < part.bounds[0][1]:
            continue
        inner = part.bounds[1:] if layered else part.bounds
        by_range.setdefault((0, 0) if rows is None else inner[rows.axis], []).append(part)
    yield from by_range.items()


def _fill(parts: list[_Part], tensor: StoredTensor, place: Place, dtype: np.dtype) -> None:
    rows = rows_of(place)
    layered = place.layer is not None
    for (first, last), sharing in _ranges(parts, place, rows):
        for start, array in blocks(tensor, place, first, last):
            for part in sharing:
                inner = part.bounds[1:] if layered else part.bounds
                cut = [slice(*bound) for bound in inner]
                into = [0] * len(inner)
                if rows is not None:
                    cut[rows.axis] = slice(None)
                    into[rows.axis] = start - first
                if layered:
                    into.insert(0, int(place.layer or 0) - part.bounds[0][0])
                _write(part, array[tuple(cut)], tuple(into), layered, dtype)
            del array


def _write(part: _Part, piece: NDArray, start: Any, layered: bool, dtype: np.dtype) -> None:
    shape = (1, *piece.shape) if layered else piece.shape
    if _is_memory(part.devices[0]):
        box = tuple(slice(at, at + size) for at, size in zip(start, shape, strict=True))
        part.held[0][box] = piece
        return
    piece = np.ascontiguousarray(piece.astype(dtype, copy=False)).reshape(shape)
    for number, device in enumerate(part.devices):
        put = jax.device_put(piece, device)
        # Waits, so that no more pieces are on their way than this one.
        part.held[number] = jax.block_until_ready(_updated(part.held[number], put, start))


@functools.partial(jax.jit, donate_argnums=0)
def _updated(whole: jax.Array, piece: jax.Array, start: tuple[int, ...]) -> jax.Array:
    return jax.lax.dynamic_update_slice(whole, piece, start)


def _on_devices(part: _Part) -> list[jax.Array]:
    if not _is_memory(part.devices[0]):
        return part.held
    memory, arrays = part.held[0], []
    for number, device in enumerate(part.devices):
        if number:  # memory of its own: arrays of several devices may be donated one by one
            memory = aligned(memory.shape, memory.dtype)
            memory[...] = part.held[0]
        arrays.append(jax.device_put(memory, device, may_alias=True))
    return arrays
