"""The palette codec: one code per maze cell, and nothing lost."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.generators import MazeConfig, generate_solved
from jaxreason.mazes.rasters import cell_classes, rasterise
from jaxreason.tokens.image_codec import PaletteCodec

CODEC = PaletteCodec(3, 2, cell_pixels=2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.data())
def test_all_codes_survive_decoding_and_encoding(width, height, pixels, data):
    codec = PaletteCodec(width, height, pixels)
    row = st.lists(st.integers(0, 7), min_size=width * height, max_size=width * height)
    codes = np.array(data.draw(st.lists(row, min_size=1, max_size=3)))
    images = codec.decode(codes)
    assert images.shape == (len(codes), height * pixels, width * pixels, 3)
    assert images.dtype == np.uint8
    again = codec.encode(images)
    assert again.dtype == np.int32
    np.testing.assert_array_equal(again, codes)


def test_codes_are_the_cells_row_by_row_and_pictures_survive():
    problem, trace = generate_solved(MazeConfig("wilson", 7, 5), 3, 0)
    codec = PaletteCodec(7, 5)
    images = np.stack([rasterise(problem), rasterise(problem, trace.plan)])
    codes = codec.encode(images)
    np.testing.assert_array_equal(codes[0], cell_classes(problem).ravel())
    np.testing.assert_array_equal(codes[1], cell_classes(problem, trace.plan).ravel())
    np.testing.assert_array_equal(codec.decode(codes), images)


def test_its_sizes_and_identity():
    assert (CODEC.codes, CODEC.tokens, CODEC.grid, CODEC.picture) == (8, 6, (2, 3), (4, 6))
    assert json.loads(json.dumps(CODEC.identity)) == CODEC.identity
    assert CODEC.identity != PaletteCodec(3, 2, cell_pixels=3).identity


def test_no_pictures_give_no_codes():
    assert CODEC.encode(np.zeros((0, 4, 6, 3), np.uint8)).shape == (0, 6)
    assert CODEC.decode(np.zeros((0, 6), int)).shape == (0, 4, 6, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PaletteCodec(0, 2), "width is 0"),
        (lambda: PaletteCodec(2, 2, 0), "cell_pixels is 0"),
        (lambda: CODEC.encode(np.zeros((1, 6, 4, 3), np.uint8)), r"expected \[n, 4, 6, 3\]"),
        (lambda: CODEC.encode(np.zeros((4, 6, 3), np.uint8)), "images has shape"),
        (lambda: CODEC.encode(np.zeros((1, 4, 6, 1), np.uint8)), "images must be RGB"),
        (lambda: CODEC.encode(np.zeros((1, 4, 6, 3), np.float32)), "images must be RGB, uint8"),
        (
            lambda: CODEC.decode(np.full((1, 6), 8)),
            "codes has 8 in row 0 at place 0; expected 0..7",
        ),
        (lambda: CODEC.decode(np.zeros((1, 5), int)), r"codes must be whole numbers \[n, 6\]"),
        (lambda: CODEC.decode(np.zeros((1, 6))), "codes must be whole numbers"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
