"""Mazes as small pictures, one square of one colour per cell, and the way back to cells."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes import palette
from jaxreason.mazes.problem import Problem

WALL, FREE, START, GOAL, PLAN = range(5)
CELL_CLASSES = ("wall", "free", "start", "goal", "plan")
CODES = 8
"""Numbers a cell can have: the five classes, and three that mean nothing and are never right."""

COLOURS = np.array(
    [
        *(palette.WALL, palette.FREE, palette.START, palette.GOAL, palette.PLAN),
        # Of the three numbers without a meaning; far from the colours above.
        *((255, 255, 0), (0, 255, 255), (255, 0, 255)),
    ],
    np.uint8,
)
"""uint8 [8, 3]: the colour of each number."""


class RasterReading(NamedTuple):
    """What a picture shows.

    Attributes:
        cells: int8 [..., height, width], the number whose colour is nearest: classes 0..4, and
            5..7 where a cell shows one of the colours that mean nothing.
        distance: float32 [..., height, width], root mean square over the cell's pixels of the
            Euclidean distance to that colour, in RGB steps of 0..255; 0 for a clean cell.
    """

    cells: np.ndarray
    distance: np.ndarray


def cell_classes(problem: Problem, plan: np.ndarray | None = None) -> np.ndarray:
    """int8 [height, width] of WALL, FREE, START, GOAL and PLAN; start and goal hide the plan.

    Args:
        problem: the maze.
        plan: int [cells, 2], (x, y), with or without start and goal; it is shown as it is, even
            over walls.

    Raises:
        InputError: the plan is not of that shape, or leaves the grid.
    """
    cells = np.where(problem.floor, FREE, WALL).astype(np.int8)
    if plan is not None:
        plan = np.asarray(plan)
        if plan.ndim != 2 or plan.shape[1] != 2 or not np.issubdtype(plan.dtype, np.integer):
            raise InputError(
                f"plan must be whole numbers [cells, 2], got {plan.dtype} of shape {plan.shape}"
            )
        outside = (plan < 0) | (plan >= (problem.width, problem.height))
        if outside.any():
            cell = tuple(plan[int(outside.any(1).argmax())].tolist())
            raise InputError(
                f"plan has the cell {cell}, outside the {problem.width}x{problem.height} grid"
            )
        cells[plan[:, 1], plan[:, 0]] = PLAN
    for (x, y), kind in ((problem.start, START), (problem.goal, GOAL)):
        cells[y, x] = kind
    return cells


def paint(cells: np.ndarray, cell_pixels: int = 4) -> np.ndarray:
    """uint8 [..., height * cell_pixels, width * cell_pixels, 3] from numbers [..., height, width].

    Raises:
        InputError: numbers outside 0..7, or cell_pixels below 1.
    """
    check_cell_pixels(cell_pixels)
    cells = check_cells(cells)
    large = np.repeat(np.repeat(cells, cell_pixels, axis=-2), cell_pixels, axis=-1)
    return COLOURS[large]


def rasterise(problem: Problem, plan: np.ndarray | None = None, cell_pixels: int = 4) -> np.ndarray:
    """The picture of a maze, or of a maze and a plan in it.

    Returns:
        uint8 [height * cell_pixels, width * cell_pixels, 3], RGB.

    Raises:
        InputError: see `cell_classes` and `paint`.
    """
    return paint(cell_classes(problem, plan), cell_pixels)


def read_raster(image: np.ndarray, width: int, height: int) -> RasterReading:
    """The cells of a picture, each by the colour nearest to its pixels.

    Args:
        image: uint8 [..., height * n, width * n, 3] for some n of at least 1, as of `rasterise`.
        width: columns of the maze.
        height: rows of the maze.

    Raises:
        InputError: the image is not uint8 RGB, or its size is no multiple of the grid.
    """
    image = check_image(image, "image")
    rows, columns = image.shape[-3:-1]
    pixels = rows // height if height > 0 else 0
    if width < 1 or pixels < 1 or (rows, columns) != (height * pixels, width * pixels):
        raise InputError(
            f"image is {columns}x{rows} pixels; expected the same whole number of pixels for "
            f"each cell of {width}x{height}"
        )
    shape = (*image.shape[:-3], height, pixels, width, pixels, 3)
    values = image.reshape(shape).astype(np.float32)
    mean = values.mean(axis=(-4, -2))
    # Nearest to the mean is nearest to the pixels: the spread around the mean adds to all alike.
    nearest = np.square(mean[..., None, :] - COLOURS.astype(np.float32)).sum(-1).argmin(-1)
    chosen = COLOURS[nearest].astype(np.float32)[..., :, None, :, None, :]
    squares = np.square(values - chosen).sum(-1).mean(axis=(-3, -1))
    return RasterReading(nearest.astype(np.int8), np.sqrt(squares))


def check_cells(cells: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """The numbers as an array.

    Raises:
        InputError: not whole numbers in 0..7 on at least two axes.
    """
    cells = np.asarray(cells)
    if cells.ndim < 2 or not np.issubdtype(cells.dtype, np.integer):
        raise InputError(
            f"cells must be whole numbers [..., height, width], got {cells.dtype} "
            f"of shape {cells.shape}"
        )
    if cells.size and not (cells.min() >= 0 and cells.max() < CODES):
        wrong = cells[(cells < 0) | (cells >= CODES)].flat[0]
        raise InputError(f"cells has the value {wrong}; expected 0..{CODES - 1}")
    return cells


def check_image(image: np.ndarray, name: str) -> np.ndarray:
    """The image or images as an array.

    Raises:
        InputError: not uint8 [..., rows, columns, 3].
    """
    image = np.asarray(image)
    if image.ndim < 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"{name} must be RGB, uint8 [..., rows, columns, 3], got {image.dtype} "
            f"of shape {image.shape}"
        )
    return image


def check_cell_pixels(cell_pixels: int) -> None:
    """Refuses anything but a whole number of at least 1.

    Raises:
        InputError: naming the value.
    """
    whole = isinstance(cell_pixels, int | np.integer) and not isinstance(cell_pixels, bool)
    if not whole or cell_pixels < 1:
        raise InputError(f"cell_pixels is {cell_pixels!r}; expected a whole number of at least 1")
