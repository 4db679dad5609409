"""How many directions an update uses, by measures that rounding fools and measures it does not.

`matrix_rank` counts every singular value above rounding, so a rank-1 update stored in bfloat16 has
nearly full matrix rank. Stable rank, effective rank and energy curve weigh singular values by size.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jaxreason.analysis.equality import bfloat16_difference, difference
from jaxreason.analysis.names import place

ENERGIES = (0.5, 0.9, 0.99)
CURVE_POINTS = 64


def as_matrix(name: str, array: np.ndarray) -> np.ndarray | None:
    """The tensor as the matrix it multiplies by, or None for vectors and scalars.

    Attention kernels with a heads axis are joined: query, key and value `[D, H, K]` to
    `[D, H K]`, output `[H, K, D]` to `[H K, D]`. Other tensors of three and more dimensions keep
    their last.

    Args:
        name: decides what the axes mean.
        array: one layer's tensor.
    """
    matrix = place(name).matrix
    if array.ndim < 2 or matrix in ("bias", "norm"):
        return None
    if array.ndim == 3 and matrix in ("query", "key", "value"):
        return array.reshape(array.shape[0], -1)
    return array.reshape(-1, array.shape[-1])


def singular_values(matrix: np.ndarray) -> np.ndarray | None:
    """Singular values, falling, in the matrix's precision; None if one or an entry is infinite."""
    if not np.isfinite(matrix).all():
        return None
    if matrix.size == 0:
        return np.zeros(0, np.float32)
    with np.errstate(over="ignore"):
        values = np.linalg.svd(matrix, compute_uv=False)
    return values if np.isfinite(values).all() else None


def stable_rank(values: np.ndarray) -> float:
    """Frobenius norm squared by spectral norm squared; 0 of a zero matrix.

    Args:
        values: singular values, falling.
    """
    wide = values.astype(np.float64)
    if not wide.size or wide[0] == 0:
        return 0.0
    return float(np.sum((wide / wide[0]) ** 2))


def effective_rank(values: np.ndarray) -> float:
    """exp(H(p)) with p = sigma / sum sigma (Roy and Vetterli 2007); 0 of a zero matrix."""
    wide = values.astype(np.float64)
    total = wide.sum()
    if total == 0:
        return 0.0
    p = wide[wide > 0] / total
    return float(np.exp(-np.sum(p * np.log(p))))


def matrix_rank(values: np.ndarray, shape: tuple[int, int]) -> int:
    """Number of singular values above max(shape) eps sigma_1, numpy's and torch's default.

    Args:
        values: singular values, falling; eps is that of their dtype.
        shape: of the matrix.
    """
    if not values.size:
        return 0
    return int(np.count_nonzero(values > values[0] * max(shape) * np.finfo(values.dtype).eps))


def energy_ranks(values: np.ndarray) -> dict[float, int]:
    """For each of `ENERGIES`, the fewest singular values with that share of the squares' sum."""
    squares = np.cumsum(values.astype(np.float64) ** 2)
    if not squares.size or squares[-1] == 0:
        return dict.fromkeys(ENERGIES, 0)
    # A sum that rounds to just below the share must not cost one more.
    reached = squares / squares[-1] + 1e-12
    return {share: int(np.searchsorted(reached, share) + 1) for share in ENERGIES}


def noise_stable_rank(shape: tuple[int, int]) -> float:
    """Stable rank expected of independent Gaussian entries: mn / (sqrt m + sqrt n)^2."""
    m, n = shape
    return m * n / (math.sqrt(m) + math.sqrt(n)) ** 2


@lru_cache(maxsize=64)
def noise_singular_values(shape: tuple[int, int]) -> np.ndarray:
    """Singular values expected of independent Gaussian entries, as a share of the first.

    Quantiles of the law of Marchenko and Pastur (1967).

    Returns:
        [min(shape)] float64, falling.
    """
    few, many = min(shape), max(shape)
    ratio = few / many
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    # x = middle - half cos t takes the square root out of both ends of the density.
    t = np.linspace(0, np.pi, 4097)
    x = (low + high) / 2 - (high - low) / 2 * np.cos(t)
    density = np.sin(t) ** 2 / np.maximum(x, 1e-12)
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    quantiles = (np.arange(few)[::-1] + 0.5) / few
    values = np.sqrt(np.interp(quantiles, mass / mass[-1], x))
    return values / math.sqrt(high)


@dataclass(frozen=True)
class RankReport:
    """The rank of one matrix's update.

    Attributes:
        shape: of the matrix.
        stable_rank: of the difference in stored precision.
        effective_rank: likewise.
        matrix_rank: likewise.
        matrix_rank_bf16: of the difference in bfloat16 arithmetic, cast to float32: the measure of
            Mukherjee et al. 2025; None if an entry is not finite.
        energy: share of energy to the fewest singular values that hold it.
        spectral_norm: of the difference.
        noise_stable_rank: stable rank expected of noise of this shape.
        curve: singular values of the difference as a share of the first, at up to 64 places
            spread evenly over their ranks.
    """

    shape: tuple[int, int]
    stable_rank: float
    effective_rank: float
    matrix_rank: int
    matrix_rank_bf16: int | None
    energy: dict[float, int]
    spectral_norm: float
    noise_stable_rank: float
    curve: tuple[float, ...]

    @property
    def full(self) -> int:
        """The largest rank possible."""
        return min(self.shape)


def curve_places(count: int) -> np.ndarray:
    """Indices of the singular values a `RankReport.curve` holds."""
    return np.unique(np.linspace(0, max(count - 1, 0), CURVE_POINTS).astype(int))


def update_rank(name: str, before: np.ndarray, after: np.ndarray) -> RankReport | None:
    """The rank of an update under each measure.

    Args:
        name: of the tensor; decides how it is made a matrix (`as_matrix`).
        before: one layer's tensor.
        after: of the same shape.

    Returns:
        None for vectors, scalars, empty tensors, and where an entry or a singular value is not
        finite.
    """
    first, second = as_matrix(name, before), as_matrix(name, after)
    if first is None or second is None or first.size == 0:
        return None
    delta = difference(first, second)
    values = singular_values(delta)
    if values is None:
        return None
    narrow = bfloat16_difference(first, second).astype(np.float32)
    same = delta.dtype == np.float32 and np.array_equal(narrow, delta)
    del delta
    narrow_values = values if same else singular_values(narrow)
    shape = (first.shape[0], first.shape[1])
    places = curve_places(values.size)
    top = float(values[0])
    return RankReport(
        shape=shape,
        stable_rank=stable_rank(values),
        effective_rank=effective_rank(values),
        matrix_rank=matrix_rank(values, shape),
        matrix_rank_bf16=None if narrow_values is None else matrix_rank(narrow_values, shape),
        energy=energy_ranks(values),
        spectral_norm=top,
        noise_stable_rank=noise_stable_rank(shape),
        curve=tuple(float(value) / top if top else 0.0 for value in values[places]),
    )


def spectral_shift(before: np.ndarray, after: np.ndarray) -> float | None:
    """Normalised spectral shift ||sigma(W+) - sigma(W0)|| / ||sigma(W0)|| (Zhu et al. 2025).

    Args:
        before: a matrix W0.
        after: W+, of the same shape.

    Returns:
        None if W0 is zero or an entry is not finite.
    """
    old = singular_values(before.astype(np.float32, copy=False))
    new = singular_values(after.astype(np.float32, copy=False))
    if old is None or new is None or not old.any():
        return None
    return float(np.linalg.norm(new - old) / np.linalg.norm(old))


def principal_cosines(
    before: np.ndarray, after: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the principal angles between leading subspaces (Zhu et al. 2025).

    Args:
        before: a matrix W0 = U0 S0 V0^T.
        after: W+, of the same shape.
        rank: k, number of leading singular vectors.

    Returns:
        singular values of U0_k^T U+_k and of V0_k^T V+_k, each [k], falling, at most 1.
    """
    u, _, v = np.linalg.svd(before.astype(np.float64), full_matrices=False)
    u_new, _, v_new = np.linalg.svd(after.astype(np.float64), full_matrices=False)
    left = np.linalg.svd(u[:, :rank].T @ u_new[:, :rank], compute_uv=False)
    right = np.linalg.svd(v[:rank] @ v_new[:rank].T, compute_uv=False)
    return np.minimum(left, 1.0), np.minimum(right, 1.0)
