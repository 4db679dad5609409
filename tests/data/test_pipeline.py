"""Order, sharding, resume and errors of the batch stream."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from stub_source import StubSource

from jaxreason.data.pipeline import training_batches
from jaxreason.errors import InputError

PACKINGS = ["packed", "buckets", "padded"]
SIZES = np.random.default_rng(7).integers(3, 40, 60)


def batches_of(source=None, **fields):
    settings = {"batch_size": 3, "length": 64, "window": 10, "prefetch": 0, "pad_id": -1} | fields
    return training_batches(source or StubSource(SIZES), **settings)


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def indices(batches):
    """Example indices in a list of batches, in order."""
    starts = [batch["tokens"][batch["positions"] + 100 * (batch["segments"] == 0) == 0]
              for batch in batches]  # fmt: skip
    return [int(token) // 100 for tokens in starts for token in tokens]


def assert_same(left, right):
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_resumed_stream_continues_bit_for_bit_from_any_batch(packing, prefetch):
    batches = batches_of(packing=packing, prefetch=prefetch)
    reference = take(iter(batches), 45)
    iterator = iter(batches)
    for done in range(30):
        state = json.loads(json.dumps(iterator.get_state()))
        if done % 7 == 0:
            resumed = iter(batches)
            resumed.set_state(state)
            assert_same(take(resumed, 12), reference[done : done + 12])
            assert resumed.examples > state["streams"]["0"]["examples"]
        next(iterator)


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_state_counts_what_was_handed_out_not_what_was_prefetched(packing):
    eager, prefetching = (iter(batches_of(packing=packing, prefetch=n)) for n in (0, 3))
    for _ in range(5):
        next(eager), next(prefetching)
        assert eager.get_state() == prefetching.get_state()


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_finite_stream_resumes_between_its_last_batches_and_then_ends(packing):
    batches = batches_of(packing=packing, epochs=1)
    reference = list(batches)
    resumed, iterator = iter(batches), iter(batches)
    take(iterator, len(reference) - 2)
    resumed.set_state(iterator.get_state())
    assert_same(list(resumed), reference[-2:])
    with pytest.raises(StopIteration):
        next(resumed)


def test_an_iterator_can_be_set_back_to_an_earlier_state():
    iterator = iter(batches_of(prefetch=2))
    take(iterator, 4)
    state = iterator.get_state()
    first = take(iterator, 5)
    iterator.set_state(state)
    assert_same(take(iterator, 5), first)


def test_orbax_saves_and_restores_the_stream_with_a_checkpoint(tmp_path):
    from orbax.checkpoint import v1 as ocp

    batches = batches_of(prefetch=2)
    iterator = iter(batches)
    take(iterator, 6)
    with ocp.training.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save_checkpointables(6, {"state": {"step": np.array(6)}, "data": iterator})
        expected = take(iterator, 5)
        restored = iter(batches)
        checkpointer.load_checkpointables(6, {"state": None, "data": restored})
    assert_same(take(restored, 5), expected)


def test_each_epoch_and_each_seed_has_its_own_order():
    def order(seed, epochs):
        batches = batches_of(packing="padded", batch_size=1, seed=seed, epochs=epochs)
        return indices(batches)

    both, count = order(0, 2), len(SIZES)
    first, second = both[:count], both[count:]
    assert sorted(first) == sorted(second) == list(range(count))
    # Epoch 1 of seed 0 must not be epoch 0 of seed 1.
    orders = [tuple(row) for row in (first, second, order(1, 1), range(count))]
    assert len(set(orders)) == 4
    assert order(0, 1) == first


def test_every_order_of_an_epoch_is_equally_likely():
    epochs = 1800
    source = StubSource([5, 5, 5])
    order = indices(batches_of(source, packing="padded", batch_size=50, epochs=epochs))
    codes = np.array(order).reshape(epochs, 3) @ (9, 3, 1)
    _, counts = np.unique(codes, return_counts=True)
    expected = epochs / 6
    # Chi-square with 5 degrees of freedom stays below 20.5 with probability 0.999.
    assert len(counts) == 6
    assert ((counts - expected) ** 2 / expected).sum() < 20.5


def test_an_example_that_does_not_fit_is_an_error_naming_it():
    source = StubSource([5, 70, 9])
    with pytest.raises(InputError, match=r"example 1 has 70 tokens but length is 64"):
        take(iter(batches_of(source, prefetch=2)), 10)


@pytest.mark.parametrize("packing", PACKINGS)
def test_dropped_examples_are_counted_also_over_a_resume(packing):
    source = StubSource([5, 70, 9, 64, 65] * 8)
    batches = batches_of(source, packing=packing, overflow="drop", epochs=2, prefetch=2)
    iterator = iter(batches)
    first = take(iterator, 2)
    resumed = iter(batches)
    resumed.set_state(iterator.get_state())
    rest = list(resumed)
    assert resumed.dropped == 2 * 2 * 8
    assert sorted(indices(first + rest)) == sorted([i for i in range(40) if i % 5 in (0, 2, 3)] * 2)
    assert resumed.examples == 48


@pytest.mark.parametrize("epochs", [None, 1])
def test_dropping_everything_is_an_error_not_an_endless_loop(epochs):
    batches = batches_of(StubSource([70] * 5), overflow="drop", epochs=epochs)
    with pytest.raises(InputError, match="none of the 5 examples fits into length 64"):
        next(iter(batches))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"packing": "pack"}, "packing is 'pack'; expected one of packed, buckets, padded"),
        ({"loss_on": "prompt"}, "loss_on is 'prompt'"),
        ({"overflow": "truncate"}, "overflow is 'truncate'"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"length": -3}, "length is -3"),
        ({"epochs": 0}, "epochs is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"share_index": 2, "share_count": 2}, "share_index is 2"),
        ({"streams": 2}, r"batch_size is 3; it must be a multiple of streams \(2\)"),
        ({"streams": -1}, "streams is -1"),
        (
            {"streams": 3, "share_count": 2},
            r"batch\.streams is 3; it must be a multiple of 2, .* begins .* --batch\.streams 6",
        ),
        ({"batch_size": 99, "streams": 99}, "60 examples for 99 streams"),
        ({"packing": "buckets", "buckets": (32, 16, 64)}, r"buckets is \(32, 16, 64\)"),
        ({"packing": "buckets", "buckets": (16, 32)}, "the last is the row length 64"),
        ({"packing": "buckets", "share_count": 3}, "differ from stream to stream"),
        ({"packing": "buckets", "row_multiple": 2}, "multiple of row_multiple"),
        ({"buckets": (64,)}, "packing is 'packed', not 'buckets'"),
        ({"batchsize": 4}, "unknown field 'batchsize'"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        batches_of(**fields)


@pytest.mark.parametrize(
    "change", [{"length": 72}, {"batch_size": 4}, {"seed": 1}, {"packing": "padded"}]
)
def test_a_state_of_another_pipeline_is_refused_by_name(change):
    state = iter(batches_of()).get_state()
    with pytest.raises(InputError, match=f"a pipeline with {next(iter(change))} "):
        iter(batches_of(**change)).set_state(state)


def test_making_an_iterator_leaves_the_class_alone():
    batches = batches_of()
    before = type(iter(batches)).__next__
    for _ in range(3):
        assert type(iter(batches)).__next__ is before


def test_a_process_that_ends_while_prefetching_exits_cleanly():
    # A prefetch thread caught in native code at shutdown would abort the process (code 134).
    script = (
        "from stub_source import StubSource\n"
        "from jaxreason.data import training_batches\n"
        "batches = training_batches(StubSource([9] * 500), pad_id=0, batch_size=4, length=64)\n"
        "iterator = iter(batches)\n"
        "for _ in range(20): next(iterator)\n"
    )
    folder = __file__.rsplit("/", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
