"""What rounding lets through: the probability that an update of a weight can be seen.

A weight w is stored rounded, so an update u shows only if w + u leaves the interval that is read
as "unchanged": half a unit in the last place to either side, more under a tolerance. For a dense
Gaussian update of standard deviation sigma the probability is

    P(visible | w) = Phi(lower / sigma) + 1 - Phi(upper / sigma)

with the distances `lower <= 0 <= upper` from w to the ends of its interval. Two independent such
updates overlap because they share w. (Path Not Taken, Zhu et al., arXiv 2511.08567, gate III,
names the effect; the intervals here are those of the dtype and of the rule of equality exactly.)

Stored in 16 bits or fewer, a tensor has at most 65,536 different weights, so counting them makes
all this exact and cheap for any size; a large float32 tensor is represented by a sample.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from jaxreason.analysis.equality import BFLOAT16, Equality, unchanged

SAMPLE = 1 << 18
"""Weights that stand for a tensor of more than 16 bits a weight."""

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Intervals:
    """The intervals in which updates stay invisible, for the weights of a tensor.

    Attributes:
        lower: [m] float64, at most 0: an update below it shows; -inf if none ever does.
        upper: [m] float64, at least 0: an update above it shows.
        counts: [m] float64, how many weights of the tensor each entry stands for.
        sampled: whether the entries are a sample of the weights.
    """

    lower: np.ndarray
    upper: np.ndarray
    counts: np.ndarray
    sampled: bool

    def gaussian(self, sigma: float) -> np.ndarray:
        """[m] P(visible) of an update N(0, sigma^2)."""
        if sigma == 0:
            return np.zeros(self.counts.shape)
        if np.isinf(sigma):
            return (np.isfinite(self.lower) | np.isfinite(self.upper)).astype(np.float64)
        return ndtr(self.lower / sigma) + ndtr(-self.upper / sigma)

    def signs(self, size: float) -> np.ndarray:
        """[m] P(visible) of an update +size or -size, either with probability 1/2."""
        return 0.5 * (size > self.upper) + 0.5 * (size > -self.lower)

    def thinned(self, most: int) -> "Intervals":
        """Itself, or a sample of about `most` entries where it is a sample already."""
        if not self.sampled or self.counts.size <= most:
            return self
        places = spread(self.counts.size, most)
        kept = self.counts[places]
        scale = self.counts.sum() / kept.sum()
        return Intervals(self.lower[places], self.upper[places], kept * scale, True)


def spread(size: int, most: int) -> np.ndarray:
    """Places of at most `most` of `size` weights, one drawn from each of equal stretches.

    Equal steps instead would meet the same columns of every row wherever a row's length and the
    step have a factor in common. The draw depends on the two numbers only.
    """
    if size <= most:
        return np.arange(size)
    within = np.random.default_rng([size, most]).random(most)
    places = ((np.arange(most) + within) * (size / most)).astype(np.int64)
    return np.minimum(places, size - 1)


def joined(parts: list[Intervals]) -> Intervals:
    """The intervals of several tensors as of one."""
    return Intervals(
        np.concatenate([part.lower for part in parts]),
        np.concatenate([part.upper for part in parts]),
        np.concatenate([part.counts for part in parts]),
        any(part.sampled for part in parts),
    )


def intervals(base: np.ndarray, stored: np.dtype, rule: Equality) -> Intervals:
    """The intervals of a tensor's weights.

    Args:
        base: the weights before, any shape, of a floating-point dtype.
        stored: dtype of the checkpoint after.
        rule: by which both are compared.
    """
    flat = base.reshape(-1)
    weights, counts, sampled = _distinct(flat)
    grid = _grid(stored, rule)
    with np.errstate(invalid="ignore", over="ignore"):
        exact = weights.astype(np.float64)
        if grid.itemsize > 2:
            low, high = _fine_edges(weights, grid, rule)
        elif base.dtype == grid or (grid == BFLOAT16 and _casts(rule)):
            low, high = (table[_bits(weights.astype(grid))] for table in _table(grid, rule))
        else:
            low, high = _edges(weights, grid, rule)
        lower, upper = low - exact, high - exact
    # Past the largest number there is nothing to round to; what is not finite stays as it is.
    finite = np.isfinite(exact)
    lower = np.where(finite & ~np.isnan(lower), np.minimum(lower, 0), -np.inf)
    upper = np.where(finite & ~np.isnan(upper), np.maximum(upper, 0), np.inf)
    return Intervals(lower, upper, counts, sampled)


def matching_sigma(found: Intervals, visible: float) -> float:
    """The sigma whose Gaussian updates make `visible` weights of the tensor visible on average.

    0 if none is to be, infinity if all that can be.
    """
    if visible <= 0:
        return 0.0
    ends = np.concatenate([found.upper, -found.lower])
    ends = ends[np.isfinite(ends) & (ends > 0)]
    if ends.size == 0:
        return float("inf")

    def excess(logarithm: float) -> float:
        return float(found.counts @ found.gaussian(np.exp(logarithm))) - visible

    low, high = np.log(ends.min()) - 4, np.log(ends.max()) + 20
    if excess(high) <= 0:
        return float("inf")
    if excess(low) >= 0:
        return float(np.exp(low))
    return float(np.exp(brentq(excess, low, high, xtol=1e-9)))


def matching_size(found: Intervals, visible: float) -> float:
    """The size of sign-type updates that comes nearest to `visible` visible weights.

    All weights of one binade become visible together, so that few numbers can be met exactly.
    """
    ends = np.concatenate([found.upper, -found.lower])
    order = np.argsort(ends, kind="stable")
    reached = np.cumsum(np.concatenate([found.counts, found.counts])[order]) / 2
    ends = ends[order]
    # Only at the last of equal ends has everything up to there become visible.
    steps = np.flatnonzero(np.append(np.diff(ends) > 0, True) & np.isfinite(ends))
    if steps.size == 0 or visible <= 0:
        return 0.0
    best = int(np.argmin(np.abs(reached[steps] - visible)))
    end = ends[steps[best]]
    if abs(reached[steps[best]] - visible) >= visible:  # nothing at all is nearer
        return 0.0
    # Clear of the end itself, where rounding is decided by ties.
    return float((end + ends[steps[best + 1]]) / 2 if best + 1 < steps.size else 2 * end + 1e-30)


def _distinct(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Weights that stand for all, how many each stands for, and whether they are a sample."""
    if flat.dtype.itemsize <= 2:
        unsigned = np.dtype(f"u{flat.dtype.itemsize}")
        counts = np.zeros(1 << 8 * flat.dtype.itemsize, np.int64)
        for start in range(0, flat.size, _CHUNK):  # numpy widens what it counts to 8 bytes
            part = _bits(flat[start : start + _CHUNK])
            counts += np.bincount(part, minlength=counts.size)
        patterns = np.flatnonzero(counts)
        return patterns.astype(unsigned).view(flat.dtype), counts[patterns].astype(float), False
    weights = flat[spread(flat.size, SAMPLE)]
    counts = np.full(weights.size, flat.size / max(weights.size, 1))
    return weights, counts, flat.size > SAMPLE


def _grid(stored: np.dtype, rule: Equality) -> np.dtype:
    """The dtype whose rounding decides what can be seen."""
    return BFLOAT16 if _casts(rule) and stored.itemsize > 1 else stored


def _casts(rule: Equality) -> bool:
    return rule.read_dtype is not None or rule.mode in ("bf16-relative", "paper")


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.dtype(f"u{array.dtype.itemsize}"))


def _fine_edges(
    weights: np.ndarray, grid: np.dtype, rule: Equality
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals on a grid of 32 or 64 bits."""
    exact = weights.astype(np.float64)
    reach = rule.limit if rule.mode == "absolute" else 0.0
    ends = []
    for sign in (-1.0, 1.0):
        last = (exact + sign * reach).astype(grid)
        beyond = (last.astype(np.float64) - exact) * sign > reach
        last = np.where(beyond, np.nextafter(last, grid.type(-sign * np.inf)), last)
        next_one = np.nextafter(last, grid.type(sign * np.inf))
        ends.append((last.astype(np.float64) + next_one.astype(np.float64)) / 2)
    return ends[0], ends[1]


@lru_cache(maxsize=16)
def _table(grid: np.dtype, rule: Equality) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals of every number the dtype has, by its bits."""
    patterns = np.arange(1 << 8 * grid.itemsize).astype(f"u{grid.itemsize}")
    return _edges(patterns.view(grid), grid, rule)


def _edges(weights: np.ndarray, grid: np.dtype, rule: Equality) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals by bisection over the numbers the grid has, in order.

    On either side of w the rule holds up to some number and never beyond it.
    """
    half = 1 << (8 * grid.itemsize - 1)
    unsigned = np.dtype(f"u{grid.itemsize}")

    def number(rank: np.ndarray) -> np.ndarray:
        # Ranks order all numbers: -inf ... -0, +0 ... inf; NaNs lie beyond both infinities.
        pattern = np.where(rank >= half, rank - half, 2 * half - 1 - rank)
        return pattern.astype(unsigned).view(grid)

    with np.errstate(invalid="ignore", over="ignore"):
        pattern = _bits(weights.astype(grid)).astype(np.int64)
        own = np.where(pattern < half, pattern + half, 2 * half - 1 - pattern)
        visible = ~unchanged(weights, number(own), rule)
        ends = []
        for sign in (-1, 1):
            near, far = own.copy(), np.full_like(own, -1 if sign < 0 else 2 * half)
            while np.any(np.abs(far - near) > 1):
                middle = (near + far) // 2
                inside = unchanged(weights, number(np.clip(middle, 0, 2 * half - 1)), rule)
                moving = np.abs(far - near) > 1
                near = np.where(moving & inside, middle, near)
                far = np.where(moving & ~inside, middle, far)
            last = number(near).astype(np.float64)
            beyond = number(np.clip(far, 0, 2 * half - 1)).astype(np.float64)
            ends.append(np.where(visible, weights.astype(np.float64), (last + beyond) / 2))
    return ends[0], ends[1]
