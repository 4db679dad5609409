"""The largest power of two times the smallest batch that fits, for each remat policy."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.training.preflight.analysis import Report

POLICIES = ("none", "dots", "names", "full")
"""Of `model.remat`, from the most memory to the least."""

LARGEST = 2**12
"""Multiples of the smallest batch that are tried at most."""


class Size(NamedTuple):
    """One batch size of an experiment.

    Attributes:
        experiment: with it.
        rows: of a batch, over all devices.
        options: how to ask for it on the command line.
    """

    experiment: Any
    rows: int
    options: str


@dataclass(frozen=True)
class Found:
    """What a search knows of one remat policy.

    Attributes:
        policy: of `model.remat`; "" for a model without.
        rows: the largest that fits of the batches tried, over all devices; 0 if even the smallest
            does not.
        rows_per_device: of a micro-batch.
        options: fields to set on the command line.
        report: of that batch, or of the smallest if none fits.
        compiled: programs it took.
    """

    policy: str
    rows: int
    rows_per_device: float
    options: str
    report: Report
    compiled: int


def search(
    experiment: Any,
    ways: int,
    judge: Callable[[Any], Report],
    say: Callable[[str], None] = lambda line: None,
) -> list[Found]:
    """The largest batch that fits for each remat policy, of a power of two times the smallest.

    Sizes between, such as three times the smallest, are not tried, nor more than `LARGEST` times.
    Memory grows with the batch and falls from policy to policy, so each policy begins where the
    one before ended; what a program said of its memory foretells which size to try next.

    Args:
        experiment: of supervised training; its mesh and accumulation stay.
        ways: devices that split the rows of a batch.
        judge: compiles the training step of an experiment.
        say: told about every program.

    Raises:
        InputError: an experiment whose batch has no size of its own.
    """
    micro = ways * experiment.train.accumulation
    # Every size tried is a multiple of the packers that fill its rows.
    parts = math.lcm(micro, getattr(getattr(experiment, "batch", None), "streams", 0) or 1)
    policies = POLICIES if hasattr(getattr(experiment, "model", None), "remat") else ("",)
    found: list[Found] = []
    start = 1
    for policy in policies:
        changed = experiment
        if policy:
            changed = replace(experiment, model=replace(experiment.model, remat=policy))
        best, compiled = _largest(changed, parts, start, judge, policy, say)
        multiple, report = best
        size = sized(changed, parts, max(multiple, 1))
        remat = f"--model.remat {policy} " if policy else ""
        rows = size.rows if multiple else 0
        options = remat + size.options
        found.append(Found(policy, rows, rows / micro, options, report, compiled))
        start = max(multiple, 1)
    return found


def _largest(
    experiment: Any,
    parts: int,
    start: int,
    judge: Callable[[Any], Report],
    policy: str,
    say: Callable[[str], None],
) -> tuple[tuple[int, Report], int]:
    """(multiple, report) of the largest that fits (0 and the smallest's if none), and how many
    programs were compiled.
    """
    reports: dict[int, Report] = {}
    fits, refused, multiple = 0, LARGEST * 2, start
    while fits * 2 < refused and refused > 1:
        size = sized(experiment, parts, multiple)
        report = reports[multiple] = judge(size.experiment)
        needed = "?" if report.needed is None else f"{report.needed / 2**30:.2f} GiB"
        verdict = "fits" if report.fits else "does not fit"
        say(f"remat {policy or '-'}, {size.rows} rows: {needed}, {verdict}")
        if report.fits:
            fits = multiple
        else:
            refused = multiple
        multiple = _next(fits, refused, multiple, report)
    return (fits, reports[fits] if fits else reports[1]), len(reports)


def _next(fits: int, refused: int, multiple: int, report: Report) -> int:
    """The size to try: what memory foretells, kept between what fits and what does not."""
    low, high = fits * 2 if fits else 1, refused // 2
    fixed = sum(report.memory.get(name, 0) for name in FIXED)
    if report.needed is None or report.needed <= fixed:
        guess = multiple * 2 if report.fits else multiple // 2
    else:
        room = (report.available - fixed) / (report.needed - fixed) * multiple
        guess = 2 ** int(math.log2(max(room, 1)))
    return min(max(guess, low), high)


FIXED = ("parameters", "optimizer", "masks", "counters", "program", "gradients")
"""Categories of memory that do not grow with the batch."""


def sized(experiment: Any, parts: int, multiple: int) -> Size:
    """The experiment with `multiple` times its smallest batch.

    The smallest is one row for each of `parts` (devices that split the rows x micro-batches, or a
    multiple of it that `batch.streams` divides too); where rows have tasks, their proportions stay.

    Raises:
        InputError: an experiment whose batch has no size of its own.
    """
    if hasattr(experiment, "batch"):
        batch = replace(experiment.batch, batch_size=parts * multiple)
        options = f"--batch.batch-size {batch.batch_size}"
        return Size(replace(experiment, batch=batch), batch.batch_size, options)
    if isinstance(rows := getattr(experiment, "rows", None), Mapping):
        unit = math.gcd(*rows.values())
        least = {task: count // unit for task, count in rows.items()}
        total = sum(least.values())
        times = multiple * (parts // math.gcd(parts, total))
        scaled = {task: count * times for task, count in least.items()}
        words = " ".join(f"{task} {count}" for task, count in scaled.items())
        return Size(replace(experiment, rows=scaled), total * times, f"--rows {words}")
    if hasattr(experiment, "batch_size"):
        changed = replace(experiment, batch_size=parts * multiple)
        return Size(changed, changed.batch_size, f"--batch-size {changed.batch_size}")
    raise InputError(
        f"--search chooses the batch of supervised training, and {type(experiment).__name__} is "
        "none; give sizes with --rollout.prompts and --train.accumulation"
    )
