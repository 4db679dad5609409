"""The device mesh: four named axes, always in the same order, any of which may be 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxreason.errors import InputError

AXES = ("replica", "fsdp", "tensor", "sequence")
BATCH_AXES = ("replica", "fsdp")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; at most one may be -1, meaning all that are left.

    Attributes:
        replica: copies of the whole state; the batch is split over it (the slow network).
        fsdp: the batch and the parameters are split over it (ZeRO stage 3).
        tensor: heads and feed-forward features are split over it.
        sequence: activations are split over it along the length.
    """

    replica: int = 1
    fsdp: int = -1
    tensor: int = 1
    sequence: int = 1

    def __post_init__(self) -> None:
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, size in sizes.items():
            if size != -1 and size < 1:
                raise InputError(f"mesh axis {name}={size}: expected a positive size, or -1")
        free = [name for name, size in sizes.items() if size == -1]
        if len(free) > 1:
            raise InputError(f"mesh axes {', '.join(free)} are all -1: only one may be")

    def shape(self, device_count: int) -> tuple[int, int, int, int]:
        """The four sizes for `device_count` devices; InputError when they do not multiply to it."""
        sizes = {name: getattr(self, name) for name in AXES}
        asked = " x ".join(f"{name}={size}" for name, size in sizes.items())
        known = math.prod(size for size in sizes.values() if size != -1)
        free = [name for name, size in sizes.items() if size == -1]
        if free and device_count % known == 0:
            sizes[free[0]] = device_count // known
        elif free:
            raise InputError(
                f"mesh {asked}: axis {free[0]} cannot be filled, {device_count} devices are not "
                f"divisible by {known}; choose sizes that divide {device_count}"
            )
        elif known != device_count:
            raise InputError(
                f"mesh {asked} needs {known} devices but there are {device_count}: set one axis "
                f"to -1 to fill it, or make the sizes multiply to {device_count}"
            )
        return (sizes["replica"], sizes["fsdp"], sizes["tensor"], sizes["sequence"])


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over `devices` (default: all), real or fake, with automatic partitioning.

    Between TPU slices is the slow data-centre network, so whole slices follow each other along
    `replica`, over which only gradients travel, and the other axes stay inside a slice. On GPUs,
    groups of the fastest links (`slice_index`) follow each other in the order of the devices, over
    any axes.

    Raises:
        InputError: sizes that do not multiply to the devices, `replica` no multiple of the number
            of TPU slices, or slices of different sizes.
    """
    devices = jax.devices() if devices is None else list(devices)
    shape = config.shape(len(devices))
    slices: dict[int, list[Any]] = {}
    for device in devices:
        slices.setdefault(getattr(device, "slice_index", None) or 0, []).append(device)
    # The axis types are always passed, because the default of JAX is Explicit.
    types = (AxisType.Auto,) * len(AXES)
    if len(slices) == 1:
        return Mesh(_laid_out(shape, devices), AXES, axis_types=types)
    groups = [slices[index] for index in sorted(slices)]
    if devices[0].platform == "tpu":
        return Mesh(_slice_by_slice(groups, shape), AXES, axis_types=types)
    ordered = [d for group in groups for d in sorted(group, key=lambda d: (d.process_index, d.id))]
    return Mesh(np.array(ordered).reshape(shape), AXES, axis_types=types)


def _slice_by_slice(slices: list[list[Any]], shape: tuple[int, int, int, int]) -> np.ndarray:
    """Devices [replica, fsdp, tensor, sequence], each slice laid out as its links run."""
    sizes = {len(devices) for devices in slices}
    if len(sizes) > 1:
        raise InputError(f"the slices have {sorted(sizes)} devices; expected equal slices")
    replica, *rest = shape
    if replica % len(slices):
        raise InputError(
            f"mesh axis replica={replica}: expected a multiple of the {len(slices)} slices: "
            "only replicas may be joined by the network between them; set replica to "
            f"{len(slices)} and leave fsdp at -1"
        )
    each = (replica // len(slices), *rest)
    return np.concatenate([_laid_out(each, part) for part in slices])


def _laid_out(shape: Sequence[int], devices: Sequence[Any]) -> np.ndarray:
    """Devices in `shape`, every axis along links of a TPU's torus where they can be."""
    try:
        return mesh_utils.create_device_mesh(shape, devices)
    except NotImplementedError:
        # More axes than the torus has, or other factors: several share one dimension of it.
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis of every array of a batch is split over replica and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def ambient_platform() -> str:
    """Platform of the devices that what is being traced is for.

    It is that of the ambient mesh (`jax.set_mesh`), which need not be of this machine: programs are
    also compiled for TPUs that are not here. Without a mesh it is the default backend's.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.abstract_device is None:
        return jax.default_backend()
    return str(mesh.abstract_device.platform)


def ways_over(axis: str) -> int:
    """Devices along an axis of the ambient mesh; 1 without one."""
    return jax.sharding.get_abstract_mesh().shape.get(axis, 1)


def constrain(x: jax.Array, *axes: str | tuple[str, ...] | None) -> jax.Array:
    """Ask the compiler to lay `x` out over mesh axes, one entry per dimension of `x`.

    Without an ambient mesh (`jax.set_mesh`) this does nothing, so models run unchanged on one
    device. Entries whose mesh axes do not divide their dimension, or are not of this mesh, are left
    to the compiler.

    Example: `constrain(hidden, BATCH_AXES, "sequence", None)` for hidden [B, T, D].
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    if len(axes) != x.ndim:
        raise InputError(f"constrain: {len(axes)} entries for an array of shape {x.shape}")
    entries = []
    for dimension, entry in zip(x.shape, axes, strict=True):
        names = (entry,) if isinstance(entry, str) else (entry or ())
        size = math.prod(mesh.shape.get(name, 0) for name in names)
        free = size == 0 or dimension % size
        entries.append(PartitionSpec.UNCONSTRAINED if entry and free else entry)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*entries))
