"""What devices send each other in one call of a compiled program."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from jaxreason.training.preflight.hlo import Instruction, Module, Run, elements, runs, size

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
ICI, DCN = "ICI", "DCN"


@dataclass
class Traffic:
    """The collectives of one kind over one network.

    Attributes:
        kind: such as `all-gather`.
        network: "ICI" within a slice, "DCN" between slices.
        count: executions in one call of the program.
        bytes: what one device sends in them.
        certain: False where a loop around some of them has no known bound; they count once then.
    """

    kind: str
    network: str
    count: float = 0
    bytes: float = 0
    certain: bool = True


def collectives(module: Module, devices: int) -> list[Traffic]:
    """Collectives by kind and network, the most bytes first.

    A ring sends (n-1)/n of the whole for all-gather, reduce-scatter and all-to-all over n devices,
    twice that for all-reduce; a permutation sends its operand. Between slices libtpu writes sends
    of what has been reduced within a slice, which are counted as they are.

    Args:
        module: the program.
        devices: it runs on, for groups that are left out.
    """
    found: dict[tuple[str, str], Traffic] = {}
    for place, run in _places(module):
        for kind, network, sent in _sent(module, *place, run.name, devices):
            entry = found.setdefault((kind, network), Traffic(kind, network))
            entry.count += run.times
            entry.bytes += sent * run.times
            entry.certain = entry.certain and run.certain
    return sorted(found.values(), key=lambda entry: -entry.bytes)


def _places(module: Module) -> Iterator[tuple[tuple[Instruction, str], Run]]:
    """Every instruction, with its fusion's name or "", and how often it runs.

    TPU programs split a collective over fusions that run beside it, even in a loop that runs
    meanwhile; its parts share a `chain_id`, and the one that runs least counts.
    """
    chains: dict[str, tuple[tuple[Instruction, str], Run]] = {}
    for run in runs(module):
        for place in _instructions(module, run.name):
            chain = re.search(r'chain_id="(\w+)"', place[0].attributes)
            if chain is None:
                yield place, run
            elif chain[1] not in chains or run.times < chains[chain[1]][1].times:
                chains[chain[1]] = (place, run)
    yield from chains.values()


def _sent(
    module: Module, one: Instruction, inside: str, name: str, devices: int
) -> Iterator[tuple[str, str, float]]:
    """(kind, network, bytes) of an instruction, if it is a collective."""
    if one.opcode == "send" and "megascale" in one.attributes:
        yield _megascale_kind(one), DCN, float(size(elements(one.shape)[0]))
    kind = one.opcode.removesuffix("-start")
    if kind not in KINDS:
        return
    whole = _whole(one, module, inside or name)
    # An all-reduce of which every device keeps its own part.
    if kind == "all-reduce" and inside.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"
    yield kind, ICI, _ring(kind, whole, group_size(one, devices))


def _instructions(module: Module, name: str) -> Iterator[tuple[Instruction, str]]:
    """The instructions of a computation and of its fusions, with the fusion's name or ""."""
    for one in module.computations[name].values():
        yield one, ""
        if one.opcode == "fusion" and (called := one.attribute("calls")):
            yield from ((part, called) for part in module.computations[called].values())


def _megascale_kind(one: Instruction) -> str:
    found = re.search(r'rendezvous="([a-z\-]+)', one.attributes)
    kind = found.group(1).strip("-") if found else "send"
    return kind if kind in KINDS else "send"


def _whole(one: Instruction, module: Module, computation: str) -> int:
    """Bytes of the arrays as they are on all devices of a group together, or reduced."""
    if one.opcode == "reduce-scatter":
        instructions = module.computations[computation]
        return sum(size(instructions[name].shape) for name in one.operands if name in instructions)
    parts = elements(one.shape)
    if one.opcode in ("all-gather-start", "collective-permute-start") and len(parts) > 1:
        return size(parts[1])
    return size(one.shape)


def _ring(kind: str, whole: int, group: int) -> float:
    if kind == "collective-permute":
        return float(whole)
    passes = 2 if kind == "all-reduce" else 1
    return passes * whole * (group - 1) / group if group > 1 else 0.0


def group_size(one: Instruction, devices: int) -> int:
    """Devices of one group, from any of the three ways in which XLA writes `replica_groups`."""
    text = one.attributes
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", text):
        sizes = {name: int(count) for name, count in re.findall(r"'([^']+)'=(\d+)", named.group(1))}
        return math.prod(sizes[name] for name in re.findall(r"'([^']+)'", named.group(2)))
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return len(listed.group(1).split(","))
    if strided := re.search(r"replica_groups=\[(\d+),(\d+)\]<=", text):
        return int(strided.group(2))
    return devices


def total(traffic: list[Traffic], network: str) -> float:
    """Bytes that one device sends over a network."""
    sums: dict[str, float] = defaultdict(float)
    for entry in traffic:
        sums[entry.network] += entry.bytes
    return sums[network]
