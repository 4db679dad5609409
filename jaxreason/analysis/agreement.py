"""How nearly two runs arrived at the same weights, beside what says nothing.

Two runs from one base that each move little agree within a coarse tolerance whatever they learned:
Mukherjee et al. (arXiv 2505.11711, section 4) find full and subnetwork-only training equal on 90.5
to 94 % of weights at 1e-5 and on all at 1e-4, where both also agree with the weights they started
from. Hence a curve over tolerances with three controls.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.equality import Equality, to_bfloat16
from jaxreason.analysis.nulls import magnitude_strata
from jaxreason.analysis.pairing import Together, align
from jaxreason.analysis.tensors import Checkpoint
from jaxreason.errors import InputError

TOLERANCES = (0.0, *(float(f"{digit}e-{e}") for e in range(8, 1, -1) for digit in (1, 2, 5)), 0.1)
_CHUNK = 1 << 22

Source = str | Path | Checkpoint
"""A checkpoint, or the path of one."""


def agreement_curve(
    base: Source,
    first: Source,
    second: Source,
    tolerances: Sequence[float] = TOLERANCES,
    read_dtype: Literal["bfloat16"] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Share of weights on which two runs agree, for each tolerance, with controls.

    Args:
        base: the checkpoint both started from, or its path.
        first: one run's checkpoint.
        second: the other's.
        tolerances: ascending; 0 asks for equal numbers.
        read_dtype: "bfloat16" casts all three first.
        seed: of the permutations of `unrelated`.

    Returns:
        `size`, `tolerances` [n] and shares [n] of weights with |difference| within each:
        `agreement` of the two runs; `first_to_base` and `second_to_base`, the controls of having
        hardly moved; `unrelated`, the first run against the base plus the second's update permuted
        among the weights of like magnitude of each tensor (so that rounding hides as much): updates
        as large that have nothing to do with each other. NaN agrees with nothing. Also `missing`,
        `extra`, `reshaped`: names that were not counted.

    Raises:
        InputError: tolerances that do not ascend, checkpoints of different models.
        FailureError: a checkpoint is damaged.
    """
    Equality(read_dtype=read_dtype)
    limits = np.array(tolerances, np.float64)
    if limits.size == 0 or (np.diff(limits) <= 0).any() or not limits[0] >= 0:
        raise InputError(f"tolerances are {list(tolerances)}; expected ascending numbers from 0 on")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected at least 0")
    together = align(
        *(
            item if isinstance(item, Checkpoint) else open_checkpoint(item)
            for item in (base, first, second)
        )
    )
    counts, size = _count(together, limits, read_dtype, seed)
    names = ("agreement", "first_to_base", "second_to_base", "unrelated")
    shares = counts / max(size, 1)
    return {
        "size": size,
        "tolerances": limits.tolist(),
        **{name: row.tolist() for name, row in zip(names, shares, strict=True)},
        "missing": list(together.missing),
        "extra": list(together.extra),
        "reshaped": [item.name for item in together.reshaped],
    }


def _count(
    together: Together, limits: np.ndarray, read_dtype: str | None, seed: int
) -> tuple[np.ndarray, int]:
    """[4, n] numbers of weights within each limit, and the number of weights."""
    counts = np.zeros((4, limits.size), np.int64)
    size = 0
    for name, arrays in together:
        flat = [array.reshape(-1) for array in arrays]
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        for start in range(0, flat[0].size, _CHUNK):
            parts = [_read(array[start : start + _CHUNK], read_dtype) for array in flat]
            counts += _within(parts, limits, random)
        size += flat[0].size
        del arrays, flat  # before the next are read
    return counts, size


def _read(array: np.ndarray, read_dtype: str | None) -> np.ndarray:
    cast = (
        to_bfloat16(array) if read_dtype == "bfloat16" and array.dtype.kind not in "iub" else array
    )
    return cast.astype(np.float64)


def _permuted(values: np.ndarray, strata: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The values in random order within each stratum."""
    shuffled = np.empty_like(values)
    drawn = random.permutation(values.size)
    # Both orders go through the strata one by one, the second one in random order within.
    shuffled[np.argsort(strata, kind="stable")] = values[
        drawn[np.argsort(strata[drawn], kind="stable")]
    ]
    return shuffled


def _within(parts: list[np.ndarray], limits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[4, n] numbers of weights within each limit."""
    base, first, second = parts
    with np.errstate(invalid="ignore"):
        one, two = first - base, second - base
        shuffled = _permuted(two, magnitude_strata(base), random)
        differences = (second - first, one, two, shuffled - one)
    rows = []
    for difference in differences:
        # The first limit that is no smaller; NaN sorts behind all.
        place = np.searchsorted(limits, np.abs(difference), side="left")
        rows.append(np.cumsum(np.bincount(place, minlength=limits.size + 1))[: limits.size])
    return np.stack(rows)
