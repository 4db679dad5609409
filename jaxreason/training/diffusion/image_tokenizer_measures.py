"""How well an image tokenizer gives back pictures it has not trained on."""

from typing import NamedTuple

import numpy as np

from jaxreason.data.multimodal.pictures import MazePictures, PictureSource
from jaxreason.mazes.rasters import read_raster
from jaxreason.tokens.image_codec import ImageCodec


class TokenizerMeasures(NamedTuple):
    """Pictures through a codec and back.

    Attributes:
        images: uint8 [n, rows, columns, 3], as they were.
        reconstructions: uint8, the same shape.
        use: int64 [codes], how often each code occurs.
        numbers: `mean_square_error` (in -1..1, as in training), `mean_absolute_error` (steps of
            0..255), `codes_used` (share of the codebook), `code_perplexity` (exponential of the
            codes' entropy); of mazes also `cells_right` and `pictures_right`, the shares read
            back exactly.
        right: bool [n], which mazes are read back exactly; None of other pictures.
    """

    images: np.ndarray
    reconstructions: np.ndarray
    use: np.ndarray
    numbers: dict[str, float]
    right: np.ndarray | None


def measure_tokenizer(codec: ImageCodec, source: PictureSource, count: int) -> TokenizerMeasures:
    """The first `count` pictures of a source (all, if it has fewer) through a codec and back."""
    indices = np.arange(min(count, len(source)))
    images = source.images(indices)
    codes = codec.encode(images)
    again = codec.decode(codes)
    error = again.astype(np.float32) - images
    use = np.bincount(codes.ravel(), minlength=codec.codes)
    shares = use[use > 0] / use.sum()
    numbers = {
        "mean_square_error": float(np.square(error / 127.5).mean()),
        "mean_absolute_error": float(np.abs(error).mean()),
        "codes_used": float((use > 0).mean()),
        "code_perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
    }
    right = None
    if isinstance(source, MazePictures):
        cells = source.cells(indices)
        same = read_raster(again, source.data.width, source.data.height).cells == cells
        right = same.all(axis=(1, 2))
        numbers |= {"cells_right": float(same.mean()), "pictures_right": float(right.mean())}
    return TokenizerMeasures(images, again, use, numbers, right)
