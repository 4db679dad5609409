"""What a batch must look like, whatever the lengths: nothing lost, doubled, broken or mixed up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_source import StubSource

from jaxreason.data.packing import PackingPlanner
from jaxreason.data.pipeline import training_batches

LENGTH = 24
PAD = -1


@st.composite
def sources(draw):
    sizes = draw(st.lists(st.integers(1, LENGTH), min_size=1, max_size=40))
    prompts = [draw(st.integers(0, size)) for size in sizes]
    return StubSource(sizes, prompts)


pipelines = st.fixed_dictionaries(
    {
        "packing": st.sampled_from(["packed", "buckets", "padded"]),
        "loss_on": st.sampled_from(["completion", "all"]),
        "batch_size": st.integers(1, 4),
        "window": st.integers(1, 12),
        "seed": st.integers(0, 2**31),
        "epochs": st.integers(1, 2),
    }
)


def segments_of(batch):
    """(tokens, targets_mask, positions) of every segment of a batch, padding checked empty."""
    for row in range(len(batch["tokens"])):
        segments = batch["segments"][row]
        padding = segments == 0
        assert (batch["tokens"][row][padding] == PAD).all()
        assert not batch["targets_mask"][row][padding].any()
        assert not batch["positions"][row][padding].any()
        count = segments.max()
        # Segments are numbered 1, 2, ... without gaps and lie in order, padding at the end.
        used = segments[~padding]
        assert (np.diff(used) >= 0).all()
        assert not padding[: len(used)].any()
        assert set(used) == set(range(1, count + 1))
        for segment in range(1, count + 1):
            where = segments == segment
            yield tuple(batch[key][row][where] for key in ("tokens", "targets_mask", "positions"))


@settings(max_examples=150, deadline=None)
@given(source=sources(), fields=pipelines)
def test_every_example_appears_whole_once_per_epoch_with_its_mask_and_positions(source, fields):
    seen = []
    batches = training_batches(source, pad_id=PAD, prefetch=0, length=LENGTH, **fields)
    for batch in batches:
        shape = batch["tokens"].shape
        assert shape in batches.config.shapes
        assert {key: (value.dtype, value.shape) for key, value in batch.items()} == {
            "tokens": (np.int32, shape),
            "targets_mask": (np.bool_, shape),
            "segments": (np.int32, shape),
            "positions": (np.int32, shape),
        }
        for tokens, targets, positions in segments_of(batch):
            index = int(tokens[0]) // 100
            example = source[index]
            np.testing.assert_array_equal(tokens, example["tokens"])
            np.testing.assert_array_equal(positions, np.arange(len(tokens)))
            # The first token has no predecessor, so it can never be a target.
            prompt = source.prompts[index] if fields["loss_on"] == "completion" else 0
            expected = np.arange(len(tokens)) >= max(1, prompt)
            np.testing.assert_array_equal(targets, expected)
            seen.append(index)
        if fields["packing"] != "packed":
            assert batch["segments"].max() == 1
    assert sorted(seen) == sorted(list(range(len(source))) * fields["epochs"])


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=200), window=st.integers(1, 20))
def test_no_example_waits_for_more_rows_than_the_window(sizes, window):
    # Every row takes the example that has waited longest, so it is the turn of each at last.
    planner = PackingPlanner(batch_size=1, length=50, window=window)
    arrived, rows = {}, 0
    for position, size in enumerate(sizes):
        arrived[position] = rows
        if plan := planner.add(position, size):
            rows += 1
            assert all(rows - arrived[member] <= window for member in plan.rows[0])


def test_packing_fills_rows_better_than_first_come_first_served():
    sizes = np.random.default_rng(0).integers(150, 620, 2000)
    batches = training_batches(
        StubSource(sizes), pad_id=PAD, prefetch=0, batch_size=4, length=820, window=64
    )
    iterator = iter(batches)
    for _ in range(100):
        next(iterator)
    fill, in_order, room = iterator.fill, 1, 820
    for size in sizes:
        if size > room:
            in_order, room = in_order + 1, 820
        room -= size
    assert fill > 0.95 > sizes.sum() / (in_order * 820)


def test_buckets_hold_about_the_same_number_of_tokens_and_divide_over_a_mesh():
    batches = training_batches(
        StubSource([5]), pad_id=PAD, batch_size=8, length=8192, packing="buckets", row_multiple=4
    )
    assert batches.config.shapes == ((32, 2048), (16, 4096), (8, 6144), (8, 8192))


def test_the_smallest_bucket_that_holds_an_example_is_used():
    source = StubSource([1, 8, 9, 16, 17, 32])
    batches = training_batches(
        source, pad_id=PAD, prefetch=0, batch_size=1, length=32, packing="buckets",
        buckets=(8, 16, 32), epochs=1,
    )  # fmt: skip
    for batch in batches:
        for tokens, _, _ in segments_of(batch):
            expected = next(bucket for bucket in (8, 16, 32) if bucket >= len(tokens))
            assert batch["tokens"].shape[1] == expected


@pytest.mark.parametrize("packing", ["packed", "padded"])
def test_a_row_filled_to_the_last_token_is_kept(packing):
    batches = training_batches(
        StubSource([LENGTH] * 3), pad_id=PAD, prefetch=0, batch_size=3, length=LENGTH,
        packing=packing, epochs=1,
    )  # fmt: skip
    (batch,) = batches
    assert (batch["segments"] == 1).all()
