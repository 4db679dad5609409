"""Canvases: what is kept lies where it lay, and only the rest is drawn."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_toys import CODES, IDS, MODEL, TOKENS, params, prompts

from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.images import ImageDiffusionConfig, diffusion_image
from jaxreason.sampling.diffusion.inpainting import (
    box,
    inpaint,
    place,
    slide,
    stitch,
    with_canvas,
)
from jaxreason.training.diffusion.pixels import inpaint_pixels

GRID = (2, 3)
PICTURES = np.random.default_rng(0).integers(0, CODES, (2, *GRID))


def draw(canvas, seed=0):
    batch = with_canvas(prompts([[6], [7, 8]]), canvas, **IDS)
    result = SAMPLER({**PARAMS}, batch, jax.random.key(seed))
    return np.asarray(result.codes).reshape(-1, *GRID)


PARAMS = params()
SAMPLER = diffusion_image(MODEL, ImageDiffusionConfig(TOKENS, steps=3), **IDS)


class SquareCodec:
    """Pictures of 2 x 3 squares of 4 pixels, their codes in red."""

    codes, grid, tokens, picture, identity = CODES, GRID, TOKENS, (8, 12), {"codec": "square"}

    def encode(self, images):
        return (images[:, ::4, ::4, 0] // 10).reshape(len(images), -1).astype(np.int32)

    def decode(self, codes):
        squares = (10 * codes.reshape(-1, *GRID)).astype(np.uint8)
        return np.repeat(np.kron(squares, np.ones((1, 4, 4), np.uint8))[..., None], 3, axis=3)


def test_pixels_are_drawn_again_where_asked_and_nowhere_else():
    images = SquareCodec().decode(PICTURES)
    images[..., 1] = np.random.default_rng(1).integers(0, 255, images.shape[:3])
    hole = box(8, 12, 2, 5, 7, 6)  # within the squares of the second column

    def redraw(draw, **changes):
        arguments = {"prompts": prompts([[6], [7, 8]]), "codec": SquareCodec(), **IDS, **changes}
        key = jax.random.key(0)
        return inpaint_pixels(SAMPLER, PARAMS, key, images=images, draw=draw, **arguments)

    found = redraw(hole)
    np.testing.assert_array_equal(found[:, ~hole], images[:, ~hole])
    squares = box(*GRID, 0, 1, 2, 2)
    expected = SquareCodec().decode(draw(inpaint(PICTURES, squares)))
    np.testing.assert_array_equal(found[:, hole], expected[:, hole])
    one = np.stack([hole, ~hole & False])
    np.testing.assert_array_equal(redraw(one)[1], images[1])
    for wrong, message in ((hole.astype(int), "dtype int64"), (hole[1:], r"shape \(7, 12\)")):
        with pytest.raises(InputError, match=message):
            redraw(wrong)
    with pytest.raises(InputError, match="False everywhere"):
        redraw(hole & False)
    with pytest.raises(InputError, match="image_codes is 6; the codec has 7"):
        redraw(hole, image_codes=6)


def test_a_box_is_drawn_again_and_the_rest_stays():
    hole = box(*GRID, 0, 1, 2, 3)
    drawn = [draw(inpaint(PICTURES, hole), seed) for seed in range(3)]
    for picture in drawn:
        np.testing.assert_array_equal(picture[:, ~hole], PICTURES[:, ~hole])
    assert any((picture[:, hole] != PICTURES[:, hole]).any() for picture in drawn)
    flat = inpaint(PICTURES.reshape(2, -1), hole.reshape(-1))
    np.testing.assert_array_equal(flat.reshape(2, *GRID), inpaint(PICTURES, hole))


def test_a_small_picture_goes_on_in_a_larger_canvas():
    small = PICTURES[:, :1, :2]
    canvas = place(small, *GRID, top=1, left=1)
    assert (canvas < 0).sum() == 2 * (6 - 2)
    np.testing.assert_array_equal(draw(canvas)[:, 1:, 1:], small)


def test_a_picture_goes_on_to_the_right_in_a_moved_window():
    moved = draw(slide(PICTURES, 0, 1))
    wide = stitch(PICTURES, moved, top=0, left=1)
    assert wide.shape == (2, 2, 4)
    np.testing.assert_array_equal(wide[:, :, :3], PICTURES)
    np.testing.assert_array_equal(wide[:, :, 3], moved[:, :, 2])


@given(st.integers(-3, 3), st.integers(-4, 4))
def test_moving_and_stitching_keep_every_known_code(rows, columns):
    codes = np.arange(2 * 4 * 5).reshape(2, 4, 5)
    if (rows, columns) == (0, 0):
        return
    canvas = slide(codes, rows, columns)
    known = canvas >= 0
    assert known.sum() == 2 * (4 - abs(rows)) * (5 - abs(columns))
    whole = stitch(codes, np.where(known, canvas, 99), rows, columns)
    assert whole.shape == (2, 4 + abs(rows), 5 + abs(columns))
    top, left = max(0, -rows), max(0, -columns)
    np.testing.assert_array_equal(whole[:, top : top + 4, left : left + 5], codes)
    window = whole[:, top + rows :][:, :4, left + columns :][:, :, :5]
    np.testing.assert_array_equal(np.where(known, canvas, 99), window)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inpaint(PICTURES, np.ones(GRID, int)), "draw has dtype int64; expected bool"),
        (lambda: inpaint(PICTURES, np.ones((3, 3), bool)), r"draw of shape \(3, 3\) does not fit"),
        (lambda: box(2, 3, 0, 2, 2, 4), "columns 2 to 4 .* leaves the grid of 2 x 3"),
        (lambda: place(PICTURES, 2, 3, 0, 1), "leaves the grid of 2 x 3"),
        (lambda: slide(PICTURES, 0, 3), "a move by 0 rows and 3 columns"),
        (lambda: stitch(PICTURES, PICTURES[:1], 0, 1), "drawn has 1 windows; expected 2"),
        (lambda: place(PICTURES[0], 2, 3, 0, 0), r"codes have shape \(2, 3\)"),
    ],
)
def test_what_does_not_fit_the_grid_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("canvas", "message"),
    [
        (PICTURES[:, :1], "2 pictures of 3 codes does not fit 2 prompts of .6. image slots"),
        (PICTURES + CODES, "picture 0 has code .* at place 0; expected 0 to 6, or -1"),
    ],
)
def test_a_canvas_that_does_not_fit_the_prompts_is_refused(canvas, message):
    with pytest.raises(InputError, match=message):
        with_canvas(prompts([[6], [7, 8]]), canvas, **IDS)
