"""A program compiled for a topology: does it fit, what does it send, how long may it take."""

import re
import time
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxreason.errors import FailureError
from jaxreason.sharding.topologies import GIB, Topology
from jaxreason.training.preflight.collectives import DCN, ICI, Traffic, collectives, total
from jaxreason.training.preflight.hlo import parse, runs
from jaxreason.training.preflight.products import executed_flops
from jaxreason.training.preflight.programs import Planned
from jaxreason.training.preflight.traffic import hbm_bytes


@dataclass
class Estimate:
    """A roofline: seconds that each resource alone would need; the longest is the step's.

    An estimate: everything runs at the rates of the data sheet (an efficiency of 1), all links of a
    device that the slice uses carry at once, and everything overlaps without gaps, all of which
    flatters. Memory traffic is counted instruction by instruction and is rather too much
    (`traffic.hbm_bytes`).

    Attributes:
        compute: FLOPs at the peak: the matrix products that are executed, recomputed ones too
            (`products.executed_flops`), or the model FLOPs where these are more, because kernels
            written by hand are not among the products.
        hbm: traffic between processor and memory.
        ici: traffic within the slice.
        dcn: traffic between slices.
        model: model FLOPs at the peak; 0 where no formula is known.
        certain: False where a loop has no bound that the program's text tells; what is in it is
            counted once then, and everything here is "at least".
    """

    compute: float
    hbm: float
    ici: float
    dcn: float
    model: float = 0.0
    certain: bool = True

    @property
    def seconds(self) -> float:
        """Of one call."""
        return max(self.compute, self.hbm, self.ici, self.dcn)

    @property
    def bound(self) -> str:
        """The resource that takes longest."""
        return max(("compute", "hbm", "ici", "dcn"), key=lambda name: getattr(self, name))

    @property
    def mfu(self) -> float | None:
        """Model FLOP utilisation (0 to 1): recomputation lowers it; None without a formula."""
        return self.model / self.seconds if self.model else None


@dataclass
class Report:
    """What is known of one program.

    Attributes:
        name: of the program.
        calls: in one training step.
        fits: whether it compiled within the memory of a device, with what lies there besides.
        memory: category to bytes on one device.
        needed: their sum; None where the compiler refused before saying.
        available: bytes a program may use.
        refusal: the compiler's own words, if it refused.
        note: what else is to be known of the memory.
        undonated: bytes of the state that are not written over in place.
        seconds_to_compile: wall time.
        flops: model FLOPs of one call over all devices.
        executed_flops: of the matrix products of one call on one device.
        certain: False where a loop has no known bound: its content is counted once.
        traffic: collectives.
        hbm_traffic: bytes between processor and memory of one device.
        estimate: see `Estimate`.
    """

    name: str
    calls: float
    fits: bool
    memory: dict[str, int]
    needed: int | None
    available: int
    refusal: str | None = None
    undonated: int = 0
    seconds_to_compile: float = 0.0
    flops: float | None = None
    executed_flops: float = 0.0
    certain: bool = True
    traffic: list[Traffic] = field(default_factory=list)
    hbm_traffic: float = 0.0
    estimate: Estimate | None = None
    note: str | None = None


def analyse(planned: Planned, topology: Topology, slices: int = 1) -> Report:
    """Compile a program and look at it.

    Raises:
        FailureError: it does not compile for another reason than memory.
    """
    began = time.perf_counter()
    given = {**planned.arguments, **{f"{n} (besides)": x for n, x in planned.resident.items()}}
    report = Report(
        planned.name, planned.calls, False, given, None, topology.chip.hbm_bytes,
        flops=planned.flops,
    )  # fmt: skip
    try:
        compiled = planned.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        report.seconds_to_compile = time.perf_counter() - began
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise FailureError(f"{planned.name} does not compile: {error}") from error
        report.refusal = str(error).split("RESOURCE_EXHAUSTED:")[-1].strip().splitlines()[0]
        report.needed = needed_by(str(error), sum(planned.resident.values()))
        return report
    report.seconds_to_compile = time.perf_counter() - began
    _memory(report, planned, compiled.memory_analysis())
    module = parse(compiled.as_text())
    devices = topology.devices * slices
    report.traffic = collectives(module, devices)
    report.hbm_traffic = hbm_bytes(module)
    report.executed_flops = executed_flops(module, planned.seen)
    report.certain = all(run.certain for run in runs(module))
    report.estimate = estimate(report, topology, devices)
    return report


def _memory(report: Report, planned: Planned, found: Any) -> None:
    """Fills in what the compiler says of memory."""
    shapes = sum(planned.arguments.values())
    report.memory |= {
        "padding": max(found.argument_size_in_bytes - shapes, 0),
        "activations and temporaries": found.temp_size_in_bytes,
        "outputs": max(found.output_size_in_bytes - found.alias_size_in_bytes, 0),
        "program": found.generated_code_size_in_bytes,
    }
    report.memory = {name: count for name, count in report.memory.items() if count}
    report.needed = sum(report.memory.values())
    report.undonated = max(planned.donated - found.alias_size_in_bytes, 0)
    report.fits = report.needed <= report.available


def needed_by(refusal: str, resident: int) -> int | None:
    """Bytes the compiler says a program would have needed."""
    units = {"K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
    found = re.search(r"(?:Used|\() ?([\d.]+)([KMGT])", refusal)
    return None if found is None else int(float(found[1]) * units[found[2]]) + resident


def estimate(report: Report, topology: Topology, devices: int) -> Estimate:
    """The roofline of a program on so many devices of slices of this kind."""
    chip = topology.chip
    model = (report.flops or 0.0) / (devices * chip.peak_flops)
    return Estimate(
        compute=max(model, report.executed_flops / chip.peak_flops),
        hbm=report.hbm_traffic / chip.hbm_bandwidth,
        ici=total(report.traffic, ICI) / (chip.ici_bandwidth * topology.ici_links),
        dcn=total(report.traffic, DCN) / chip.dcn_bandwidth,
        model=model,
        certain=report.certain,
    )
