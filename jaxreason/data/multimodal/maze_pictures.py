"""The pictures of all mazes of a data set, painted and encoded in batches."""

from collections.abc import Callable

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.generators import SolvedBatch
from jaxreason.mazes.rasters import FREE, GOAL, PLAN, START, WALL, paint
from jaxreason.tokens.image_codec import ImageCodec

AT_ONCE = 1024


def cell_pixels(width: int, height: int, codec: ImageCodec) -> int:
    """Pixels on each side of a cell in the codec's pictures.

    Raises:
        InputError: its pictures are no grid of width x height squares.
    """
    rows, columns = codec.picture
    pixels = rows // height
    if pixels < 1 or (rows, columns) != (height * pixels, width * pixels):
        raise InputError(
            f"the codec makes pictures of {columns}x{rows} pixels; a {width}x{height} maze needs "
            "the same whole number of pixels for each cell"
        )
    return pixels


def maze_cells(mazes: SolvedBatch, solved: bool) -> np.ndarray:
    """`rasters.cell_classes` of every maze, with its plan if `solved`: int8 [n, height, width]."""
    cells = np.where(mazes.floors, FREE, WALL).astype(np.int8)
    own = np.arange(len(cells))
    if solved:
        owner = np.repeat(own, np.diff(mazes.plan_offsets))
        cells[owner, mazes.plans[:, 1], mazes.plans[:, 0]] = PLAN
    cells[own, mazes.endpoints[:, 1], mazes.endpoints[:, 0]] = START
    cells[own, mazes.endpoints[:, 3], mazes.endpoints[:, 2]] = GOAL
    return cells


def encode_pictures(
    cells: np.ndarray,
    pixels: int,
    codec: ImageCodec,
    on_pictures: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The codes of the pictures of all mazes, uint16 [n, N] (int32 for large codebooks).

    Args:
        cells: [n, height, width] classes.
        pixels: on each side of a cell.
        codec: makes codes of pictures.
        on_pictures: called with (pictures encoded, pictures in all) after each batch.
    """
    codes = []
    for begin in range(0, len(cells), AT_ONCE):
        images = paint(cells[begin : begin + AT_ONCE], pixels)
        codes.append(np.asarray(codec.encode(images)))
        if on_pictures is not None:
            on_pictures(begin + len(images), len(cells))
    return np.concatenate(codes).astype(np.uint16 if codec.codes <= 2**16 else np.int32)
