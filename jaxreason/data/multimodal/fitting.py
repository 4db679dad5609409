"""Pictures of records as pixels of the size an image tokenizer takes."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxreason.data.multimodal.records import TaskRecord
from jaxreason.errors import FailureError, InputError

FITS = ("exact", "crop", "squash")
MOST_PIXELS = 2**26
"""Of an image file; a small one can claim to be of any size."""


def pixels_of(record: TaskRecord, picture: tuple[int, int], fit: str = "exact") -> np.ndarray:
    """The image of a record, uint8 [rows, columns, 3].

    Args:
        record: with an image as a file, as the bytes of one, or as pixels.
        picture: rows and columns.
        fit: "exact" takes RGB pictures of that size alone; "crop" scales the shorter side to it and
            keeps the middle, "squash" scales both (bicubic; Gen-Verse/MMaDA crops pictures in
            general and squashes those of LLaVA, CLEVR and geometry).

    Raises:
        InputError: a picture of another size or mode, or no picture; names file and line.
        FailureError: the file cannot be read.
    """
    image = record.image
    if image is not None and not isinstance(image, np.ndarray):
        image = _opened(record, lambda file, name: _fitted(file, picture, fit, name))
    elif image is not None and fit != "exact":
        from PIL import Image

        image = _fitted(Image.fromarray(image), picture, fit, f"{record.where}: image")
    if image is None or image.shape != (*picture, 3):
        shape = None if image is None else image.shape
        raise InputError(
            f"{record.where}: image has the shape {shape}; expected {(*picture, 3)} (rows, "
            "columns, RGB): bring it to that size first, or set data.pictures to 'crop' or 'squash'"
        )
    return image


def _opened(record: TaskRecord, read: Callable[[Any, str], np.ndarray]) -> np.ndarray:
    from PIL import Image

    image: Any = record.image
    of = f"of {len(image):,} bytes" if isinstance(image, bytes) else repr(str(image))
    name = f"{record.where}: image {of}"
    try:
        stream = io.BytesIO(image) if isinstance(image, bytes) else image.open("rb")
        with stream as source, Image.open(source) as file:
            if file.width * file.height > MOST_PIXELS:
                raise InputError(
                    f"{name} has {file.width} x {file.height} pixels; "
                    f"expected at most {MOST_PIXELS:,}"
                )
            return read(file, name)
    except InputError:
        raise
    # What Pillow raises on damaged files, besides OSError.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FailureError(f"{name} cannot be read: {error}") from error


def _fitted(file: Any, picture: tuple[int, int], fit: str, name: str) -> np.ndarray:
    from PIL import Image

    if fit == "exact":
        if file.mode != "RGB":
            raise InputError(
                f"{name} has the mode {file.mode}; expected RGB: convert it first, or "
                "set data.pictures to 'crop' or 'squash'"
            )
        return np.asarray(file)
    rows, columns = picture
    file = file.convert("RGB")
    if fit == "crop":
        scale = max(rows / file.height, columns / file.width)
        size = max(columns, round(file.width * scale)), max(rows, round(file.height * scale))
        file = file.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - columns) // 2, (size[1] - rows) // 2
        return np.asarray(file.crop((left, top, left + columns, top + rows)))
    return np.asarray(file.resize((columns, rows), Image.Resampling.BICUBIC))
