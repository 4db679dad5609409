"""Picture files of benchmarks: found in their folder and nowhere else, as RGB in whole bytes."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.vision.reading import show
from jaxreason.models.clip_pixels import middle_square

MOST_PIXELS = 100_000_000
"""A picture that says it has more is refused before it is decoded."""

Fit = Literal["crop", "squash"]


def picture_path(folder: Path, names: Sequence[str]) -> Path:
    """The file of a picture: the first of the names that is there.

    Args:
        folder: that the file must lie in, links followed.
        names: relative to it, with forward slashes.

    Raises:
        InputError: a name that leads out of the folder, or none of them is there.
    """
    root = folder.resolve()
    for name in names:
        parts = PurePosixPath(name)
        if not name or "\0" in name or parts.is_absolute() or ".." in parts.parts:
            raise InputError(f"the picture {show(name)} is no name of a file inside {folder}")
        path = folder.joinpath(*parts.parts)
        try:
            found = path.is_file()
        except OSError:  # a name that is too long for the file system
            found = False
        if not found:
            continue
        if not path.resolve().is_relative_to(root):
            raise InputError(f"the picture {show(name)} is a link that leads out of {folder}")
        return path
    raise InputError(f"the picture {show(names[0])} is not in {folder}")


def read_picture(path: Path) -> np.ndarray:
    """A picture as uint8 [rows, columns, 3]; what is transparent shows what lies under it.

    Raises:
        InputError: it has too many pixels.
        FailureError: it is no picture that Pillow reads.
    """
    from PIL import Image

    try:
        with path.open("rb") as source, Image.open(source) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError(
                    f"the picture {path} has {picture.width} x {picture.height} pixels; expected "
                    f"at most {MOST_PIXELS:,}"
                )
            return np.asarray(picture.convert("RGB"))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"the picture {path} has too many pixels: {error}") from error
    except Exception as error:  # Pillow's readers raise whatever damaged files make them raise
        raise FailureError(f"the picture {path} cannot be read: {error}") from error


def fitted(picture: np.ndarray, side: int, fit: Fit) -> np.ndarray:
    """A picture as uint8 [side, side, 3], by Pillow's bicubic filter.

    Args:
        picture: uint8 [rows, columns, 3].
        side: pixels.
        fit: `crop` makes the shorter side fit and cuts out the middle, as torchvision does;
            `squash` changes the proportions.
    """
    if fit == "crop":
        return middle_square(picture, side, round_middle=True)
    from PIL import Image

    resized = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized)
