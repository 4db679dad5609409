"""Ranges of ids: the published ones, and those of the maze world."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.rasters import CELL_CLASSES
from jaxreason.tokens.maze_vocabulary import MazeVocabulary
from jaxreason.tokens.maze_world_vocabulary import (
    CELL_WORDS,
    SPECIALS,
    TEMPLATE,
    MazeWorldVocabulary,
)
from jaxreason.tokens.multimodal_vocabulary import SPECIAL_FIELDS, MultimodalIds, mmada_ids

WORLD = MazeWorldVocabulary(5, 4, 8)


def test_the_ids_of_mmada():
    ids = mmada_ids()
    assert (ids.size, ids.image_codes) == (134656, 8192) == (126464 + 8192, 8192)
    assert (ids.bos, ids.eos, ids.pad, ids.mask) == (126080, 126081, 126081, 126336)
    assert (ids.soi, ids.eoi, ids.t2i, ids.mmu) == (126084, 126085, 126088, 126089)
    assert (ids.image_pad, ids.r2i, ids.end_of_turn) == (126093, 126094, 126348)
    assert ids.image_ids([0, 8191]).tolist() == [126349, 134540]


def test_the_offset_is_stored_not_derived():
    ids = mmada_ids(image_offset=126_351)
    assert ids.image_ids([5]).tolist() == [126_356]
    assert ids.identity["image_offset"] == 126_351
    assert MultimodalIds(**ids.identity) == ids


@given(st.lists(st.integers(0, 8191)))
def test_codes_and_image_ids_are_inverse(codes):
    ids = mmada_ids()
    there = ids.image_ids(codes)
    assert there.dtype == np.int32
    assert ids.codes(there).tolist() == codes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ids: ids.image_ids([0, 8192]), "image code 8192 at place 1 is outside 0..8191"),
        (lambda ids: ids.image_ids([[0, 1], [-1, 2]]), r"image code -1 at place \(1, 0\)"),
        (lambda ids: ids.codes([126348]), "image id 126348 at place 0 is outside 126349..134540"),
        (lambda ids: ids.codes([134541]), "134541 at place 0"),
        (lambda ids: ids.image_ids([0.5]), "codes has the type float64"),
        (lambda ids: ids.check_text([1, 134600], "prompt"), "id in the prompt: 134600 at place 1"),
    ],
)
def test_an_id_outside_its_range_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(mmada_ids())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": 126081}, "mask is 126081, and so is eos"),
        ({"soi": 126_349}, r"soi is 126349; expected an id in 0..126348"),
        ({"image_offset": 126_000}, "image_offset is 126000"),
        ({"size": 134_000}, "size is 134000.*at least 134541"),
        ({"image_codes": 0}, "image_codes is 0"),
    ],
)
def test_ranges_that_overlap_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(mmada_ids(), **change)


def test_the_maze_world_has_its_words_specials_and_images_in_order():
    maze = MazeVocabulary(5, 4)
    assert WORLD.words[: maze.size - 4] == maze.words[:-4]
    assert len(CELL_WORDS) == len(CELL_CLASSES)
    assert WORLD.words[WORLD.text_size - 4 - len(SPECIALS) : WORLD.text_size - 4] == SPECIALS
    assert WORLD.words[WORLD.text_size :] == tuple(f"<|image:{code}|>" for code in range(8))
    assert len(set(WORLD.words)) == len(WORLD.words) == WORLD.size == WORLD.ids.size
    assert [WORLD.id(word) for word in WORLD.words] == list(range(WORLD.size))


def test_the_special_ids_of_the_maze_world_are_its_words():
    words = {name: WORLD.words[getattr(WORLD.ids, name)] for name in SPECIAL_FIELDS}
    assert words == {
        **{name: f"<|{name}|>" for name in ("bos", "eos", "mask", "soi", "eoi")},
        **{name: f"<|{name}|>" for name in ("t2i", "mmu", "r2i")},
        **{"pad": "<|eos|>", "image_pad": "<|pad|>", "end_of_turn": "<|eot_id|>"},
        **{"start_header": "<|start_header_id|>", "end_header": "<|end_header_id|>"},
    }
    assert WORLD.ids.image_ids([3]).tolist() == [WORLD.id("<|image:3|>")]


@given(st.lists(st.integers(0, WORLD.size - 1)))
def test_all_ids_survive_decoding_and_encoding(ids):
    assert WORLD.encode(WORLD.decode(ids)).tolist() == ids


def test_turns_are_words_of_the_maze_world():
    text = TEMPLATE.render([("user", "solve # . S")], prompt=True)
    words = WORLD.decode(WORLD.encode(text))
    assert words == (
        "<|start_header_id|> user <|end_header_id|> <nl> solve # . S <|eot_id|> "
        "<|start_header_id|> assistant <|end_header_id|> <nl>"
    )


def test_a_world_without_image_codes_is_refused():
    with pytest.raises(InputError, match="image_codes is 0"):
        MazeWorldVocabulary(5, 5, 0)
    with pytest.raises(InputError, match="width is 0"):
        MazeWorldVocabulary(0, 5, 8)
