"""When a weight counts as unchanged: four rules, because the choice decides the number.

Checkpoints in bfloat16 hide every change below half a unit in the last place, and an absolute
tolerance hides more where weights are small: one unit at |w| < 2^-9 is below 1e-5.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import ml_dtypes
import numpy as np

from jaxreason.errors import InputError

Mode = Literal["exact", "absolute", "bf16-relative", "paper"]
MODES: tuple[Mode, ...] = get_args(Mode)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_TOLERANCES = {"exact": 0.0, "absolute": 1e-5, "bf16-relative": 1e-3, "paper": 1e-5}


@dataclass(frozen=True)
class Equality:
    """A rule by which a weight a (before) and b (after) count as unchanged.

    Attributes:
        mode: `exact`: the same bits, so that +0 and -0 differ and a NaN equals itself;
            `absolute`: |b - a| <= tolerance, in float32 (float64 if stored so);
            `bf16-relative`: both cast to bfloat16, |b - a| <= tolerance max(|a|, |b|): with 1e-3
            the same as bitwise equality of normal bfloat16 numbers (Zhu et al. 2025,
            arXiv 2511.08567);
            `paper`: both cast to bfloat16, the difference rounded to bfloat16, its magnitude
            compared with the tolerance, which is rounded to bfloat16 too (Mukherjee et al. 2025,
            arXiv 2505.11711, and the script in SagnikMukherjee/sparsity_in_rl).
            A NaN is unchanged in `exact` mode only.
        tolerance: None for the mode's own: 1e-5, 1e-3 for `bf16-relative`, none for `exact`.
        read_dtype: "bfloat16" to cast both first, as a server or an actor would read them.

    Raises:
        InputError: unknown mode or dtype; a tolerance that is no number >= 0, or with `exact`.
    """

    mode: Mode = "absolute"
    tolerance: float | None = None
    read_dtype: Literal["bfloat16"] | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"mode {self.mode!r} is unknown; expected one of {', '.join(MODES)}")
        if self.read_dtype not in (None, "bfloat16"):
            raise InputError(f"read_dtype {self.read_dtype!r} is unknown; expected 'bfloat16'")
        if self.tolerance is None:
            return
        if self.mode == "exact":
            raise InputError("mode 'exact' takes no tolerance; leave it away or use 'absolute'")
        if not 0 <= self.tolerance < float("inf"):
            raise InputError(f"tolerance is {self.tolerance}; expected a number of at least 0")

    @property
    def limit(self) -> float:
        """The tolerance in force."""
        return _TOLERANCES[self.mode] if self.tolerance is None else self.tolerance


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The array rounded to bfloat16, ties to even; itself if it is bfloat16 already."""
    with np.errstate(over="ignore"):
        return array.astype(BFLOAT16, copy=False)


def to_float(array: np.ndarray) -> np.ndarray:
    """The array in float32, or float64 if it is float64 or a wide integer; exact for both."""
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    wide = array.dtype.kind in "iu" and array.dtype.itemsize > 2
    return array.astype(np.float64 if wide else np.float32)


def bits(array: np.ndarray) -> np.ndarray:
    """The array's bits as unsigned integers of the same shape."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def _common(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in one dtype that holds either exactly."""
    if before.dtype == after.dtype:
        return before, after
    a, b = to_float(before), to_float(after)
    wider = np.promote_types(a.dtype, b.dtype)
    return a.astype(wider, copy=False), b.astype(wider, copy=False)


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """after - before in float32, or float64 if either is; exact for near bfloat16 numbers."""
    a, b = _common(to_float(before), to_float(after))
    with np.errstate(invalid="ignore", over="ignore"):
        return b - a


def bfloat16_difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """after - before as bfloat16 arithmetic gives it, in bfloat16.

    Exact within a factor of two (Sterbenz), rounded otherwise.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return to_bfloat16(after) - to_bfloat16(before)


def unchanged(before: np.ndarray, after: np.ndarray, rule: Equality | None = None) -> np.ndarray:
    """Which weights count as unchanged.

    Args:
        before: of any shape and numeric dtype.
        after: of the same shape, perhaps of another dtype.
        rule: `Equality()` by default: absolute, 1e-5.

    Returns:
        bool array of the same shape.

    Raises:
        InputError: the shapes differ.

    >>> import numpy as np
    >>> unchanged(np.float32([1.0, 1.0]), np.float32([1.000009, 1.00002]))
    array([ True, False])
    """
    rule = Equality() if rule is None else rule
    if before.shape != after.shape:
        raise InputError(f"before has shape {before.shape} and after {after.shape}")
    if rule.read_dtype == "bfloat16":
        before, after = to_bfloat16(before), to_bfloat16(after)
    if rule.mode == "exact":
        a, b = _common(before, after)
        return bits(a) == bits(b)
    if rule.mode == "paper":
        limit = np.float32(BFLOAT16.type(rule.limit))
        return np.abs(to_float(bfloat16_difference(before, after))) <= limit
    if rule.mode == "bf16-relative":
        a, b = to_float(to_bfloat16(before)), to_float(to_bfloat16(after))
        # Products of float32 and the limit could round; float64 holds them.
        largest = np.maximum(np.abs(a), np.abs(b)).astype(np.float64)
        return (np.abs(difference(a, b)) <= rule.limit * largest) & np.isfinite(largest) | (a == b)
    a, b = _common(to_float(before), to_float(after))
    return (np.abs(difference(a, b)).astype(np.float64) <= rule.limit) | (a == b)
