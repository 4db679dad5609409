"""Compiled programs as text, read back: computations, instructions, and how often each runs.

XLA's own cost analysis counts the body of a loop once; here a scanned stack of 32 layers counts 32
times. Only what the analyses beside need is understood.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_BITS = {"pred": 8, "token": 0, "opaque": 0, "s4": 4, "u4": 4, "s2": 2, "u2": 2, "s1": 1, "u1": 1}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(
    r"(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+))"
)


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
        name: unique in its module.
        opcode: such as `all-gather-start`.
        shape: type and layout of the result, as text.
        operands: names of what it reads.
        text: everything in its parentheses.
        attributes: everything after them.
        root: whether it is the result of its computation.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    text: str
    attributes: str
    root: bool

    def attribute(self, name: str) -> str | None:
        """The word after `name=`, without a leading %."""
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
        return found.group(1) if found else None


Computation = dict[str, Instruction]


@dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
        computations: by name.
        entry: the one that runs.
    """

    computations: dict[str, Computation]
    entry: str

    def root(self, name: str) -> Instruction:
        """The result of a computation."""
        return next(one for one in self.computations[name].values() if one.root)


class Run(NamedTuple):
    """A computation that the program comes through on its own, not within a fusion.

    Attributes:
        name: of the computation.
        times: how often a call of the program runs it, at most.
        certain: False if a loop around it has no bound that the text tells; it counts once then.
    """

    name: str
    times: float
    certain: bool


def parse(text: str) -> Module:
    """Reads the text of a compiled program (`compiled.as_text()`)."""
    computations: dict[str, Computation] = {}
    entry, current = "", {}
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = computations.setdefault(head.group(2), {})
            entry = head.group(2) if head.group(1) else entry
        elif found := _NAME.match(line):
            one = _instruction(line[found.end() :], found.group(2), bool(found.group(1)))
            if one is not None:
                current[one.name] = one
    if not entry:
        raise ValueError("the text has no ENTRY computation")
    return Module(computations, entry)


def _instruction(rest: str, name: str, root: bool) -> Instruction | None:
    end = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
    shape, call = rest[:end].strip(), rest[end:].lstrip()
    start = call.find("(")
    if start < 0:
        return None
    stop = _closing(call, start)
    inside = call[start + 1 : stop - 1]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, call[:start], shape, operands, inside, call[stop:], root)


def _closing(text: str, start: int) -> int:
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for found in re.finditer(r"[()]", text[start:]):
        depth += 1 if found.group() == "(" else -1
        if depth == 0:
            return start + found.end()
    return len(text)


def arrays(shape: str) -> Iterator[tuple[int, bool]]:
    """(bytes, in HBM) of every array of a shape; TPUs mark other memories with S(n) in a layout."""
    for found in _ARRAY.finditer(re.sub(r"/\*.*?\*/", "", shape)):
        kind, dimensions, layout = found.groups()
        width = re.search(r"\d+", kind)
        bits = _BITS[kind] if kind in _BITS else int(width.group()) if width else 0
        yield -(-math.prod(_dimensions(dimensions)) * bits // 8), "S(" not in (layout or "")


def _dimensions(text: str) -> list[int]:
    return [int(size.lstrip("<=")) for size in text.split(",") if size]


def sizes(shape: str) -> list[int]:
    """The dimensions of an array, of a tuple's first array."""
    found = _ARRAY.search(shape)
    return _dimensions(found.group(2)) if found else []


def size(shape: str) -> int:
    """Bytes of all arrays of a shape, wherever they are."""
    return sum(count for count, _ in arrays(shape))


def elements(shape: str) -> list[str]:
    """The parts of a tuple shape; of another, the shape itself."""
    if not shape.startswith("("):
        return [shape]
    parts, depth, first = [], 0, 1
    for found in re.finditer(r"[(){}\[\],]", shape[:-1]):
        mark = found.group()
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        elif depth == 1:
            parts.append(shape[first : found.start()].strip())
            first = found.end()
    return [*parts, shape[first:-1].strip()]


def runs(module: Module) -> list[Run]:
    """Every computation outside fusions, with how often it runs; loops inside loops multiply."""
    found: dict[str, Run] = {}

    def visit(name: str, times: float, certain: bool) -> None:
        before = found.get(name)
        total = times + (before.times if before else 0)
        found[name] = Run(name, total, certain and (before is None or before.certain))
        for one in module.computations[name].values():
            if one.opcode == "while":
                trips = trip_count(module, name, one)
                body = one.attribute("body")
                assert body is not None
                visit(body, times * (1 if trips is None else trips), certain and trips is not None)
            elif one.opcode in ("call", "async-start"):
                for called in _CALLED.findall(one.attributes):
                    visit(called, times, certain)
            elif one.opcode == "conditional":
                for several, single in _BRANCHES.findall(one.attributes):
                    for branch in re.findall(r"[\w.\-]+", several or single):
                        visit(branch, times, certain)

    visit(module.entry, 1.0, True)
    return list(found.values())


def trip_count(module: Module, place: str, loop: Instruction) -> int | None:
    """How often a loop runs at most; None when the text does not tell.

    XLA's own `known_trip_count` where it is given; else the constant that the condition compares
    the counter with (counters begin at 0 but for loops whose start is another constant). A
    condition that also may stop earlier gives the bound.
    """
    known = re.search(r"known_trip_count\W+n\W+(\d+)", loop.attributes)
    if known:
        return int(known.group(1))
    condition = loop.attribute("condition")
    if condition is None:
        return None
    bounds = list(_bounds(module, condition))
    if not bounds:
        return None
    limit, index = min(bounds, key=lambda bound: bound[0])
    return max(limit - _start(module, place, loop, index), 0)


def _bounds(module: Module, name: str) -> Iterator[tuple[int, int | None]]:
    """(limit, place of the counter in the loop's state) of comparisons in a condition."""
    instructions = module.computations[name]
    for one in instructions.values():
        if one.opcode == "fusion" and (called := one.attribute("calls")):
            # Comparisons with constants inside; constants passed in are not followed.
            yield from ((limit, None) for limit, _ in _bounds(module, called))
        if one.opcode != "compare":
            continue
        direction = one.attribute("direction")
        left, right = (_constant(instructions, operand) for operand in one.operands)
        counter = one.operands[0 if left is None else 1]
        index = instructions[counter].attribute("index") if counter in instructions else None
        place = int(index) if index and index.isdigit() else None
        if right is not None and direction in ("LT", "LE"):
            yield right + (direction == "LE"), place
        elif left is not None and direction in ("GT", "GE"):
            yield left + (direction == "GE"), place


def _constant(instructions: Computation, name: str) -> int | None:
    one = instructions.get(name)
    while one is not None and one.opcode in ("copy", "bitcast", "convert") and one.operands:
        one = instructions.get(one.operands[0])
    if one is None or one.opcode != "constant":
        return None
    return int(one.text) if re.fullmatch(r"-?\d+", one.text) else None


def _start(module: Module, place: str, loop: Instruction, index: int | None) -> int:
    """The counter's first value: a constant of the tuple the loop starts from, else 0."""
    state = module.computations[place].get(loop.operands[0]) if loop.operands else None
    if index is None or state is None or state.opcode != "tuple" or index >= len(state.operands):
        return 0
    return _constant(module.computations[place], state.operands[index]) or 0
