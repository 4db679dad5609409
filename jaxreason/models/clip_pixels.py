"""Pictures as CLIP wants them: bicubic to the size, the middle cut out, normalised."""

from collections.abc import Sequence

import numpy as np

from jaxreason.errors import InputError

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""Of the red, green and blue of OpenAI's training pictures, in 0..1 (also ImageReward's)."""


def clip_pixels(
    pictures: Sequence[np.ndarray] | np.ndarray, size: int, *, round_middle: bool = False
) -> np.ndarray:
    """Normalised pixels [n, size, size, 3] float32.

    The shorter side becomes `size` (Pillow's bicubic filter), the middle square is cut out.

    Args:
        pictures: uint8 [rows, columns, 3] each, of any size.
        size: `image_size` of the model.
        round_middle: where the middle is no whole pixel, it is rounded to the nearest (the even one
            of two), as torchvision does, and ImageReward with it; else down, as transformers does.

    Raises:
        InputError: a picture that is not RGB in whole bytes, or none at all.
    """
    if len(pictures) == 0:
        raise InputError("there is no picture; expected at least one")
    found = [
        _pixels(np.asarray(picture), i, size, round_middle) for i, picture in enumerate(pictures)
    ]
    return np.stack(found)


def middle_square(picture: np.ndarray, size: int, *, round_middle: bool = False) -> np.ndarray:
    """The middle of a picture as `clip_pixels` cuts it out, uint8 [size, size, 3].

    Arguments as for `clip_pixels`; the picture is taken as it is.
    """
    from PIL import Image

    rows, columns = picture.shape[:2]
    shorter = min(rows, columns)
    # the longer side is rounded down, as transformers does
    new = (size * columns // shorter, size * rows // shorter)
    resized = Image.fromarray(picture).resize(new, Image.Resampling.BICUBIC)
    left, top = (round((side - size) / 2) if round_middle else (side - size) // 2 for side in new)
    return np.asarray(resized)[top : top + size, left : left + size]


def _pixels(picture: np.ndarray, index: int, size: int, round_middle: bool) -> np.ndarray:
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise InputError(f"picture {index} has shape {picture.shape}; expected [rows, columns, 3]")
    if picture.dtype != np.uint8:
        raise InputError(f"picture {index} has dtype {picture.dtype}; expected uint8, 0 to 255")
    square = middle_square(picture, size, round_middle=round_middle)
    return (square.astype(np.float32) / 255 - MEAN) / DEVIATION
