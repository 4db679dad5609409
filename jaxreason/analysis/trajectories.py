"""Which weights changed when, over the checkpoints of a run.

Following Mukherjee et al. (arXiv 2505.11711, section 6 and appendix D): weights ever updated at a
saved checkpoint, those of them that came back (transient) and those that stayed changed (final);
and how much differs from one checkpoint to the next. Besides, how early the final set could have
been told: precision and recall of each checkpoint's set against it. A run keeps its checkpoints
with `train.keep_every`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.equality import Equality, Mode, unchanged
from jaxreason.analysis.names import MATRIX_TYPES, place
from jaxreason.analysis.pairing import align
from jaxreason.analysis.tensors import Checkpoint
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

SCHEMA = "26.1"

Source = str | Path | Checkpoint
"""A checkpoint, or the path of one."""


def run_checkpoints(run: str | Path) -> list[str]:
    """Paths `RUN@STEP` of all checkpoints of a run directory, in order.

    Raises:
        FailureError: there are none.
    """
    root = as_path(run) / "checkpoints"
    names = [item.name for item in root.iterdir()] if root.is_dir() else []
    steps = sorted(int(name) for name in names if name.isdecimal())
    if not steps:
        raise FailureError(f"{run} has no checkpoints; expected a run directory")
    return [f"{run}@{step}" for step in steps]


@dataclass
class _Counts:
    """Numbers of weights at each checkpoint, and in the end."""

    checkpoints: int
    size: int = 0
    final: int = 0
    steps: dict[str, np.ndarray] = field(init=False)

    NAMES = ("changed", "since_last", "ever", "first", "in_final", "ever_outside_final")

    def __post_init__(self) -> None:
        self.steps = {name: np.zeros(self.checkpoints, np.int64) for name in self.NAMES}

    def add(self, other: "_Counts") -> None:
        self.size += other.size
        self.final += other.final
        for name, counts in other.steps.items():
            self.steps[name] += counts

    def sets(self) -> dict[str, Any]:
        ever = int(self.steps["ever"][-1])
        return {
            "size": self.size,
            "never": self.size - ever,
            "transient": ever - self.final,
            "final": self.final,
        }


def trajectory(
    base: Source,
    checkpoints: Sequence[Source],
    mode: Mode = "absolute",
    tolerance: float | None = None,
    read_dtype: Literal["bfloat16"] | None = None,
    advance: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """What changed when; holds one tensor of three checkpoints and two masks in memory.

    Args:
        base: the checkpoint the run started from, or its path.
        checkpoints: those of the run in order, for example `run_checkpoints(run)`.
        mode: when a weight counts as unchanged, see `Equality`.
        tolerance: of the mode; its own by default.
        read_dtype: "bfloat16" casts all first.
        advance: called with the name and size of each tensor when it is done.

    Returns:
        A document for JSON: `schema`, `base`, `settings` {mode, tolerance, read_dtype};
        `sets` {size, never, transient, final}, numbers of weights: never different from the base
        at any checkpoint, different at some but not the last, different at the last; `matrices`
        [{matrix, ...sets}]; `consecutive`, the mean share that differs between neighbouring
        checkpoints (the base is none); `steps`, per checkpoint {path, step, changed, since_last,
        ever, first, in_final, ever_outside_final, precision, recall}: numbers of weights that
        differ from the base, from the checkpoint before, did so by now, did so for the first time;
        of the changed those that belong to the final set (with their share of the changed and of
        the final set); of those ever changed, those outside it. Ratios without denominator are
        None.

    Raises:
        InputError: no checkpoints, or checkpoints of different models.
        FailureError: a checkpoint is damaged.
    """
    rule = Equality(mode, tolerance, read_dtype)
    first, rest = _opened(base, checkpoints)
    total = _Counts(len(rest))
    matrices: dict[str, _Counts] = {}
    for name in first.names():
        found = _count(first, rest, name, rule)
        total.add(found)
        matrices.setdefault(place(name).matrix, _Counts(len(rest))).add(found)
        if advance is not None:
            advance(name, found.size)
    between = total.steps["since_last"][1:]
    return {
        "schema": SCHEMA,
        "base": {"path": str(first.path), "kind": first.kind, "step": first.step},
        "settings": {"mode": rule.mode, "tolerance": rule.limit, "read_dtype": rule.read_dtype},
        "sets": total.sets(),
        "matrices": [
            {"matrix": kind, **matrices[kind].sets()} for kind in MATRIX_TYPES if kind in matrices
        ],
        "consecutive": _ratio(float(between.mean()), total.size) if between.size else None,
        "steps": [_step(total, number, item) for number, item in enumerate(rest)],
    }


def first_touch(
    base: Source,
    checkpoints: Sequence[Source],
    mode: Mode = "absolute",
    tolerance: float | None = None,
    read_dtype: Literal["bfloat16"] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Of every weight, the first checkpoint at which it differs from the base.

    Args:
        base: as for the rest, see `trajectory`.
        checkpoints: in order.
        mode: when a weight counts as unchanged.
        tolerance: of the mode.
        read_dtype: what to cast to first.

    Yields:
        Name and int32 array of the tensor's shape: place in `checkpoints`, -1 for never.
    """
    rule = Equality(mode, tolerance, read_dtype)
    first, rest = _opened(base, checkpoints)
    for name in first.names():
        before = first.read(name)
        touched = np.full(before.shape, -1, np.int32)
        for number, checkpoint in enumerate(rest):
            now = checkpoint.read(_spelled(checkpoint, name))
            touched[(touched < 0) & ~unchanged(before, now, rule)] = number
        yield name, touched


def _opened(base: Source, checkpoints: Sequence[Source]) -> tuple[Checkpoint, list[Checkpoint]]:
    """All of them, of one model."""
    if not checkpoints:
        raise InputError("checkpoints is empty; expected at least one")
    first, *rest = (
        item if isinstance(item, Checkpoint) else open_checkpoint(item)
        for item in (base, *checkpoints)
    )
    together = align(first, *rest, split_layers=False)
    different = [*together.missing, *together.extra, *(item.name for item in together.reshaped)]
    if different:
        raise InputError(
            f"the checkpoints are of different models: {different[0]} is not the same in all "
            f"({len(different)} tensors in all)"
        )
    return first, rest


def _spelled(checkpoint: Checkpoint, name: str) -> str:
    """The name as this checkpoint has it, with "." or "/"."""
    if name in checkpoint.tensors:
        return name
    plain = name.replace(".", "/")
    return next(other for other in checkpoint.names() if other.replace(".", "/") == plain)


def _count(base: Checkpoint, rest: list[Checkpoint], name: str, rule: Equality) -> _Counts:
    """The counts of one tensor; the last checkpoint is read first, for the final set."""
    before = base.read(name)
    counts = _Counts(len(rest), before.size)
    final = ~unchanged(before, rest[-1].read(_spelled(rest[-1], name)), rule)
    counts.final = int(np.count_nonzero(final))
    ever, last = np.zeros(before.shape, bool), before
    for number, checkpoint in enumerate(rest):
        now = checkpoint.read(_spelled(checkpoint, name))
        changed = ~unchanged(before, now, rule)
        masks = {
            "changed": changed,
            "since_last": ~unchanged(last, now, rule),
            "first": changed & ~ever,
            "in_final": changed & final,
        }
        ever |= changed
        masks |= {"ever": ever, "ever_outside_final": ever & ~final}
        for kind, mask in masks.items():
            counts.steps[kind][number] = np.count_nonzero(mask)
        last = now
    return counts


def _step(total: _Counts, number: int, checkpoint: Checkpoint) -> dict[str, Any]:
    counts = {name: int(values[number]) for name, values in total.steps.items()}
    return {
        "path": str(checkpoint.path),
        "step": checkpoint.step,
        **counts,
        "precision": _ratio(counts["in_final"], counts["changed"]),
        "recall": _ratio(counts["in_final"], total.final),
    }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
