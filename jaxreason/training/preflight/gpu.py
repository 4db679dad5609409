"""Memory of a program on GPUs: exact from shapes, the rest from a compiler that is at hand."""

import time
from dataclasses import dataclass
from typing import Any

import jax

from jaxreason.errors import FailureError
from jaxreason.sharding.gpus import GpuTopology, gpu_devices, gpus_here, stand_in
from jaxreason.sharding.topologies import GIB, Topology, topology_devices
from jaxreason.training.preflight.analysis import Estimate, Report, needed_by
from jaxreason.training.preflight.hlo import parse, runs
from jaxreason.training.preflight.products import executed_flops
from jaxreason.training.preflight.programs import Planned


@dataclass(frozen=True)
class Compiler:
    """What programs for GPUs are compiled for.

    Attributes:
        gpus: the machine asked about.
        hosts: how many of it.
        other: the TPU slice that stands in for it; None where the GPUs are here.
    """

    gpus: GpuTopology
    hosts: int
    other: Topology | None

    def devices(self) -> list[Any]:
        """To make the mesh of."""
        if self.other is None:
            return gpu_devices(self.gpus, self.hosts)
        return topology_devices(self.other.name)

    def description(self) -> str:
        """What the figures are worth, for people."""
        if self.other is None:
            return "activations and temporaries are those of programs compiled for these GPUs"
        return (
            f"an estimate: no {self.gpus.chip.kind} is here, so activations and temporaries are "
            f"those of the same programs compiled for as many TPUs ({self.other.name}), whose "
            "attention keeps no scores, as cuDNN's does (but cuDNN reads a mask for packed rows: "
            "add 2 bytes x rows x length^2); all else is exact, from shapes"
        )


def compiler_for(gpus: GpuTopology, hosts: int = 1) -> Compiler:
    """The GPUs themselves where they are, else their stand-in."""
    return Compiler(gpus, hosts, None if gpus_here(gpus, hosts) else stand_in(gpus, hosts))


def analyse_for_gpus(planned: Planned, compiler: Compiler) -> Report:
    """Compile a program and say what it takes on a GPU.

    No time is estimated but that of matrix products at their peak: what else a TPU's program does
    says little about a GPU's.

    Raises:
        FailureError: it does not compile for another reason than memory.
    """
    began = time.perf_counter()
    chip = compiler.gpus.chip
    held = {**planned.arguments, **{f"{n} (besides)": x for n, x in planned.resident.items()}}
    report = Report(
        planned.name, planned.calls, False, held, None, chip.hbm_bytes, flops=planned.flops
    )
    try:
        compiled = planned.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        report.seconds_to_compile = time.perf_counter() - began
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise FailureError(f"{planned.name} does not compile: {error}") from error
        _refused(report, planned, compiler, str(error))
        return report
    report.seconds_to_compile = time.perf_counter() - began
    found = compiled.memory_analysis()
    temporaries = found.temp_size_in_bytes
    gradients = min(planned.gradients, temporaries)
    report.memory |= {
        "gradients": gradients,
        "activations and temporaries": temporaries - gradients,
        "outputs": max(found.output_size_in_bytes - found.alias_size_in_bytes, 0),
    }
    _judge(report)
    report.undonated = max(planned.donated - found.alias_size_in_bytes, 0)
    _products(report, planned, compiler, compiled.as_text())
    return report


def _judge(report: Report) -> None:
    report.memory = {name: count for name, count in report.memory.items() if count}
    report.needed = sum(report.memory.values())
    report.fits = report.needed <= report.available


def _refused(report: Report, planned: Planned, compiler: Compiler, words: str) -> None:
    """A program larger than the memory it was compiled for: of a GPU, or of its stand-in."""
    refusal = words.split("RESOURCE_EXHAUSTED:")[-1].strip().splitlines()[0]
    needed = needed_by(words, sum(planned.resident.values()))
    if compiler.other is None or needed is None:
        report.refusal, report.needed = refusal, needed
        return
    rest = max(needed - sum(report.memory.values()), 0)
    gradients = min(planned.gradients, rest)
    report.memory |= {"gradients": gradients, "activations and temporaries": rest - gradients}
    _judge(report)
    report.note = (
        f"more than the {compiler.other.chip.hbm_bytes / GIB:.2f} GiB of the stand-in, whose "
        "compiler said what it would have needed after trying to save memory"
    )


def _products(report: Report, planned: Planned, compiler: Compiler, text: str) -> None:
    """The time of matrix products, of those executed where the text tells."""
    chip, devices = compiler.gpus.chip, compiler.gpus.devices * compiler.hosts
    model = (report.flops or 0.0) / (devices * chip.peak_flops)
    if compiler.other is not None:
        # A GPU's products are calls of libraries, which the text does not describe.
        module = parse(text)
        report.executed_flops = executed_flops(module, planned.seen)
        report.certain = all(run.certain for run in runs(module))
    compute = max(model, report.executed_flops / chip.peak_flops)
    report.estimate = Estimate(compute, 0.0, 0.0, 0.0, model=model, certain=False)
