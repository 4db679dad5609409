"""How many rows of which task, in which order, and what a resumed mixture goes on with."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.data.multimodal.maze_world import MazeWorld, MazeWorldSource
from jaxreason.data.multimodal.mixing import mixed_batches
from jaxreason.data.streams import merge_states
from jaxreason.errors import InputError
from jaxreason.tokens.layouts import TASKS, LayoutConfig, LayoutRow
from jaxreason.tokens.multimodal_vocabulary import mmada_ids

LAYOUT = LayoutConfig(2, 1, mmada_ids())


class Numbered:
    """Rows that say task, example and whether their text was dropped."""

    layout = LAYOUT

    def __init__(self, counts, tasks=None):
        self.counts = counts
        self.tasks = tasks or {task: task for task in counts}
        self.identity = {"counts": counts}

    def count(self, task):
        return self.counts[task]

    def row(self, index, task, drop_text=False):
        place = list(self.tasks).index(task)
        tokens = np.array([place, index, drop_text, 0, 0, 0], np.int32)
        flags = np.arange(6) == place
        return LayoutRow(tokens, flags, ~flags, flags, ~flags)


THREE = Numbered({"t2i": 23, "lm": 7, "mmu": 11})
ROWS = {"t2i": 4, "lm": 2, "mmu": 6}


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def seen(batches, place):
    """Examples of the task at that place, in the order they came."""
    rows = np.concatenate([batch["tokens"] for batch in batches])
    return rows[rows[:, 0] == place, 1].tolist()


def assert_same(left, right):
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_has_the_rows_asked_for_and_says_their_tasks():
    batch = next(iter(mixed_batches(THREE, ROWS)))
    assert batch["tokens"].shape == (12, 6)
    assert batch["task"].tolist() == [
        TASKS.index(name) for name, n in ROWS.items() for _ in range(n)
    ]
    assert {name: (array.shape, str(array.dtype)) for name, array in batch.items()} == {
        **{name: ((12, 6), "int32") for name in ("tokens", "segments")},
        **{name: ((12, 6), "bool") for name in ("maskable", "keys", "image", "visible_targets")},
        "task": ((12,), "int32"),
    }
    assert (batch["segments"] == 1).all()
    for place, row in enumerate(batch["tokens"]):
        expected = THREE.row(row[1], list(THREE.tasks)[row[0]], row[2])
        for name, values in zip(LayoutRow._fields, expected, strict=True):
            np.testing.assert_array_equal(batch[name][place], values)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_interleaved_micro_batches_have_equally_many_rows_of_a_task(parts):
    tasks = next(iter(mixed_batches(THREE, ROWS)))["task"]
    for task in np.unique(tasks):
        each = [(tasks[i::parts] == task).sum() for i in range(parts)]
        if sum(each) % parts == 0:
            assert len(set(each)) == 1


def test_tasks_may_be_left_out_and_come_in_the_order_of_the_source():
    tasks = next(iter(mixed_batches(THREE, {"mmu": 2, "t2i": 1, "lm": 0})))["task"]
    assert tasks.tolist() == [TASKS.index("t2i"), TASKS.index("mmu"), TASKS.index("mmu")]


def test_every_epoch_of_a_task_has_every_example_once_in_another_order():
    batches = take(iter(mixed_batches(THREE, ROWS)), 40)
    for place, count in enumerate(THREE.counts.values()):
        order = seen(batches, place)
        epochs = [order[i : i + count] for i in range(0, len(order) - count, count)]
        assert len(epochs) >= 6
        for epoch in epochs:
            assert sorted(epoch) == list(range(count))
        assert len(set(map(tuple, epochs))) == len(epochs)


def test_tasks_with_the_same_examples_have_different_orders():
    same = Numbered({"a": 30, "b": 30}, {"a": "lm", "b": "lm"})
    batches = take(iter(mixed_batches(same, {"a": 3, "b": 3})), 10)
    assert seen(batches, 0) != seen(batches, 1)


def test_seeds_give_different_orders_and_the_same_seed_the_same():
    one, again, other = (take(iter(mixed_batches(THREE, ROWS, s)), 5) for s in (1, 1, 2))
    assert_same(one, again)
    assert seen(one, 0) != seen(other, 0)


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_resumed_mixture_continues_bit_for_bit(prefetch):
    batches = mixed_batches(THREE, ROWS, seed=4, prefetch=prefetch)
    reference = take(iter(batches), 20)
    iterator = iter(batches)
    for done in range(15):
        if done % 4 == 0:
            resumed = iter(mixed_batches(THREE, dict(reversed(ROWS.items())), seed=4))
            resumed.set_state(json.loads(json.dumps(iterator.get_state())))
            assert_same(take(resumed, 5), reference[done : done + 5])
            assert resumed.examples == (done + 5) * 12
        next(iterator)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: mixed_batches(THREE, ROWS, seed=5), "seed 4, this one has 5"),
        (lambda: mixed_batches(THREE, ROWS | {"lm": 3}, seed=4), "rows_per_task"),
        (lambda: mixed_batches(THREE, ROWS, seed=4, text_dropout=0.2), "text_dropout 0.1"),
        (lambda: mixed_batches(Numbered(THREE.counts | {"lm": 8}), ROWS, seed=4), "source"),
    ],
)
def test_a_position_in_another_mixture_is_refused(other, message):
    state = iter(mixed_batches(THREE, ROWS, seed=4)).get_state()
    with pytest.raises(InputError, match=message):
        iter(other()).set_state(state)


def shares(count, rows, source=THREE, **fields):
    return [
        iter(mixed_batches(source, rows, 4, share_index=i, share_count=count, prefetch=0, **fields))
        for i in range(count)
    ]


def joined(iterators, steps):
    """Batches of all shares as the devices see them."""
    rows = [[next(iterator) for iterator in iterators] for _ in range(steps)]
    return [{name: np.concatenate([x[name] for x in row]) for name in row[0]} for row in rows]


@settings(max_examples=25, deadline=None)
@given(
    parts=st.sampled_from([2, 3, 4, 6]),
    after=st.sampled_from([1, 2, 4]),
    lm=st.integers(0, 5),
    count=st.integers(1, 40),
    done=st.integers(0, 4),
)
def test_shares_together_are_the_whole_batch_and_any_number_goes_on(parts, after, lm, count, done):
    source = Numbered({"t2i": count, "lm": 7})
    rows = {"lm": lm, "t2i": 24 - lm}
    [whole] = shares(1, rows, source, text_dropout=0.3)
    split = shares(parts, rows, source, text_dropout=0.3)
    resumed = shares(after, rows, source, text_dropout=0.3)
    if done:
        assert_same(joined(split, done), take(whole, done))
    states = [iterator.get_state() for iterator in split]
    assert merge_states(states) == whole.get_state()
    for iterator in resumed:
        iterator.set_state(json.loads(json.dumps(states[-1])))
    expected = take(whole, 3)
    assert_same(joined(split, 3), expected)
    assert_same(joined(resumed, 3), expected)


def test_one_text_in_ten_is_dropped_anew_in_each_epoch_and_only_of_drawings():
    source = Numbered({"t2i": 500, "r2i": 500, "mmu": 500})
    batches = take(iter(mixed_batches(source, {"t2i": 50, "r2i": 50, "mmu": 50})), 40)
    rows = np.concatenate([batch["tokens"] for batch in batches])
    assert not rows[rows[:, 0] > 0, 2].any()
    drawings = rows[rows[:, 0] == 0]
    epochs = [set(drawings[i : i + 500][drawings[i : i + 500, 2] == 1, 1]) for i in (0, 500, 1000)]
    # 2000 draws of 0.1: five standard deviations are 0.034.
    assert abs(drawings[:, 2].mean() - 0.1) < 0.034
    assert len(set(map(frozenset, epochs))) == 3
    for share, expected in ((0.0, 0.0), (1.0, 1.0)):
        stream = mixed_batches(source, {"t2i": 50}, text_dropout=share)
        assert next(iter(stream))["tokens"][:, 2].mean() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows_per_task": {"t2v": 1}}, "task 't2v'; the data has t2i, lm, mmu"),
        ({"rows_per_task": {"lm": -1}}, "rows_per_task of 'lm' is -1"),
        ({"rows_per_task": {"lm": 1.5}}, "rows_per_task of 'lm' is 1.5"),
        ({"rows_per_task": {"lm": 0}}, "at least one row"),
        ({"rows_per_task": {}}, "at least one row"),
        ({"seed": -1}, "seed is -1"),
        ({"text_dropout": 1.1}, "text_dropout is 1.1"),
        ({"share_index": 1}, "share_index is 1"),
        ({"share_count": 8}, "sum of rows_per_task is 12; it must be a multiple of 8"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        mixed_batches(THREE, **{"rows_per_task": ROWS} | arguments)


def test_the_maze_world_can_be_mixed():
    source = MazeWorldSource(MazeWorld(count=20))
    rows = {"draw_maze": 2, "draw_solution": 2, "read_plan": 2, "plan": 1, "text": 1}
    batches = mixed_batches(source, rows, text_dropout=0.5)
    iterator = iter(batches)
    first = take(iterator, 3)
    state = json.loads(json.dumps(iterator.get_state()))
    reference = take(iterator, 2)
    resumed = iter(mixed_batches(MazeWorldSource(MazeWorld(count=20)), rows, text_dropout=0.5))
    resumed.set_state(state)
    assert_same(take(resumed, 2), reference)
    names = np.array(TASKS)[first[0]["task"]].tolist()
    assert names == ["t2i"] * 4 + ["mmu"] * 2 + ["lm_chat", "lm"]
    assert first[0]["tokens"].shape == (8, source.layout.length)
    other = MazeWorldSource(MazeWorld(count=20, reasoning="correct", text_length=200))
    with pytest.raises(InputError, match="source"):
        iter(mixed_batches(other, rows, text_dropout=0.5)).set_state(state)
