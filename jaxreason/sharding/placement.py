"""Rows of a batch between host memory and devices, with any number of processes.

A *share* is a part of the rows of every global batch, and the shares are equal in size. Processes
whose devices hold the same rows (when a tensor or sequence axis runs over hosts) have the same
share, and must load the same rows.

Shares are ordered by their first row. A share's rows follow each other on CPUs and GPUs; on the
torus of a TPU, where the mesh goes along the links, those of a host may lie apart ({0, 1, 4, 5}).
Rows that a share makes keep their order, but are then others of the global batch than on a single
process: the loss is the same, but not what is drawn for a row by its number (noise, micro-batches).
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.errors import InputError
from jaxreason.sharding.mesh import BATCH_AXES, batch_sharding
from jaxreason.types import Batch


@dataclass(frozen=True)
class Share:
    """Which part of every batch's rows a process holds.

    Attributes:
        index: of this share, from 0, in the order of their first rows.
        count: number of shares.
    """

    index: int
    count: int

    def rows(self, total: int) -> slice:
        """The rows of this share among `total`, if every share makes rows that follow each other.

        That is what is made, not where it lies (see the top of the module).

        Raises:
            InputError: the rows cannot be split evenly.
        """
        if total % self.count:
            raise InputError(
                f"{total} rows cannot be split over {self.count} shares; use a multiple"
            )
        size = total // self.count
        return slice(self.index * size, (self.index + 1) * size)


def data_share(mesh: Mesh | None) -> Share:
    """The share this process loads; (0, 1) on a single process.

    Raises:
        InputError: the mesh gives two processes rows that overlap only in part.
    """
    if mesh is None or jax.process_count() == 1:
        return Share(0, 1)
    owners = _owners(mesh)
    index = next(i for i, processes in enumerate(owners) if jax.process_index() in processes)
    return Share(index, len(owners))


@functools.cache
def _owners(mesh: Mesh) -> list[list[int]]:
    """The processes of every share, the shares in the order of their first rows."""
    ways = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    rows: dict[int, set[int]] = {}
    device: Any
    for device, index in batch_sharding(mesh).devices_indices_map((ways,)).items():
        rows.setdefault(device.process_index, set()).update(range(ways)[index[0]])
    held: dict[frozenset[int], list[int]] = {}
    for process in sorted(rows):
        held.setdefault(frozenset(rows[process]), []).append(process)
    sizes = {len(part) for part in held}
    if len(sizes) != 1 or sum(len(part) for part in held) != ways:
        raise InputError(
            f"mesh {dict(mesh.shape)} over {len(rows)} processes gives them rows that overlap in "
            "part; choose replica x fsdp so that the devices of a process hold whole rows"
        )
    return [held[part] for part in sorted(held, key=min)]


def place_batch(batch: Mapping[str, Any], mesh: Mesh | None) -> Batch:
    """Put this share's rows of a batch on the devices, joined into global arrays.

    They take the rows of the global arrays that this share's devices hold, in order.

    Args:
        batch: numpy arrays [rows of this share, ...].
        mesh: devices to split the rows over; None for one device.
    """
    if mesh is None:
        return jax.device_put(batch)
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def place_everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """Put whole batches that every process holds alike on the devices, each taking its own rows.

    Args:
        tree: numpy arrays [all rows, ...], the same on every process.
        mesh: devices to split the rows over; None for one device.
    """
    if mesh is None:
        return jax.device_put(tree)
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(x: Any) -> jax.Array:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)


def to_host(tree: Any) -> Any:
    """Whole arrays as numpy on every process, those spread over processes gathered."""

    def spread(x: Any) -> bool:
        return isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated

    leaves, structure = jax.tree.flatten(tree)
    far = [i for i, x in enumerate(leaves) if spread(x)]
    if far:
        for i, whole in zip(far, _replicated([leaves[i] for i in far]), strict=True):
            leaves[i] = whole
    return jax.device_get(jax.tree.unflatten(structure, leaves))


def _replicated(arrays: list[jax.Array]) -> list[jax.Array]:
    mesh = arrays[0].sharding.mesh  # type: ignore[attr-defined]
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(_same, out_shardings=everywhere)(arrays)


def _same(arrays: list[jax.Array]) -> list[jax.Array]:
    return arrays


def gather_rows(tree: Any, mesh: Mesh | None) -> Any:
    """The rows of all shares, one share after the other, on every process.

    Args:
        tree: numpy arrays [rows of this share, ...], of equal shapes and dtypes on all shares.
        mesh: what the shares are of.
    """
    if mesh is None or jax.process_count() == 1:
        return tree
    first = [processes[0] for processes in _owners(mesh)]

    def gather(x: Any) -> np.ndarray:
        mine = np.ascontiguousarray(x)
        # As bytes, because JAX would narrow 64-bit numbers.
        raw = np.frombuffer(mine.tobytes(), np.uint8)
        everyone = np.asarray(multihost_utils.process_allgather(raw))
        parts = [
            np.frombuffer(everyone[process].tobytes(), mine.dtype).reshape(mine.shape)
            for process in first
        ]
        return np.concatenate(parts)

    return jax.tree.map(gather, tree)


def agree(item: Any) -> list[Any]:
    """One JSON item of every process, in order, on all of them."""
    if jax.process_count() == 1:
        return [item]
    text = np.frombuffer(json.dumps(item).encode(), np.uint8)
    longest = int(np.max(multihost_utils.process_allgather(np.int32(text.size))))
    padded = np.full(longest, ord(" "), np.uint8)
    padded[: text.size] = text
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]
