"""A maze problem: which cells are free, where to start, where to go."""

import hashlib
from dataclasses import dataclass

import numpy as np

from jaxreason.errors import InputError

Cell = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Problem:
    """A grid of free and wall cells with a start and a goal; moves are 4-connected, unit cost.

    Attributes:
        floor: [height, width] bool, True where the cell is free; `floor[y, x]`, y grows downwards.
        start: (x, y) of the start, a free cell.
        goal: (x, y) of the goal, a free cell.
        generator: name of the generator it came from, "" if unknown; not part of its content.

    Raises:
        InputError: if the grid is not two-dimensional or start or goal is outside it or a wall.
    """

    floor: np.ndarray
    start: Cell
    goal: Cell
    generator: str = ""

    def __post_init__(self) -> None:
        if self.floor.ndim != 2 or self.floor.dtype != np.bool_:
            raise InputError(
                f"floor must be a bool array [height, width], got {self.floor.dtype} "
                f"of shape {self.floor.shape}"
            )
        for name, (x, y) in (("start", self.start), ("goal", self.goal)):
            if not (0 <= x < self.width and 0 <= y < self.height):
                raise InputError(
                    f"{name} ({x}, {y}) is outside the {self.width}x{self.height} grid"
                )
            if not self.floor[y, x]:
                raise InputError(f"{name} ({x}, {y}) is a wall cell; it must be free")

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.floor.shape[1]

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.floor.shape[0]

    def digest(self) -> bytes:
        """SHA-256 of walls, start and goal: equal exactly when two problems are the same."""
        header = np.array([self.width, self.height, *self.start, *self.goal], np.int32)
        return hashlib.sha256(header.tobytes() + np.packbits(self.floor).tobytes()).digest()
