"""Pictures as short rows of codes, and back: what any image tokenizer offers."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.rasters import CODES, check_cell_pixels, check_image, paint, read_raster


class ImageCodec(Protocol):
    """An image tokenizer: `tokens` codes per picture, row by row over a grid of places."""

    @property
    def codes(self) -> int:
        """Size of the codebook; codes are 0..codes - 1."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the places that have a code each."""
        ...

    @property
    def tokens(self) -> int:
        """Codes per picture, rows x columns of `grid`."""
        ...

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns of a picture in pixels."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """Plain JSON, different for codecs that would give different codes or pictures."""
        ...

    def encode(self, images: np.ndarray) -> np.ndarray:
        """int32 [n, tokens] from uint8 [n, rows, columns, 3].

        Raises:
            InputError: images of another shape or type.
        """
        ...

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """uint8 [n, rows, columns, 3] from whole numbers [n, tokens].

        Raises:
            InputError: codes of another shape, or outside 0..codes - 1.
        """
        ...


@dataclass(frozen=True)
class PaletteCodec:
    """One code per maze cell: the cell's class. Exact on pictures of `mazes.rasters`.

    There are 8 codes; 5..7 mean nothing, but have a colour, so that all codes survive decoding and
    encoding.

    Attributes:
        width: columns of the maze.
        height: rows of the maze.
        cell_pixels: pixels on each side of a cell.

    Raises:
        InputError: a field that is not a whole number of at least 1.
    """

    width: int
    height: int
    cell_pixels: int = 4

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} is {value!r}; expected a whole number of at least 1")
        check_cell_pixels(self.cell_pixels)

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        return CODES

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the maze."""
        return self.height, self.width

    @property
    def tokens(self) -> int:
        """Cells of the maze."""
        return self.height * self.width

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns in pixels."""
        return self.height * self.cell_pixels, self.width * self.cell_pixels

    @property
    def identity(self) -> dict[str, Any]:
        """The fields."""
        return {"codec": "palette", **asdict(self)}

    def encode(self, images: np.ndarray) -> np.ndarray:
        """The number of each cell's nearest colour; see `ImageCodec`."""
        images = check_images(images, self.picture)
        return (
            read_raster(images, self.width, self.height)
            .cells.reshape(-1, self.tokens)
            .astype(np.int32)
        )

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """A square of its colour for each code; see `ImageCodec`."""
        codes = check_codes(codes, self.tokens, self.codes)
        return paint(codes.reshape(-1, *self.grid), self.cell_pixels)


def check_images(images: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """Images [n, rows, columns, 3] as an array.

    Raises:
        InputError: not uint8 RGB, or not n pictures of `picture` rows and columns.
    """
    images = check_image(images, "images")
    if images.ndim != 4 or images.shape[1:3] != picture:
        rows, columns = picture
        raise InputError(
            f"images has shape {images.shape}; expected [n, {rows}, {columns}, 3] "
            f"({rows} rows, {columns} columns of pixels)"
        )
    return images


def check_codes(codes: np.ndarray, tokens: int, size: int) -> np.ndarray:
    """Codes [n, tokens] as an array.

    Raises:
        InputError: not whole numbers in 0..size - 1, or not `tokens` of them in each row.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != tokens or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(
            f"codes must be whole numbers [n, {tokens}], got {codes.dtype} of shape {codes.shape}"
        )
    outside = (codes < 0) | (codes >= size)
    if outside.any():
        row, place = (int(i[0]) for i in np.nonzero(outside))
        raise InputError(
            f"codes has {codes[row, place]} in row {row} at place {place}; expected 0..{size - 1}"
        )
    return codes
