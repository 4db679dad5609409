"""FLOPs of the matrix products that a compiled program executes, recomputation included."""

import math
import re
from typing import NamedTuple

import numpy as np

from jaxreason.training.preflight.hlo import Computation, Instruction, Module, runs, sizes

_WINDOW = {"size": 1, "stride": 1, "lhs_dilate": 1, "rhs_dilate": 1}


class Sweep(NamedTuple):
    """How a convolution goes along one spatial axis.

    Attributes:
        size: of the kernel.
        stride: of the kernel.
        before: zeros put before the first element; negative cuts elements off.
        lhs_dilate: distance of elements of the input, zeros between them.
        rhs_dilate: distance of elements of the kernel.
    """

    size: int
    stride: int
    before: int
    lhs_dilate: int
    rhs_dilate: int


_KERNELS = (("_fwd", 2), ("_dkv", 4), ("_dq", 3))
"""Splash attention's kernels by part of their names, and the products of queries with keys (or of
what has their shapes) in each; the last two recompute the scores."""


def executed_flops(module: Module, seen: float = 1.0) -> float:
    """Multiplications and additions of one call's matrix products, on one device.

    Counts `dot` and `convolution` (which TPUs make of every `dot`), in fusions too, times the trips
    of the loops around them, two for each multiplication with an element that is not padding, and
    the products in kernels of Splash attention by the shapes of queries and keys. Other kernels
    written by hand say nothing of what they multiply and are left out, and so is everything
    elementwise.

    Args:
        module: the program.
        seen: share of the keys that a query of Splash attention sees: 1/2 under a causal mask.
    """
    return sum(run.times * _computation_flops(module, run.name, seen) for run in runs(module))


def _computation_flops(module: Module, name: str, seen: float) -> float:
    """FLOPs of one execution of a computation and of the fusions in it."""
    instructions = module.computations[name]
    total = 0.0
    for one in instructions.values():
        if one.opcode == "fusion" and (called := one.attribute("calls")):
            total += _computation_flops(module, called, seen)
        elif one.opcode == "dot":
            total += _dot_flops(instructions, one)
        elif one.opcode == "convolution":
            total += _convolution_flops(instructions, one)
        elif one.opcode == "custom-call" and one.name.startswith("splash"):
            total += seen * _splash_flops(instructions, one)
    return total


def _splash_flops(instructions: Computation, one: Instruction) -> float:
    """Of a kernel if every query saw every key."""
    shapes = [instructions[x].shape for x in one.operands if x in instructions]
    # [..., queries, width], then [..., keys, width]; tables of blocks before them are of integers.
    queries, keys = [sizes(shape) for shape in shapes if re.match(r"b?f\d", shape)][:2]
    products = next((count for part, count in _KERNELS if part in one.name), 0)
    return 2.0 * products * math.prod(queries) * keys[-2]


def _dot_flops(instructions: Computation, one: Instruction) -> float:
    left = sizes(instructions[one.operands[0]].shape)
    found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
    summed = [int(axis) for axis in found[1].split(",") if axis] if found else []
    return 2.0 * math.prod(sizes(one.shape)) * math.prod(left[axis] for axis in summed)


def _convolution_flops(instructions: Computation, one: Instruction) -> float:
    found = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    if found is None:
        raise ValueError(f"the convolution {one.name} has no dim_labels")
    left, right, result = (
        dict(zip(labels, shape, strict=True))
        for labels, shape in zip(
            found.groups(),
            (*(sizes(instructions[x].shape) for x in one.operands[:2]), sizes(one.shape)),
            strict=True,
        )
    )
    # The kernel's input features are those of one group; so are the rows where rows are grouped.
    groups = re.search(r"batch_group_count=(\d+)", one.attributes)
    rows = left["b"] / (int(groups[1]) if groups else 1)
    products = rows * right["i"] * right["o"]
    for axis in (label for label in result if label.isdigit()):
        sweep = _sweep(one.attributes, int(axis))
        products *= _valid_positions(sweep, left[axis], result[axis])
    return 2.0 * products


def _sweep(attributes: str, axis: int) -> Sweep:
    """The window of a convolution along one of its spatial axes."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    given = dict(re.findall(r"(\w+)=([\w\-]+)", found[1])) if found else {}
    parts = {name: given[name].split("x")[axis] for name in given}
    numbers = {name: int(parts.get(name, default)) for name, default in _WINDOW.items()}
    before = int(parts.get("pad", "0_0").split("_")[0])
    return Sweep(before=before, **numbers)


def _valid_positions(sweep: Sweep, count: int, results: int) -> int:
    """Pairs of a kernel element and a result that meet an element of the input, not a zero."""
    found = 0
    for element in range(sweep.size):
        places = np.arange(results) * sweep.stride + element * sweep.rhs_dilate - sweep.before
        inside = (places >= 0) & (places <= (count - 1) * sweep.lhs_dilate)
        found += int(np.count_nonzero(inside & (places % sweep.lhs_dilate == 0)))
    return found
