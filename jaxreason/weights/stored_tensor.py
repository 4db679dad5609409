"""A tensor on disk, known by its header and read when asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StoredTensor:
    """A tensor on disk.

    Attributes:
        name: as the file has it.
        shape: of the array.
        dtype: of the array; bfloat16 and the float8 kinds as ml_dtypes has them.
        read: gives the array, a new one each time.
        read_rows: gives rows [first, last) of it, of axis 0, and reads no more of the file; None
            where only the whole can be read.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    read_rows: Callable[[int, int], np.ndarray] | None = None

    def rows(self, first: int, last: int) -> np.ndarray:
        """Rows [first, last) of axis 0, from a part of the file where that can be."""
        if self.read_rows is None or (first, last) == (0, self.shape[0]):
            return self.read()[first:last]
        return self.read_rows(first, last)

    @property
    def size(self) -> int:
        """Number of elements, a Python int."""
        return math.prod(self.shape)
