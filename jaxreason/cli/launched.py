"""What a process that `jaxreason launch` starts is given: variables, devices, a port, an end."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from jaxreason.errors import InputError


def environment(
    around: Mapping[str, str], coordinator: str, count: int, index: int, devices: int
) -> dict[str, str]:
    """The variables of one process: its place among the others, and its devices.

    Args:
        around: our own environment.
        coordinator: HOST:PORT at which the processes meet.
        count: how many there are.
        index: which of them.
        devices: of each.
    """
    gpus = around.get("CUDA_VISIBLE_DEVICES")
    first = index * devices
    numbers = [str(i) for i in range(first, first + devices)]
    own = numbers if gpus is None else gpus.split(",")[first : first + devices]
    flags = around.get("XLA_FLAGS", "").split()
    # Two ways to say how many CPU devices there are would be an error.
    kept = [flag for flag in flags if "xla_force_host_platform_device_count" not in flag]
    return {
        **around,
        "JAXREASON_COORDINATOR": coordinator,
        "JAXREASON_PROCESSES": str(count),
        "JAXREASON_PROCESS": str(index),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "CUDA_VISIBLE_DEVICES": ",".join(own),
        "XLA_FLAGS": " ".join(kept),
        "PYTHONUNBUFFERED": "1",
    }


def check_gpus(around: Mapping[str, str], count: int, devices: int) -> None:
    """That every process gets its GPUs; one without would run on the CPU, and say nothing of it.

    Args:
        around: our own environment.
        count: how many processes there will be.
        devices: of each.

    Raises:
        InputError: CUDA_VISIBLE_DEVICES names some, but too few.
    """
    visible = around.get("CUDA_VISIBLE_DEVICES", "")
    named = 0 if visible in ("", "-1") else len(visible.split(","))
    needed = count * devices
    if 0 < named < needed and around.get("JAX_PLATFORMS") != "cpu":
        raise InputError(
            f"--processes {count} x --devices-per-process {devices} needs "
            f"{needed} GPUs, but CUDA_VISIBLE_DEVICES={visible} names {named}; name more, or set "
            "JAX_PLATFORMS=cpu for processes without GPUs"
        )


@contextmanager
def held_port() -> Iterator[int]:
    """A free port that nobody else is given until process 0 listens at it, and after.

    Two sockets may have the same port as long as both set SO_REUSEADDR and only one listens.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def ended_with_us() -> Callable[[], None] | None:
    """What a child calls to get SIGTERM should this process be killed; None where it cannot."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent, death_signal = ctypes.CDLL(None), os.getpid(), 1  # PR_SET_PDEATHSIG

    def ask() -> None:
        library.prctl(death_signal, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(143)

    return ask
