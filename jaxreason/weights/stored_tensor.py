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
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Number of elements, a Python int."""
        return math.prod(self.shape)
