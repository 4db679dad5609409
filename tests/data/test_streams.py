"""Shares of a batch: together they are the batch of one process, and any number can go on."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_source import StubSource

from jaxreason.data.orders import epoch_order
from jaxreason.data.pipeline import training_batches
from jaxreason.data.streams import merge_states
from jaxreason.errors import FailureError, InputError

SIZES = np.random.default_rng(3).integers(3, 40, 61)


def shares(count, source=None, streams=4, **fields):
    given = {"batch_size": 8, "length": 64, "window": 5, "prefetch": 0, "pad_id": -1} | fields
    source = source or StubSource(SIZES)
    return [
        iter(training_batches(source, share_index=i, share_count=count, streams=streams, **given))
        for i in range(count)
    ]


def step(iterators):
    """The next batch of all shares, joined as the devices see it; None if none has one."""
    parts = [next(iterator, None) for iterator in iterators]
    if all(part is None for part in parts):
        return None
    assert all(part is not None for part in parts), "some shares ended before others"
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def steps(iterators, count=None):
    found = iter(lambda: step(iterators), None)
    return list(found if count is None else itertools.islice(found, count))


def examples_in(batches):
    """Example indices, each as often as it occurs."""
    starts = [b["tokens"][(b["positions"] == 0) & (b["segments"] > 0)] for b in batches]
    return [int(token) // 100 for tokens in starts for token in tokens]


def assert_same(left, right):
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("packing", ["packed", "padded"])
@pytest.mark.parametrize("epochs", [None, 2])
def test_shares_together_are_the_batches_of_one_share_with_as_many_streams(packing, epochs):
    whole, *parted = (
        steps(shares(count, packing=packing, epochs=epochs), None if epochs else 30)
        for count in (1, 2, 4)
    )
    for batches in parted:
        assert_same(batches, whole)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 16), min_size=4, max_size=40),
    streams=st.sampled_from([1, 2, 4]),
    parts=st.sampled_from([1, 2, 4]),
    packing=st.sampled_from(["packed", "padded"]),
    epochs=st.integers(1, 2),
)
def test_an_epoch_has_every_example_once_and_all_shares_end_at_one_step(
    sizes, streams, parts, packing, epochs
):
    streams = max(streams, parts)
    fields = {"batch_size": 4, "length": 16, "window": 3, "packing": packing, "epochs": epochs}
    batches = steps(shares(parts, StubSource(sizes), streams, **fields))
    assert sorted(examples_in(batches)) == sorted([*range(len(sizes))] * epochs)


def test_streams_end_at_different_steps_when_their_rows_fill_differently():
    order = epoch_order(16, 0, 0)
    sizes = np.full(16, 2)
    sizes[order[0::2]] = 16
    fields = {"batch_size": 2, "length": 16, "window": 8, "epochs": 1}
    long, short = shares(2, StubSource(sizes), 2, **fields)
    batches = [list(long), list(short)]
    assert len(batches[0]) == len(batches[1]) == 8
    empty = [not batch["segments"].any() for batch in batches[1]]
    assert empty == [False] + [True] * 7
    assert next(short, None) is None


@pytest.mark.parametrize("packing", ["packed", "padded"])
@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_any_number_of_shares_goes_on_from_the_state_of_four(packing, prefetch, after):
    fields = {"packing": packing, "prefetch": prefetch}
    before = shares(4, **fields)
    steps(before, 7)
    state = json.loads(json.dumps(merge_states([it.get_state() for it in before])))
    expected = steps(before, 9)
    resumed = shares(after, **fields)
    for iterator in resumed:
        iterator.set_state(state)
    assert_same(steps(resumed, 9), expected)
    ends = [merge_states([it.get_state() for it in its]) for its in (before, resumed)]
    assert ends[0] == ends[1]


def test_a_finite_stream_resumed_after_its_rows_ran_out_ends_where_it_would_have():
    fields = {"epochs": 1, "packing": "padded", "batch_size": 4}
    whole = steps(shares(1, **fields))
    before = shares(4, **fields)
    steps(before, len(whole) - 1)
    state = merge_states([it.get_state() for it in before])
    resumed = shares(2, **fields)
    for iterator in resumed:
        iterator.set_state(state)
    assert_same(steps(resumed), whole[-1:])


def test_without_streams_there_is_one_for_each_share():
    assert_same(steps(shares(2, streams=0), 5), steps(shares(1, streams=2), 5))


def test_a_position_without_streams_is_that_of_the_only_one():
    iterator = shares(1, streams=1)[0]
    next(iterator)
    state = iterator.get_state()
    identity = {n: v for n, v in state["identity"].items() if n != "streams"}
    old = {**state["streams"]["0"], "identity": {**identity, "process_index": 0}}
    resumed = shares(1, streams=1)[0]
    resumed.set_state(old)
    assert_same([next(resumed)], [next(iterator)])
    with pytest.raises(InputError, match="streams 1, this one has 2"):
        shares(1, streams=2)[0].set_state(old)


def test_a_share_cannot_go_on_from_the_state_of_another_alone():
    first, second = shares(2)
    with pytest.raises(InputError, match=r"has streams 0, 1, but not 2; .* merged"):
        second.set_state(first.get_state())


def test_states_are_merged_only_if_they_are_of_one_place():
    one = {"identity": {"seed": 0}, "streams": {"1": {"position": 3}}}
    other = {"identity": {"seed": 0}, "streams": {"0": {"position": 4}}}
    merged = merge_states([one, other, one])
    assert list(merged["streams"]) == ["0", "1"]
    assert merge_states([{"batches": 3}] * 2) == {"batches": 3}
    assert merge_states([None, None]) is None
    with pytest.raises(FailureError, match=r"process 1 has the data position batches 4, process 0"):
        merge_states([{"batches": 3}, {"batches": 4}])
    moved = {**one, "streams": {"1": {"position": 9}}}
    with pytest.raises(FailureError, match="process 2 is at another place of data stream 1"):
        merge_states([one, other, moved])
