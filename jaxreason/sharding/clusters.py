"""Which processes belong to this run: from flags, from variables, or from the cluster around us.

Nothing here waits for another process or touches a device.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.errors import FailureError, InputError

VARIABLES = ("JAXREASON_COORDINATOR", "JAXREASON_PROCESSES", "JAXREASON_PROCESS")
DEFAULT_PORT = 8476
_NAMES = ("coordinator", "processes", "process")
_CLUSTERS = {
    "ompi": "Open MPI",
    "slurm": "Slurm",
    "gketpu": "Cloud TPU on GKE",
    "gcetpu": "Cloud TPU",
    "k8s": "Kubernetes",
}
_TPUS = ("gketpu", "gcetpu")


class Layout(NamedTuple):
    """The processes of a run, and which one this is.

    Attributes:
        coordinator: host and port of process 0, at which the processes meet.
        processes: how many there are, at least 2.
        process: the index of this one.
        found: where this is known from, for people.
        local_devices: the accelerators of this host that are this process's own; None for all.
    """

    coordinator: str
    processes: int
    process: int
    found: str
    local_devices: tuple[int, ...] | None = None


def find_layout(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 1800,
    environment: Mapping[str, str] | None = None,
) -> Layout | None:
    """The processes of this run; None for a single one.

    What is given wins over `VARIABLES`, these over SkyPilot's variables, and those over the
    clusters that JAX knows: Open MPI, Slurm, Cloud TPU and Kubernetes. Those count only with more
    than one process. On the hosts of a TPU slice the TPU wins over SkyPilot, whose numbers may be
    others than those of the hosts in the slice. `processes=1` alone turns detection off.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: how many there are.
        process: the index of this one.
        timeout: seconds to wait until the coordinator's name is known, on clusters that need it.
        environment: `os.environ` by default.

    Raises:
        InputError: a value that does not fit, or only some of the three are given.
        FailureError: the cluster cannot be asked.
    """
    environment = os.environ if environment is None else environment
    given = dict(zip(_NAMES, (coordinator, processes, process), strict=True))
    found = "flags"
    if all(value is None for value in given.values()):
        found = "JAXREASON variables"
        given = {name: environment.get(v) for name, v in zip(_NAMES, VARIABLES, strict=True)}
    given = {name: value for name, value in given.items() if value not in (None, "")}
    if given:
        return _explicit(given, found, environment)
    skypilot = _skypilot(environment)
    if skypilot is None:
        return _cluster(environment, timeout, _CLUSTERS)
    return _cluster(environment, timeout, _TPUS) or skypilot


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = int(value)
    except ValueError:
        raise InputError(f"{name} is {value!r}; expected a whole number") from None
    if number < least:
        raise InputError(f"{name} is {number}; it must be at least {least}")
    return number


def _explicit(
    given: Mapping[str, Any], found: str, environment: Mapping[str, str]
) -> Layout | None:
    labels = dict(zip(_NAMES, VARIABLES, strict=True)) if "variables" in found else {}
    label = {name: labels.get(name, f"--{name}") for name in _NAMES}
    if "processes" in given:
        count = _whole(label["processes"], given["processes"], 1)
        if count == 1 and not _whole(label["process"], given.get("process", 0), 0):
            return None
    missing = [label[name] for name in _NAMES if name not in given]
    if missing:
        raise InputError(
            f"{', '.join(label[n] for n in given)} without {', '.join(missing)}: several processes "
            "need all three, the same coordinator and processes on each"
        )
    index = _whole(label["process"], given["process"], 0)
    if index >= count:
        raise InputError(
            f"{label['process']} is {index}, but {label['processes']} is {count}: processes are "
            f"numbered 0 to {count - 1}"
        )
    address = str(given["coordinator"])
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(
            f"{label['coordinator']} is {address!r}; expected HOST:PORT of process 0, such as "
            f"node1:{DEFAULT_PORT}"
        )
    _refuse_loopback(host, label["coordinator"], address, environment)
    return Layout(address, count, index, found)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means the machine itself, to whoever reads it."""
    host = host.strip("[]").lower()
    return host in ("localhost", "::1", "0.0.0.0", "::") or host.startswith("127.")


def _refuse_loopback(host: str, label: str, value: str, environment: Mapping[str, str]) -> None:
    hosts = _hosts(environment)
    if is_loopback(host) and hosts is not None:
        raise InputError(
            f"{label} is {value}, which is another machine on every host, but {hosts[0]} says "
            f"there are {hosts[1]} hosts; give the name or address of process 0's host"
        )


def _hosts(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """A variable that says there are several hosts, and how many; None if none does."""
    for name in ("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES", "SKYPILOT_NUM_NODES"):
        value = environment.get(name, "")
        if value.isdigit() and int(value) > 1:
            return name, int(value)
    for name in ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):
        machines = {item.split(":")[0] for item in environment.get(name, "").split(",") if item}
        if len(machines) > 1:
            return name, len(machines)
    size = environment.get("OMPI_COMM_WORLD_SIZE", "")
    local = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "")
    if size.isdigit() and local.isdigit() and int(size) > int(local) > 0:
        return "OMPI_COMM_WORLD_SIZE", -(-int(size) // int(local))
    return None


def _skypilot(environment: Mapping[str, str]) -> Layout | None:
    """One process on each of SkyPilot's nodes."""
    names = ("SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS")
    if not all(name in environment for name in names):
        return None
    count = _whole(names[0], environment[names[0]], 1)
    rank = _whole(names[1], environment[names[1]], 0)
    addresses = environment[names[2]].split()
    if count == 1:
        return None
    if len(addresses) != count or rank >= count:
        raise InputError(
            f"SKYPILOT_NODE_IPS has {len(addresses)} addresses and SKYPILOT_NODE_RANK is {rank}, "
            f"but SKYPILOT_NUM_NODES is {count}"
        )
    port = environment.get("JAX_COORDINATOR_PORT", DEFAULT_PORT)
    return Layout(f"{addresses[0]}:{port}", count, rank, "SkyPilot")


def _cluster(environment: Mapping[str, str], timeout: int, names: Collection[str]) -> Layout | None:
    """What the first of JAX's own cluster classes says that finds itself in its cluster."""
    for kind in _known_clusters():
        name = _name(kind)
        if name not in names:
            continue
        if name == "k8s" and not _indexed_job(environment):
            continue
        try:
            if not kind.is_env_present():
                continue
            count = kind.get_process_count()
            if count == 1:
                return None
            port = environment.get("JAX_COORDINATOR_PORT")
            address = kind.get_coordinator_address(timeout, port)
            index = kind.get_process_id()
        # These ask variables, metadata servers and the cluster, which fail each in its own way.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise FailureError(
                f"{_CLUSTERS[name]} cannot say which processes there are "
                f"({type(error).__name__}: {reason}); give --coordinator, --processes and "
                "--process, or --processes 1 for a single one"
            ) from error
        return Layout(
            address, count, index, _CLUSTERS[name], _own_devices(kind, count, environment)
        )
    return None


def _known_clusters() -> Sequence[Any]:
    # JAX has no public name for its detection; `jax.distributed.initialize` detects and starts in
    # one go, also where there is a single process.
    from jax._src.clusters import ClusterEnv

    return [kind for kind in ClusterEnv._cluster_types if _name(kind) in _CLUSTERS]


def _name(kind: Any) -> str:
    # JAX's class for Kubernetes has no name, at least up to 0.11.
    return "k8s" if kind.__name__ == "K8sCluster" else kind.name


def _indexed_job(environment: Mapping[str, str]) -> bool:
    """Whether this is a pod of an indexed Kubernetes job; any other pod is on its own.

    Raises:
        InputError: it is, but the package that asks for the others is missing.
    """
    if not {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= environment.keys():
        return False
    if "TPU_WORKER_HOSTNAMES" not in environment:
        try:
            import kubernetes  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise InputError(
                "this is a pod of an indexed Kubernetes job, and only the package `kubernetes` can "
                f"ask how many there are: install it, set {', '.join(VARIABLES)}, or give "
                "--processes 1 for a single process"
            ) from error
    return True


def _own_devices(kind: Any, count: int, environment: Mapping[str, str]) -> tuple[int, ...] | None:
    """One accelerator for each process of a host; all of them for a host's only process."""
    alone = {
        "slurm": _number(environment, "SLURM_STEP_NUM_NODES") == count,
        "ompi": _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE") == 1,
    }
    if kind.name not in alone or alone[kind.name]:
        return None
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and len(visible.split(",")) == 1:
        return None  # the cluster gave this process its own already
    return (kind.get_local_process_id(),)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    return int(value) if value.isdigit() else 0
