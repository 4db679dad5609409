"""Machines with NVIDIA GPUs by name, for judging memory where they need not be at hand.

`h200` is one GPU, `h200x8` a machine of eight. Unlike libtpu, CUDA's compiler wants the GPU; where
it is missing, a TPU with as many devices stands in for it (see `stand_in`).
"""

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from jaxreason.errors import InputError
from jaxreason.sharding.topologies import TOPOLOGIES, Chip, Topology, topology

MIB = 2**20
SHARE = 0.95
"""Of a GPU's memory that a program may use, if XLA_PYTHON_CLIENT_MEM_FRACTION says so (JAX takes
0.75 by default); CUDA's context, its libraries and NCCL need the rest."""

GPUS = {
    # memory: as `nvidia-smi` reports it; rates: NVIDIA's data sheets of the SXM modules, dense
    # bfloat16 and NVLink in one direction; networks differ between machines, and none is assumed
    "a100-80gb": Chip("A100", 1, int(SHARE * 81920 * MIB), 312e12, 2039e9, 300e9, 1, 0.0),
    "h100": Chip("H100", 1, int(SHARE * 81559 * MIB), 989e12, 3350e9, 450e9, 1, 0.0),
    "h200": Chip("H200", 1, int(SHARE * 143771 * MIB), 989e12, 4800e9, 450e9, 1, 0.0),
    "b200": Chip("B200", 1, int(SHARE * 183359 * MIB), 2250e12, 8000e9, 900e9, 1, 0.0),
}
PER_HOST = (1, 2, 4, 8)


@dataclass(frozen=True)
class GpuTopology:
    """One machine; it has the attributes of a TPU slice (`Topology`) that preflight reads.

    Attributes:
        name: such as `h200x8`.
        chip: its GPUs.
        devices: how many.
    """

    name: str
    chip: Chip
    devices: int
    hosts: int = 1
    libtpu_name: str = ""

    @property
    def chips(self) -> int:
        """GPUs of the machine."""
        return self.devices


def is_gpu(name: str) -> bool:
    """Whether a topology's name is meant as that of a machine with GPUs."""
    return re.fullmatch(r"(.+?)(x\d+)?", name.lower())[1] in GPUS  # type: ignore[index]


def gpu_topology(name: str) -> GpuTopology:
    """The machine of this name.

    Raises:
        InputError: there is none; says which there are.
    """
    found = re.fullmatch(r"(.+?)(?:x(\d+))?", name.lower())
    chip = GPUS.get(found[1]) if found else None
    count = int(found[2] or 1) if found else 0
    if chip is None or count not in PER_HOST:
        raise InputError(
            f"topology {name!r} is unknown; expected one of {', '.join(GPUS)}, with x2, x4 or x8 "
            "for machines of several (h200x8)"
        )
    return GpuTopology(name.lower(), chip, count)


def any_topology(name: str) -> Topology | GpuTopology:
    """The slice or machine of this name.

    Raises:
        InputError: there is none.
    """
    if is_gpu(name):
        return gpu_topology(name)
    try:
        return topology(name)
    except InputError as error:
        raise InputError(f"{error}; or of GPUs: {', '.join(GPUS)}, with x2, x4 or x8") from None


def gpus_here(found: GpuTopology, hosts: int = 1) -> bool:
    """Whether this machine has these GPUs, enough of them, and JAX is not kept from using them.

    Asks `nvidia-smi`, so that JAX need not be imported before its environment is settled.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return False
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    return sum(found.chip.kind in name for name in names) >= found.devices * hosts


def stand_in(found: GpuTopology, hosts: int = 1) -> Topology:
    """The TPU slice to compile for where the GPUs are missing: as many devices with one mesh.

    Of those generations with the most memory per device. What a TPU's compiler keeps for the
    backward pass follows from the same program and the same `model.remat`; it has bfloat16 matrix
    products and, in Splash, attention that holds no scores, as cuDNN's does.

    Raises:
        InputError: there is no slice of so many devices.
    """
    wanted = found.devices * hosts
    for family in ("v5p", "tpu7x"):
        for name, slice_ in TOPOLOGIES.items():
            if name.startswith(f"{family}-") and slice_.devices == wanted:
                return slice_
    raise InputError(
        f"no TPU slice has {wanted} devices to stand in for {hosts} x {found.name}; expected 1, 2, "
        "4, 8 or more by powers of two"
    )


def gpu_devices(found: GpuTopology, hosts: int = 1) -> list[Any]:
    """The GPUs of this machine to compile for.

    Raises:
        InputError: JAX sees fewer of them.
    """
    import jax

    here = [device for device in jax.devices() if found.chip.kind in device.device_kind]
    wanted = found.devices * hosts
    if len(here) < wanted:
        raise InputError(
            f"nvidia-smi lists {wanted} {found.chip.kind} or more, but JAX uses "
            f"{jax.devices()[0].device_kind}: install jaxreason[cuda13], or set JAX_PLATFORMS=cpu "
            "for an estimate from a TPU's compiler"
        )
    return here[:wanted]
