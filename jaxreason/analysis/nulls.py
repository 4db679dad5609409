"""Null models: how much of their updates runs would share if they had nothing in common.

All of them keep the number of weights each run changed and say what overlap chance, magnitude or
rounding give already:

- uniform: each run changed a random subset (Mukherjee et al., arXiv 2505.11711, section 5: then
  o1 = 1 - s2 and o2 = 1 - s1);
- matched: a random subset within every stratum, a tensor, or the weights of a tensor of like
  magnitude. Observed minus expected over its deviation is the Mantel-Haenszel statistic;
- precision: each run added to every weight an independent update of the same law, and rounding
  hid most of them. The only thing the runs share are the weights themselves.

An overlap above the first but not above the last is what dense, unrelated updates look like after
rounding: it says nothing about a subnetwork.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxreason.analysis.equality import Equality, unchanged
from jaxreason.analysis.visibility import Intervals, matching_sigma, matching_size, spread

DRAWN = 1 << 20
"""Weights of a tensor that a draw looks at; of more, a sample."""

STRATA = 1 << 10
"""Number of strata of magnitude."""


@dataclass(frozen=True)
class Expected:
    """What a null model expects of N runs; sums over tensors with `+`.

    Attributes:
        both: [N, N] expected number of weights that two runs both changed.
        updated: [N] expected number of weights each run changed.
        variance: [N, N] of `both`, given how many weights each run changed.
    """

    both: np.ndarray
    updated: np.ndarray
    variance: np.ndarray

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(
            self.both + other.both,
            self.updated + other.updated,
            self.variance + other.variance,
        )


def nothing(runs: int) -> Expected:
    """The sum over no tensors."""
    return Expected(np.zeros((runs, runs)), np.zeros(runs), np.zeros((runs, runs)))


def matched_null(sizes: np.ndarray, updated: np.ndarray) -> Expected:
    """Random subsets within strata; with a single stratum the uniform null.

    Args:
        sizes: [S] number of weights in each stratum.
        updated: [N, S] how many of them each run changed.

    Returns:
        sum over strata of n1 n2 / n, the hypergeometric mean, with its variance
        n1 n2 (n - n1) (n - n2) / (n^2 (n - 1)).
    """
    kept = sizes > 0
    size = sizes[kept].astype(np.float64)
    count = updated[:, kept].astype(np.float64)
    rest = size - count
    both = (count / size) @ count.T
    spread = count * rest / size
    variance = (spread / np.maximum(size - 1, 1)) @ spread.T
    return Expected(both, count.sum(axis=1), variance)


def precision_null(found: list[Intervals], sigmas: list[float]) -> Expected:
    """Independent dense Gaussian updates, as rounding lets them through: exact expectation.

    Args:
        found: of each run, the intervals of one tensor's weights (or of several, joined).
        sigmas: of each run, the standard deviation of its updates.
    """
    visible = [item.gaussian(sigma) for item, sigma in zip(found, sigmas, strict=True)]
    return _expected(found[0], np.stack(visible))


def sign_null(found: list[Intervals], sizes: list[float]) -> Expected:
    """Updates of one size and independent signs, as early Adam steps are: exact expectation.

    What shows is then almost a function of |w| alone, so this is close to the largest overlap
    that rounding can give by itself. Numbers of visible weights are met only nearly.
    """
    visible = [item.signs(size) for item, size in zip(found, sizes, strict=True)]
    return _expected(found[0], np.stack(visible))


def matching_sigmas(found: list[Intervals], updated: np.ndarray) -> list[float]:
    """Of each run, the sigma that makes as many weights visible as it changed."""
    return [matching_sigma(item, float(n)) for item, n in zip(found, updated, strict=True)]


def matching_sizes(found: list[Intervals], updated: np.ndarray) -> list[float]:
    """Of each run, the size of sign-type updates that comes nearest to it."""
    return [matching_size(item, float(n)) for item, n in zip(found, updated, strict=True)]


def _expected(weights: Intervals, visible: np.ndarray) -> Expected:
    """From P(visible) [N, m] of the weights that m entries stand for.

    The variance is that of the number shared given the numbers changed: Var(N) less what the two
    numbers explain of it, Cov(N, n1)^2 / Var(n1) + Cov(N, n2)^2 / Var(n2). Where the entries are a
    sample, the error of the expectation itself is added.
    """
    weighted = visible * weights.counts
    both = weighted @ visible.T
    plain = both - (visible * weighted) @ (visible**2).T
    with_first = both - (visible * weighted) @ visible.T  # Cov(N, n1), row: run 1
    own = (weighted * (1 - visible)).sum(axis=1)
    slope = with_first / np.where(own > 0, own, np.inf)[:, None]
    explained = slope * with_first
    variance = np.maximum(plain - explained - explained.T, 0)
    if weights.sampled:
        variance += _sampling_variance(weights.counts, visible, slope)
    return Expected(both, weighted.sum(axis=1), variance)


def _sampling_variance(counts: np.ndarray, visible: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """[N, N] variance of an expectation that rests on one weight in `counts` [m].

    The updates are scaled so that the sample makes as many weights visible as changed, so what
    the numbers changed explain of p1 p2 carries no error; the rest does.
    """
    # One entry of n: n (n - 1) times the spread, so that what stands for itself has no error.
    factor = counts * np.maximum(counts - 1, 0)
    found = np.zeros(slope.shape)
    for i, first in enumerate(visible):
        for j, second in enumerate(visible[: i + 1]):
            rest = first * second - slope[i, j] * first - slope[j, i] * second
            rest -= (counts @ rest) / counts.sum()
            found[i, j] = found[j, i] = factor @ rest**2
    return found


def drawn_null(
    base: np.ndarray,
    stored: list[np.dtype],
    sigmas: list[float],
    rule: Equality,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """One draw of the precision null: updates added, rounded and compared as the runs' were.

    Args:
        base: the weights before, any shape.
        stored: dtype of each run's checkpoint.
        sigmas: of each run's updates.
        rule: by which weights count as unchanged.
        random: a seeded generator; the draw is a function of it.

    Returns:
        Shared counts [N, N] and counts [N], scaled up where only a part was looked at.
    """
    flat = base.reshape(-1)
    part = flat[spread(flat.size, DRAWN)] if flat.size > DRAWN else flat
    precision = np.float64 if part.dtype == np.float64 else np.float32
    wide: Any = part.astype(precision)
    changed = np.empty((len(sigmas), part.size), bool)
    for row, sigma, dtype in zip(changed, sigmas, stored, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            update = random.standard_normal(part.size, dtype=precision) * precision(sigma)
            row[:] = ~unchanged(part, (wide + update).astype(dtype), rule)
    scale = flat.size / max(part.size, 1)
    both, updated = shared_counts(list(changed))
    return both * scale, updated * scale


def magnitude_strata(weights: np.ndarray) -> np.ndarray:
    """Quarters of a binade of |w|, as numbers below `STRATA`: rounding treats each alike.

    Args:
        weights: any numbers, flat.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        wide = np.abs(weights.astype(np.float32))
    return (wide.view(np.uint32) >> 21).astype(np.intp)


def shared_counts(changed: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """[N, N] how many weights two runs both changed, and [N] how many each did.

    Args:
        changed: of each run a bool array, all of one shape.
    """
    runs = len(changed)
    both = np.zeros((runs, runs), np.int64)
    for first in range(runs):
        for second in range(first, runs):
            count = np.count_nonzero(changed[first] & changed[second])
            both[first, second] = both[second, first] = count
    return both, both.diagonal().copy()
