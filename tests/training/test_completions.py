"""Which completions training sees, and in which rows and batches."""

import itertools

import numpy as np
import pytest

from jaxreason.data.streams import merge_states
from jaxreason.errors import FailureError, InputError
from jaxreason.objectives.pairs import check_preferences
from jaxreason.rewards import Reward
from jaxreason.training import completions
from jaxreason.training.completions import Completed, SamplingConfig
from jaxreason.training.rollouts import Rollout
from jaxreason.training.stored_batches import StoredBatches, digest, read_arrays, write_arrays

PROMPTS = [[1, 2], [1, 3, 3], [1, 4], [1, 5, 5, 5]]


def completed(problem, answer, right):
    tokens = np.array([*PROMPTS[problem], *answer], np.int32)
    return Completed(tokens, len(PROMPTS[problem]), right)


@pytest.fixture
def samples():
    """Problem 0: mixed, with repetitions; 1: all wrong; 2: all right; 3: mixed."""
    return [
        [completed(0, a, a[0] > 6) for a in ([7, 9], [6, 9], [7, 9], [8, 8, 9], [6, 6, 9])],
        [completed(1, a, False) for a in ([6, 9], [5, 9])],
        [completed(2, a, True) for a in ([7, 9], [7, 9], [8, 9])],
        [completed(3, a, a[0] > 6) for a in ([8, 9], [6, 9])],
    ]


def text(one):
    return one.tokens.tolist()


def test_completions_survive_being_packed(samples):
    samples = [samples[0], [], *samples[1:]]
    back = completions.unpack(completions.pack(samples))
    assert [len(drawn) for drawn in back] == [5, 0, 2, 3, 2]
    flat = itertools.chain.from_iterable
    for old, new in zip(flat(samples), flat(back), strict=True):
        assert (text(old), *old[1:]) == (text(new), *new[1:])


def test_pairs_are_of_one_problem_right_before_wrong_each_distinct_sample_once(samples):
    pairs = completions.on_policy_pairs(samples, per_problem=4, seed=0)
    assert len(pairs) == 2 + 1
    for right, wrong in pairs:
        assert right.right
        assert not wrong.right
        length = right.prompt_length
        assert text(right)[:length] == text(wrong)[:length]
    for half in zip(*pairs, strict=True):
        assert len({tuple(text(one)) for one in half}) == len(pairs)
    assert len(completions.on_policy_pairs(samples, per_problem=1, seed=0)) == 2


def test_the_seed_and_nothing_else_decides_which_pairs(samples):
    def chosen(seed, which=samples):
        return [(text(a), text(b)) for a, b in completions.on_policy_pairs(which, 1, seed)]

    assert chosen(0) == chosen(0)
    assert len({str(chosen(seed)) for seed in range(8)}) > 1
    # What other problems drew does not matter.
    assert chosen(0, [samples[0], [], [], []]) == chosen(0)[:1]


def test_off_policy_pairs_choose_the_data_and_reject_wrong_samples(samples):
    shown = [completed(problem, [7, 7, 9], True) for problem in range(4)]
    pairs = completions.off_policy_pairs(samples, shown, per_problem=4, seed=0)
    assert len(pairs) == 2 + 2 + 0 + 1
    assert all(any(a is one for one in shown) and not b.right for a, b in pairs)


def test_mismatched_pairs_keep_the_prompt_and_take_the_completion_of_another_problem(samples):
    pairs = completions.mismatched_pairs(samples, seed=0)
    assert len(pairs) == 4 + 2 + 2 + 2
    origins = {}
    for problem, drawn in enumerate(samples):
        for one in drawn:
            origins.setdefault(tuple(text(one)[one.prompt_length :]), set()).add(problem)
    for one, mismatched in pairs:
        length = one.prompt_length
        assert mismatched.prompt_length == length
        assert text(mismatched)[:length] == text(one)[:length]
        own = PROMPTS.index(text(one)[:length])
        assert origins[tuple(text(mismatched)[length:])] - {own}
    # Every completion serves as a mismatched one once.
    tails = sorted(text(b)[b.prompt_length :] for _, b in pairs)
    assert tails == sorted(text(a)[a.prompt_length :] for a, _ in pairs)
    with pytest.raises(InputError, match=r"sampling\.problems is 1: too few"):
        completions.mismatched_pairs(samples[:1], seed=0)


@pytest.mark.parametrize(
    ("keep", "count"), [("all", 3 + 3 + 1), ("distinct", 2 + 2 + 1), ("one", 3)]
)
def test_keepers_are_right(samples, keep, count):
    kept = completions.keepers(samples, keep, seed=0)
    assert len(kept) == count
    assert all(one.right for one in kept)


def test_rows_are_laid_out_as_the_objectives_read_them(samples):
    pairs = completions.on_policy_pairs(samples, 4, 0)
    arrays = completions.lay_out(pairs, pad=0)
    check_preferences(arrays, reference=False)
    for row, half in itertools.product(range(len(pairs)), range(2)):
        one = pairs[row][half]
        real = arrays["segments"][row, half] == 1
        assert arrays["tokens"][row, half][real].tolist() == text(one)
        assert not arrays["tokens"][row, half][~real].any()
        answer = arrays["tokens"][row, half][arrays["targets_mask"][row, half]]
        assert answer.tolist() == text(one)[one.prompt_length :]
        assert arrays["positions"][row, half][real].tolist() == list(range(one.tokens.size))


def test_every_problem_is_drawn_once_whatever_the_batch():
    """A draw that returns the problem's number; the last call is filled up."""
    calls = []

    def draw(params, indices, key):
        calls.append(indices.tolist())
        rows = np.repeat(indices, 2)
        tokens = np.stack([np.full_like(rows, 1), rows + 10, np.arange(len(rows)) % 2], axis=1)
        segments = np.ones_like(tokens)
        mask = np.tile([False, True, True], (len(rows), 1))
        batch = {"tokens": tokens, "segments": segments, "targets_mask": mask}
        rewards = Reward((np.arange(len(rows)) % 2).astype(np.float32), {})
        ones = np.ones(len(rows))
        return Rollout(batch, ones > 0, ones, ones, rewards)

    for batch in (2, 3, 5):
        calls.clear()
        drawn = completions.draw_completions(draw, {}, SamplingConfig(5, 2), batch)
        assert {len(call) for call in calls} == {batch}
        assert [[text(one) for one in problem] for problem in drawn] == [
            [[1, 10 + problem, 0], [1, 10 + problem, 1]] for problem in range(5)
        ]
        assert all([one.right for one in problem] == [False, True] for problem in drawn)


def make_arrays(count=10):
    return {"tokens": np.arange(2 * count).reshape(count, 2), "desirable": np.arange(count) % 2}


def test_batches_visit_every_row_once_per_epoch_in_a_new_order():
    stream = iter(StoredBatches(make_arrays(), rows=4, seed=0))
    rows = np.concatenate([next(stream)["tokens"][:, 0] // 2 for _ in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()
    batch = next(stream)
    np.testing.assert_array_equal(batch["desirable"], batch["tokens"][:, 0] // 2 % 2)


def test_batches_go_on_from_a_state_and_split_over_processes():
    whole = iter(StoredBatches(make_arrays(), 4, 0))
    shares = [iter(StoredBatches(make_arrays(), 4, 0, share, 2)) for share in range(2)]
    for step in range(7):
        if step == 3:
            resumed = iter(StoredBatches(make_arrays(), 4, 0))
            resumed.set_state(whole.get_state())
            whole = resumed
            state = merge_states([share.get_state() for share in shares])
            assert state == whole.get_state()
            shares = [iter(StoredBatches(make_arrays(), 4, 0, share, 4)) for share in range(4)]
            for share in shares:
                share.set_state(state)
        parts = [next(share)["tokens"] for share in shares]
        np.testing.assert_array_equal(next(whole)["tokens"], np.concatenate(parts))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (StoredBatches(make_arrays(11), 4, 0), "examples 10, these have 11"),
        (StoredBatches(make_arrays(), 5, 0), "batch_size 4, these have 5"),
        (StoredBatches(make_arrays(), 4, 1), "seed 0, these have 1"),
        (StoredBatches({"tokens": make_arrays()["tokens"] + 1}, 4, 0), "with content"),
    ],
)
def test_a_position_in_other_data_is_refused(other, message):
    with pytest.raises(InputError, match=message):
        other.set_state(iter(StoredBatches(make_arrays(), 4, 0)).get_state())


def test_too_few_rows_are_named():
    with pytest.raises(InputError, match="batch_size is 11, but only 10 examples"):
        StoredBatches(make_arrays(), 11, 0)


def test_arrays_survive_their_file_and_damage_is_named(tmp_path):
    path = tmp_path / "data.npz"
    write_arrays(path, make_arrays(), {"right": 0.5})
    arrays, about = read_arrays(path)
    assert about == {"right": 0.5}
    assert digest(arrays) == digest(make_arrays())
    assert [p.name for p in tmp_path.iterdir()] == ["data.npz"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FailureError, match=r"data\.npz cannot be read"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("problems", 1, r"sampling\.problems is 1; it must be at least 2"),
        ("samples", 0, r"sampling\.samples is 0"),
        ("temperature", 0.0, r"sampling\.temperature is 0\.0; it must be above 0"),
        ("top_p", 0.0, r"sampling\.top_p is 0\.0"),
    ],
)
def test_bad_sampling_is_named(field, value, message):
    with pytest.raises(InputError, match=message):
        SamplingConfig(**{field: value})
