"""Parts of pictures drawn again, from pixels to pixels: codec and sampler together."""

import numpy as np
from jaxtyping import PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.images import ImageSampler
from jaxreason.sampling.diffusion.inpainting import inpaint, with_canvas
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.types import Batch, Params


def inpaint_pixels(
    sampler: ImageSampler,
    params: Params,
    key: PRNGKeyArray,
    *,
    codec: ImageCodec,
    prompts: Batch,
    images: np.ndarray,
    draw: np.ndarray,
    image_offset: int,
    image_codes: int,
    mask_id: int,
) -> np.ndarray:
    """Parts of pictures drawn again, given in pixels; every other pixel stays as it is.

    The pictures become codes, the places that a pixel to draw touches become masks, the sampler
    fills them in, and what it drew is pasted into the pictures.

    Args:
        sampler: of `diffusion_image`, for the codec's number of tokens.
        params: of its model.
        key: of the sampling.
        codec: between pixels and codes.
        prompts: for the sampler, one row per picture; what their image slots hold is replaced.
        images: [B, rows, columns, 3] uint8.
        draw: [B, rows, columns] or [rows, columns] bool, True where to draw.
        image_offset: id of image code 0.
        image_codes: number of image codes.
        mask_id: id of a masked token.

    Returns:
        [B * samples, rows, columns, 3] uint8, the samples of a picture next to each other.

    Raises:
        InputError: images, prompts or `draw` do not fit, nothing is to be drawn, or the codec has
            other codes.

    Example:
        `draw = box(64, 64, 16, 16, 48, 48)` and `inpaint_pixels(sampler, params, key, codec=codec,
        prompts=prompts, images=images, draw=draw, image_offset=ids.image_offset,
        image_codes=ids.image_codes, mask_id=ids.mask)` draw the middle of 64 x 64 pixels again.
    """
    if codec.codes != image_codes:
        raise InputError(f"image_codes is {image_codes}; the codec has {codec.codes}")
    codes, draw = codec.encode(images), np.asarray(draw)
    if draw.dtype != bool or draw.shape not in (images.shape[:3], images.shape[1:3]):
        raise InputError(
            f"draw has dtype {draw.dtype} and shape {draw.shape}; expected bool of shape "
            f"{images.shape[:3]} or {images.shape[1:3]}"
        )
    if not draw.any():
        raise InputError("draw is False everywhere; expected True where to draw")
    draw = np.broadcast_to(draw, images.shape[:3])
    (rows, columns), (height, width) = codec.grid, codec.picture
    cells = draw.reshape(len(draw), rows, height // rows, columns, width // columns)
    touched = np.asarray(cells.any(axis=(2, 4)))
    canvas = inpaint(codes.reshape(-1, rows, columns), touched)
    batch = with_canvas(
        prompts, canvas, image_offset=image_offset, image_codes=image_codes, mask_id=mask_id
    )
    drawn = codec.decode(np.asarray(sampler(params, batch, key).codes))
    samples = len(drawn) // len(images)
    old, hole = (np.repeat(x, samples, axis=0) for x in (images, draw))
    return np.where(hole[..., None], drawn, old)
