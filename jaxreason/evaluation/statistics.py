"""Shares with honest errors, and correlations.

Every share carries its count and a standard error that is never zero: a model that solves 0 of 100
problems has been seen to fail a hundred times, not to be unable to succeed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Share(NamedTuple):
    """A share of yes among `n` observations.

    Attributes:
        value: successes / n; None if n is 0.
        standard_error: see `share`; None if n is 0.
        n: observations.
        successes: those that are yes.
        clusters: problems they come from; equal to `n` with one sample per problem.
    """

    value: float | None
    standard_error: float | None
    n: int
    successes: int
    clusters: int

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return self._asdict()

    def text(self, digits: int = 1) -> str:
        """Per cent with error, such as `51.6 ± 1.6`; `–` if there is nothing to count."""
        if self.value is None or self.standard_error is None:
            return "–"
        return f"{100 * self.value:.{digits}f} ± {100 * self.standard_error:.{digits}f}"


def share(values: Sequence[bool] | np.ndarray, clusters: Sequence[int] | np.ndarray) -> Share:
    """Share of true values with its standard error.

    One observation per cluster: the binomial error sqrt(p (1 - p) / n). Several: the
    cluster-robust error (Liang & Zeger 1986) with the correction G / (G - 1) for G clusters, since
    completions of one problem resemble each other. Where that error comes out as zero, or one
    cluster is all there is, it is the distance 1 / (G + 1) from 0 or 1 to the far end of Wilson's
    one-sigma interval (Wilson 1927), G counted in clusters.

    Args:
        values: bool [n].
        clusters: int [n], which problem each value comes from; any labels.
    """
    yes = np.asarray(values, bool)
    labels = np.asarray(clusters)
    if yes.shape != labels.shape or yes.ndim != 1:
        raise ValueError(f"values {yes.shape} and clusters {labels.shape} must be equally long")
    n, successes = yes.size, int(yes.sum())
    if n == 0:
        return Share(None, None, 0, 0, 0)
    mean = successes / n
    _, group = np.unique(labels, return_inverse=True)
    groups = int(group.max()) + 1
    if groups == n:
        error = math.sqrt(mean * (1 - mean) / n)
    elif groups > 1:
        residuals = np.bincount(group, weights=yes - mean)
        error = math.sqrt(groups / (groups - 1) * float(residuals @ residuals)) / n
    else:
        error = 0.0
    # Residuals that cancel leave rounding errors of 1e-17, not zero.
    if error < 1e-12:
        error = 1 / (groups + 1)
    return Share(mean, error, n, successes, groups)


def correlation(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Pearson's r; None where it is not defined (fewer than three pairs, or a constant side)."""
    left, right = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if left.size < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    left, right = left - left.mean(), right - right.mean()
    return float(left @ right / math.sqrt(float(left @ left) * float(right @ right)))


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 0, float64 [n]; equal values share the mean of their ranks."""
    _, group, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[group]


def rank_correlation(
    x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray
) -> float | None:
    """Spearman's rho, ties included; None where it is not defined."""
    return correlation(ranks(x), ranks(y))
