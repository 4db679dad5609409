"""Pictures by index and endless batches that can be resumed."""

import itertools
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from jaxreason.data.multimodal.pictures import PictureBatches, PictureData, picture_source
from jaxreason.data.streams import merge_states
from jaxreason.errors import InputError
from jaxreason.mazes.generators import generate, generate_solved
from jaxreason.mazes.rasters import PLAN, rasterise, read_raster

MAZES = PictureData(width=5, height=6, cell_pixels=2, count=40, seed=3)


def test_a_picture_is_that_of_the_problem_of_its_index():
    source = picture_source(MAZES)
    images = source.images(range(40))
    assert images.shape == (40, 12, 10, 3)
    assert images.dtype == np.uint8
    shown = (source.cells(range(40)) == PLAN).any(axis=(1, 2))
    for index in range(40):
        problem, trace = generate_solved(MAZES.maze, MAZES.seed, index)
        assert np.array_equal(images[index], rasterise(problem, None, 2)) or (
            np.array_equal(images[index], rasterise(problem, trace.plan, 2))
        )
    assert 10 < shown.sum() < 30
    np.testing.assert_array_equal(read_raster(images, 5, 6).cells, source.cells(range(40)))


def test_any_order_gives_the_same_pictures():
    source = picture_source(MAZES)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(source.images(order), source.images(range(40))[order])
    np.testing.assert_array_equal(source.images([7])[0], picture_source(MAZES).images([7])[0])
    assert source.images([]).shape == (0, 12, 10, 3)


def test_plans_in_all_pictures_or_in_none():
    for share, wanted in ((0.0, False), (1.0, True)):
        source = picture_source(replace(MAZES, plan_share=share))
        for index, cells in enumerate(source.cells(range(40))):
            problem = generate(MAZES.maze, MAZES.seed, index)
            apart = abs(np.subtract(problem.start, problem.goal)).sum() > 1
            assert (cells == PLAN).any() == (wanted and apart)


def test_batches_go_on_for_ever_and_each_epoch_shows_every_picture():
    source = picture_source(replace(MAZES, count=12))
    everything = source.images(range(12))
    batches = [b["images"] for b in itertools.islice(PictureBatches(source, 8), 6)]
    stream = np.concatenate(batches)
    numbers = [int(np.flatnonzero((everything == x).all((1, 2, 3)))[0]) for x in stream]
    epochs = [numbers[i : i + 12] for i in range(0, 48, 12)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_saved_position_goes_on_with_the_same_pictures():
    source = picture_source(MAZES)
    whole = list(itertools.islice(PictureBatches(source, 16), 5))
    iterator = iter(PictureBatches(source, 16))
    next(iterator), next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    again = iter(PictureBatches(picture_source(MAZES), 16))
    again.set_state(state)
    for wanted in whole[2:]:
        np.testing.assert_array_equal(next(again)["images"], wanted["images"])
    other = iter(PictureBatches(picture_source(replace(MAZES, plan_share=0.25)), 16))
    with pytest.raises(InputError, match=r"pictures with plan_share 0\.5, these have 0\.25"):
        other.set_state(state)
    with pytest.raises(InputError, match="pictures with rows 16, these have 8"):
        iter(PictureBatches(source, 8)).set_state(state)


def test_processes_share_the_stream():
    source = picture_source(MAZES)
    whole = list(itertools.islice(PictureBatches(source, 8), 11))
    shares = [iter(PictureBatches(source, 8, index, 4)) for index in range(4)]
    for wanted in whole[:6]:
        joined = np.concatenate([next(share)["images"] for share in shares])
        np.testing.assert_array_equal(joined, wanted["images"])
    state = merge_states([share.get_state() for share in shares])
    # 40 pictures: the second epoch has begun, and two shares go on.
    shares = [iter(PictureBatches(source, 8, index, 2)) for index in range(2)]
    for share in shares:
        share.set_state(state)
    for wanted in whole[6:]:
        joined = np.concatenate([next(share)["images"] for share in shares])
        np.testing.assert_array_equal(joined, wanted["images"])
    with pytest.raises(InputError, match="batch_size is 8; it must be a multiple of 3"):
        PictureBatches(source, 8, 0, 3)


def test_digits_have_three_equal_channels_and_disjoint_splits():
    pytest.importorskip("sklearn")
    sources = {
        split: picture_source(PictureData(kind="digits", side=12, split=split))
        for split in ("train", "validation", "test")
    }
    assert sum(map(len, sources.values())) == 1797
    assert [len(sources[split]) for split in ("validation", "test")] == [180, 180]
    images = sources["train"].images(range(20))
    assert images.shape == (20, 12, 12, 3)
    assert (images == images[..., :1]).all()
    assert images.max() > 200
    # The first two pictures of the set, a zero and a one, are for testing and validation.
    assert sources["test"].labels[0] == 0
    assert sources["validation"].labels[0] == 1
    assert sources["train"].labels[:3].tolist() == [2, 3, 4]


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    from jaxreason.data.multimodal import pictures

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    pictures._digits.cache_clear()
    with pytest.raises(InputError, match=r"install jaxreason\[images\]"):
        picture_source(PictureData(kind="digits"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "cats"}, "data.kind is 'cats'; expected one of mazes, digits"),
        ({"split": "dev"}, "data.split is 'dev'"),
        ({"cell_pixels": 0}, "cell_pixels is 0"),
        ({"plan_share": 1.5}, "data.plan_share is 1.5"),
        ({"count": 0}, "data.count is 0"),
        ({"side": 0}, "data.side is 0"),
        ({"seed": -1}, "data.seed is -1"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        PictureData(**fields)


def test_a_batch_larger_than_the_set_and_an_index_outside_it():
    source = picture_source(MAZES)
    with pytest.raises(InputError, match=r"batch_size is 41; .* 1 to 40"):
        PictureBatches(source, 41)
    with pytest.raises(IndexError, match="indices go to 40"):
        source.images([0, 40])
