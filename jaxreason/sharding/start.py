"""Joining the processes of a run, before any device is touched."""

import socket
import sys

import jax

from jaxreason.errors import FailureError, InputError
from jaxreason.sharding.clusters import Layout, find_layout, is_loopback
from jaxreason.sharding.lost import end_on_abort


def start_processes(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 1800,
) -> None:
    """Wait until all processes of the run are there and make their devices one set.

    Without arguments and without JAXREASON_COORDINATOR, JAXREASON_PROCESSES and JAXREASON_PROCESS
    the processes are found automatically on SkyPilot, Slurm, Open MPI, Cloud TPU and in indexed
    Kubernetes jobs; anywhere else there is one process, and nothing happens. Process 0 says in one
    line on standard error what was found.

    What the processes do then belongs into `sharding.together.run_together(work)`, in a script of
    one's own, too: without it an error on one process leaves the others waiting.

    Args:
        coordinator: HOST:PORT of process 0, the same on all; any free port will do.
        processes: how many there are; 1 turns detection off.
        process: the index of this one.
        timeout: seconds to wait for the others, which may start minutes apart.

    Raises:
        InputError: a value that does not fit, found before any wait; a coordinator that means
            another machine on every host; or devices were used before.
        FailureError: process 0 cannot use its port, or the cluster cannot be asked.

    If not all processes come in time, JAX's runtime aborts those that wait; they end with exit
    code 43 (`sharding.lost`).
    """
    if timeout < 1:
        raise InputError(f"timeout is {timeout} seconds; it must be at least 1")
    layout = find_layout(coordinator, processes, process, timeout)
    if layout is None:
        return
    if jax.distributed.is_initialized():
        raise InputError("the processes of this run have been joined before; start them once")
    missed = (
        f"the {layout.processes} processes (found through {layout.found}) did not all meet at "
        f"{layout.coordinator} within {timeout} s"
    )
    if layout.process == 0:
        _check_port(layout)
    end_on_abort(layout.process, missed)
    _meet(layout, timeout, missed)
    end_on_abort(layout.process, "another process died, or JAX's runtime aborted this one")
    _say(layout)


def _meet(layout: Layout, timeout: int, missed: str) -> None:
    try:
        _initialize(layout, timeout)
    except Exception as error:
        if "must be called before" in str(error):
            raise InputError(
                "devices were used before the processes were joined; call start_processes first, "
                "and let experiment files make no arrays while they are read"
            ) from error
        reason = (str(error).strip().splitlines() or [""])[0]
        raise FailureError(f"process {layout.process}: {missed}: {reason}") from error


def _say(layout: Layout) -> None:
    """One line on standard error, of process 0; all processes look at their devices for it."""
    devices = jax.device_count()
    if layout.process == 0:
        local = ", all on this host" if is_loopback(layout.coordinator.rpartition(":")[0]) else ""
        print(
            f"jaxreason: {layout.processes} processes{local} (found through {layout.found}), "
            f"{devices} devices ({jax.devices()[0].device_kind}), met at {layout.coordinator}",
            file=sys.stderr,
            flush=True,
        )


def _initialize(layout: Layout, timeout: int) -> None:
    jax.distributed.initialize(
        layout.coordinator,
        layout.processes,
        layout.process,
        layout.local_devices,
        cluster_detection_method="deactivate",
        initialization_timeout=timeout,
        # The default address takes connections from anywhere, which one host does not need.
        coordinator_bind_address=(
            layout.coordinator if is_loopback(layout.coordinator.rpartition(":")[0]) else None
        ),
    )


def _check_port(layout: Layout) -> None:
    """The runtime crashes on a port that is taken, so it is tried first."""
    port = int(layout.coordinator.rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise FailureError(
                f"process 0 cannot listen at port {port} of its host ({error.strerror}); give a "
                "--coordinator with a free one"
            ) from error
