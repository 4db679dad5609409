"""All programs of a run, compiled for a topology and judged."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxreason.sharding.gpus import GpuTopology, any_topology
from jaxreason.sharding.mesh import BATCH_AXES, make_mesh
from jaxreason.sharding.topologies import Topology, topology_devices
from jaxreason.training.preflight.analysis import Report, analyse
from jaxreason.training.preflight.gpu import analyse_for_gpus, compiler_for
from jaxreason.training.preflight.programs import Planned, planned_programs
from jaxreason.training.preflight.search import Found, search

SCHEMA = 2
"""Of the JSON object; see `Preflight.as_json`."""


@dataclass(frozen=True)
class Preflight:
    """What is known of a run before it runs.

    Attributes:
        topology: the slice, or the machine with GPUs.
        slices: how many of it.
        mesh: axis to devices along it.
        reports: one per program.
        compiled_for: of GPUs, what the programs were compiled for; "" for TPUs.
    """

    topology: Topology | GpuTopology
    slices: int
    mesh: dict[str, int]
    reports: list[Report]
    compiled_for: str = ""

    @property
    def fits(self) -> bool:
        """Whether every program fits."""
        return all(report.fits for report in self.reports)

    def as_json(self) -> dict[str, Any]:
        """One JSON object, bytes and seconds and FLOPs as plain numbers.

        `schema` (2), `fits`, `topology` {name, slices, chips, hosts, devices, libtpu_name,
        hbm_bytes}, `compiled_for` (of GPUs; "" for TPUs), `mesh` {axis: devices}, `versions` {jax,
        libtpu (null where it is not installed)} and `programs`, a list of {name, calls (in one
        training step), fits, refusal (of the compiler, or null), note (on the memory, or null),
        memory {category: bytes on one device}, needed, available, undonated, seconds_to_compile,
        flops (of all devices, by formula; null if not known), executed_flops (of matrix products
        on one device), certain (false where a loop without a known bound is counted once),
        hbm_traffic (bytes on one device), traffic [{kind, network, count, bytes (sent by one
        device), certain}], estimate {seconds, bound, compute, hbm, ici, dcn, model, certain, mfu}
        or null}.
        Everything under `estimate` is a roofline, not a measurement; see `Estimate`.
        """
        slice_ = self.topology
        return {
            "schema": SCHEMA,
            "fits": self.fits,
            "topology": {
                "name": slice_.name,
                "slices": self.slices,
                "chips": slice_.chips * self.slices,
                "hosts": slice_.hosts * self.slices,
                "devices": slice_.devices * self.slices,
                "libtpu_name": slice_.libtpu_name,
                "hbm_bytes": slice_.chip.hbm_bytes,
            },
            "compiled_for": self.compiled_for,
            "mesh": self.mesh,
            "versions": {"jax": jax.__version__, "libtpu": _libtpu_version()},
            "programs": [report_json(report) for report in self.reports],
        }


def search_json(found: list[Found], name: str, slices: int = 1) -> dict[str, Any]:
    """One JSON object of a search.

    `schema` (2), `topology` {name, slices}, `versions` {jax, libtpu} and `search`, a list of
    {policy, rows (0 if none fits), rows_per_device (of a micro-batch), options (of the command
    line), compiled (programs), program (as in `Preflight.as_json`: of the largest batch that fits,
    or of the smallest)}.
    """
    return {
        "schema": SCHEMA,
        "topology": {"name": name, "slices": slices},
        "versions": {"jax": jax.__version__, "libtpu": _libtpu_version()},
        "search": [
            {
                "policy": one.policy,
                "rows": one.rows,
                "rows_per_device": one.rows_per_device,
                "options": one.options,
                "compiled": one.compiled,
                "program": report_json(one.report),
            }
            for one in found
        ],
    }


def report_json(report: Report) -> dict[str, Any]:
    """The entry of one program; see `Preflight.as_json`."""
    found = dataclasses.asdict(report)
    if (estimate := report.estimate) is not None:
        found["estimate"] |= {
            "seconds": estimate.seconds,
            "bound": estimate.bound,
            "mfu": estimate.mfu,
        }
    return found


def _libtpu_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("libtpu")
    except PackageNotFoundError:
        return None


class Target(NamedTuple):
    """What programs are compiled for.

    Attributes:
        topology: the slice, or the machine with GPUs.
        mesh: of its devices, or of those that stand in for them.
        analyse: compiles a program and judges it.
        compiled_for: see `Preflight`.
    """

    topology: Topology | GpuTopology
    mesh: Mesh
    analyse: Callable[[Planned], Report]
    compiled_for: str


def target(experiment: Any, name: str, slices: int = 1) -> Target:
    """The slices with the mesh that the experiment would make on them.

    Raises:
        InputError: unknown topology, or a mesh that does not fit the devices.
    """
    found = any_topology(name)
    if isinstance(found, GpuTopology):
        compiler = compiler_for(found, slices)
        mesh = make_mesh(experiment.mesh, compiler.devices())
        judge = partial(analyse_for_gpus, compiler=compiler)
        return Target(found, mesh, judge, compiler.description())
    mesh = topology_mesh(experiment, name, slices)
    return Target(found, mesh, lambda planned: analyse(planned, found, slices), "")


def topology_mesh(experiment: Any, name: str, slices: int = 1) -> Mesh:
    """The mesh that the experiment would make on these TPU slices.

    Raises:
        InputError: unknown topology, or a mesh that does not fit the devices.
    """
    return make_mesh(experiment.mesh, topology_devices(name, slices))


def search_batches(
    experiment: Any,
    name: str,
    slices: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> list[Found]:
    """For each remat policy the largest batch tried that fits these slices; see `search`.

    Arguments and errors as for `preflight`.
    """
    aim = target(experiment, name, slices)

    def judge(changed: Any) -> Report:
        # Where batches come in several shapes, the last is the longest and needs the most.
        return aim.analyse(planned_programs(changed, aim.mesh)[-1])

    ways = math.prod(aim.mesh.shape[axis] for axis in BATCH_AXES)
    return search(experiment, ways, judge, say)


def preflight(
    experiment: Any,
    name: str,
    slices: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Preflight:
    """Compile the programs of a training step of `experiment.run` for these slices.

    The update, and in reinforcement learning sampler, log-probabilities and values. Not compiled:
    what is called besides, which may need more memory than a step does. That is initialisation,
    evaluation (validation loss, answers to held-out problems), drawing and scoring completions
    before preference learning, and the scores that process rewards are made of.

    Call `sharding.topologies.prepare_libtpu` before JAX is imported, unless the GPUs are here.

    Args:
        experiment: of any kind.
        name: of the topology, TPUs or GPUs.
        slices: how many slices, or hosts with GPUs.
        say: told what is being compiled.

    Raises:
        InputError: fields that do not fit each other or the devices.
        FailureError: a program does not compile for another reason than memory.
    """
    aim = target(experiment, name, slices)
    reports = []
    for planned in planned_programs(experiment, aim.mesh):
        say(f"compiling {planned.name} for {aim.topology.devices * slices} devices")
        reports.append(aim.analyse(planned))
    return Preflight(aim.topology, slices, dict(aim.mesh.shape), reports, aim.compiled_for)
