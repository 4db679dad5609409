"""Bytes that a compiled program moves between its processor and its main memory (HBM)."""

from jaxreason.training.preflight.hlo import (
    Computation,
    Instruction,
    Module,
    arrays,
    elements,
    runs,
)

_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "opt-barrier", "iota", "domain"),
    *("copy-done", "slice-done", "dynamic-slice-done", "send", "send-done", "recv", "recv-done"),
    *("async-done", "async-update", "all-gather-done", "all-reduce-done"),
    *("collective-permute-done",),
}


def hbm_bytes(module: Module) -> float:
    """Reads and writes of one call on one device, counting what stays in faster memories as free.

    Every instruction reads its operands and writes its result once. Of an operand that is only
    sliced, the slices count; of a result that is updated in place, the update. An upper bound
    where the compiler keeps something close without saying so in the layout.
    """
    total = 0.0
    for run in runs(module):
        instructions = module.computations[run.name]
        once = sum(_moved(module, instructions, one) for one in instructions.values())
        total += once * run.times
    return total


def _moved(module: Module, instructions: Computation, one: Instruction) -> float:
    if one.opcode in _FREE:
        return 0.0
    if one.opcode == "dynamic-slice":
        return 2.0 * _hbm(one.shape)
    if one.opcode == "dynamic-update-slice":
        update = instructions.get(one.operands[1])
        return 2.0 * (_hbm(update.shape) if update else 0.0)
    called = one.attribute("calls") if one.opcode == "fusion" else None
    if called is None:
        read = sum(_hbm(instructions[x].shape) for x in one.operands if x in instructions)
        written = _hbm(elements(one.shape)[-1] if one.opcode.endswith("-start") else one.shape)
        return read + written
    inside = module.computations[called]
    read = 0.0
    for place, operand in enumerate(one.operands):
        if operand in instructions and (whole := _hbm(instructions[operand].shape)):
            read += min(whole, _read_inside(module, inside, place, whole))
    return read + _written_inside(module.root(called), inside, one)


def _hbm(shape: str) -> float:
    return float(sum(count for count, in_hbm in arrays(shape) if in_hbm))


def _whole(shape: str) -> float:
    return float(sum(count for count, _ in arrays(shape)))


def _read_inside(module: Module, inside: Computation, place: int, whole: float) -> float:
    """Bytes of the operand at `place` that a fusion reads."""
    for one in inside.values():
        if one.opcode == "parameter" and one.text == str(place):
            return _read_by(module, inside, one.name, whole)
    return whole


def _read_by(module: Module, inside: Computation, name: str, whole: float) -> float:
    """Bytes that the users of `name` read of it: slices where they only slice, else all."""
    users = [one for one in inside.values() if name in one.operands]
    read = 0.0
    for user in users:
        if user.opcode == "dynamic-slice":
            read += _whole(user.shape)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
            continue
        elif user.opcode == "fusion" and (called := user.attribute("calls")):
            deeper = module.computations[called]
            for position in (i for i, operand in enumerate(user.operands) if operand == name):
                read += _read_inside(module, deeper, position, whole)
        elif user.opcode == "bitcast":
            read += _read_by(module, inside, user.name, whole)
        else:
            return whole
    return read


def _written_inside(root: Instruction, inside: Computation, fusion: Instruction) -> float:
    """Bytes of a fusion's results that it writes."""
    parts = [inside.get(x) for x in root.operands] if root.opcode == "tuple" else [root]
    written = 0.0
    for shape, part in zip(elements(fusion.shape), parts, strict=False):
        if part is not None and part.opcode == "dynamic-update-slice":
            update = inside.get(part.operands[1])
            written += min(_hbm(shape), _whole(update.shape) if update else 0.0)
        else:
            written += _hbm(shape)
    return written
