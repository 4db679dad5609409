"""TPU slices by the names people rent them under, and as devices that programs compile for.

libtpu compiles for chips that are not there: `topology_devices("v5p-16")` gives devices for meshes
and for `lower(...).compile()`, on any Linux x86-64 machine. Nothing can be executed on them.

Names follow Google's: v5e and v6e count chips, v5p and tpu7x count TensorCores, two of which are
one chip. A v5p chip is one JAX device (its cores work as one), a tpu7x chip two. Shapes and which
axes wrap around are those of the slices that MaxText lists (github.com/AI-Hypercomputer/maxtext,
`accelerator_to_spec_map.py`), carried over to the sizes and generations it does not list. `v5p-2`
and `tpu7x-2`, of one chip, are not rented: they are there to compile for.
"""

import difflib
import importlib.util
import math
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any

from jaxreason.errors import FailureError, InputError

GIB = 2**30
LIBTPU_ENVIRONMENT = {
    # Only CPUs are here; no metadata server tells which TPU this is; others may compile too.
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""What must stand in the environment before JAX is imported."""


_QUIET = {
    # Without these libtpu complains that it cannot tell which TPU it is on; it is on none.
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Chip:
    """A generation of chips, rates per JAX device.

    Peaks and bandwidths are from Google's pages (docs.cloud.google.com/tpu/docs/v5e, v6e, v5p,
    tpu7x); `hbm_bytes` is what libtpu lets a program use, by its own error messages: somewhat
    less than the data sheet says.

    Attributes:
        kind: `device_kind` of its devices.
        devices: JAX devices of one chip.
        hbm_bytes: memory a program may use.
        peak_flops: dense bfloat16, FLOP/s.
        hbm_bandwidth: bytes/s.
        ici_bandwidth: bytes/s that one link carries in one direction.
        ici_links: links of a device, of which a slice may leave some unused (`Topology.ici_links`).
        dcn_bandwidth: bytes/s a device gets in one direction of the network between slices.
    """

    kind: str
    devices: int
    hbm_bytes: int
    peak_flops: float
    hbm_bandwidth: float
    ici_bandwidth: float
    ici_links: float
    dcn_bandwidth: float


CHIPS = {
    "v5e": Chip("TPU v5 lite", 1, int(15.75 * GIB), 197e12, 819e9, 50e9, 4, 25e9 / 8),
    "v6e": Chip("TPU v6 lite", 1, int(31.25 * GIB), 918e12, 1638e9, 100e9, 4, 100e9 / 8),
    "v5p": Chip("TPU v5", 1, int(95.74 * GIB), 459e12, 2765e9, 100e9, 6, 50e9 / 8),
    "tpu7x": Chip("TPU7x", 2, int(94.75 * GIB), 1153.5e12, 3690e9, 100e9, 3, 50e9 / 8),
}
"""By family; on tpu7x the chip's figures are halved, because a chip is two devices."""

_GRIDS = {
    "v5e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v6e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": (
        *("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x4x12", "4x8x8"),
        *("4x8x12", "8x8x8", "8x8x12", "8x8x16", "8x16x16", "16x16x16", "16x16x24"),
    ),
    "tpu7x": (
        *("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x4x12", "4x8x8"),
        *("4x8x12", "8x8x8", "8x8x12", "8x8x16", "8x16x16", "16x16x16", "16x16x24"),
    ),
}
_CORES = {"v5e": 1, "v6e": 1, "v5p": 2, "tpu7x": 2}


@dataclass(frozen=True)
class Topology:
    """One slice.

    Attributes:
        name: as it is rented, such as `v5p-16`.
        chip: its chips.
        grid: chips along each axis of the interconnect.
    """

    name: str
    chip: Chip
    grid: tuple[int, ...]

    @property
    def chips(self) -> int:
        """Chips of the slice."""
        return math.prod(self.grid)

    @property
    def devices(self) -> int:
        """JAX devices of the slice."""
        return self.chips * self.chip.devices

    @property
    def host_grid(self) -> tuple[int, int, int]:
        """Chips of one host along each axis: 2 x 2, or all of a slice of one chip.

        v5e-8 and v6e-8 are one host of 2 x 4, as they are usually rented (machine types with 8
        chips); two hosts of 4 compile the same.
        """
        if self.chips == 1:
            return (1, 1, 1)
        return (2, 4, 1) if self.grid == (2, 4) else (2, 2, 1)

    @property
    def hosts(self) -> int:
        """Machines of the slice."""
        return self.chips // math.prod(self.host_grid)

    @property
    def wraps(self) -> tuple[bool, bool, bool]:
        """Which axes close to rings: all from 4x4x4 on, in two dimensions those of 16."""
        if len(self.grid) == 3:
            closed = min(self.grid) >= 4
            return (closed, closed, closed)
        return (self.grid[0] == 16, self.grid[1] == 16, False)

    @property
    def ici_links(self) -> float:
        """Links at which every device sends at once: of an axis that wraps two, of a line one.

        Devices at the ends of a line have one neighbour, and a ring waits for its slowest. The
        devices of a slice of one chip send each other what they send within the chip, for which
        the chip's own links stand.
        """
        if self.chips == 1:
            return self.chip.ici_links
        axes = zip(self.grid, self.wraps, strict=False)
        links = sum((2 if wrapped else 1) for size, wrapped in axes if size > 1)
        return min(links / self.chip.devices, self.chip.ici_links)

    @property
    def libtpu_name(self) -> str:
        """What libtpu calls it, such as `v5p:2x2x2`."""
        return f"{self.name.split('-')[0]}:{'x'.join(map(str, self.grid))}"


def _table() -> dict[str, Topology]:
    table = {}
    for family, grids in _GRIDS.items():
        for words in grids:
            grid = tuple(int(word) for word in words.split("x"))
            name = f"{family}-{math.prod(grid) * _CORES[family]}"
            table[name] = Topology(name, CHIPS[family], grid)
    return table


TOPOLOGIES: dict[str, Topology] = _table()


def topology(name: str) -> Topology:
    """The slice of this name.

    Raises:
        InputError: there is none; says which are close.
    """
    if name in TOPOLOGIES:
        return TOPOLOGIES[name]
    family = name.lower().split("-")[0]
    close = difflib.get_close_matches(name.lower(), TOPOLOGIES, n=4, cutoff=0.6)
    known = [known for known in TOPOLOGIES if known.startswith(f"{family}-")]
    shown = known or close or [f"{family}-..." for family in CHIPS]
    raise InputError(f"topology {name!r} is unknown; expected one of {', '.join(shown)}")


def prepare_libtpu() -> None:
    """Set the environment for compiling without TPUs; call it before JAX is imported.

    Raises:
        FailureError: libtpu is not installed, or has no build for this machine.
    """
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"):
        raise FailureError(
            f"compiling for TPUs needs Linux on x86-64, where libtpu runs; this is {sys.platform} "
            f"on {platform.machine()}"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise FailureError(
            "compiling for TPUs needs libtpu, which is not installed: "
            "pip install 'jaxreason[preflight]'"
        )
    os.environ.update(LIBTPU_ENVIRONMENT)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def topology_devices(name: str, slices: int = 1) -> list[Any]:
    """Devices of one or several slices, to make meshes of and to compile for.

    Call `prepare_libtpu` before JAX is imported.

    Args:
        name: of the slice, see `TOPOLOGIES`.
        slices: equal slices, joined by the data-centre network.

    Raises:
        InputError: unknown name, or no slice.
        FailureError: libtpu cannot describe the topology.
    """
    found = topology(name)
    if slices < 1:
        raise InputError(f"slices is {slices}; it must be at least 1")
    from jax.experimental import topologies

    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    try:
        described = topologies.get_topology_desc(
            platform="tpu",
            topology_name=found.libtpu_name,
            chips_per_host_bounds=found.host_grid,
            wrap=found.wraps,
            **options,
        )
    except Exception as error:
        raise FailureError(
            f"libtpu cannot describe {name} ({found.libtpu_name}): {error}; the libtpu that goes "
            "with this JAX is installed by: pip install 'jaxreason[preflight]'"
        ) from error
    return list(described.devices)
