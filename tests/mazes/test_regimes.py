"""The four regimes as transforms of traces."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.astar import CLOSE, CREATE
from jaxreason.mazes.generators import MazeConfig, generate_solved_batch
from jaxreason.mazes.regimes import REGIMES, derangement, drop, dropping_level, for_regime

BATCH = generate_solved_batch(MazeConfig("wilson", 15, 15), 0, range(40))


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.integers(0, 2**63))
def test_a_derangement_is_a_permutation_without_fixed_point_and_repeats(count, seed):
    donors = derangement(count, seed)
    assert donors.dtype == np.int64
    assert sorted(donors.tolist()) == list(range(count))
    assert (donors != np.arange(count)).all()
    np.testing.assert_array_equal(donors, derangement(count, seed))


def test_derangements_of_four_are_uniform():
    """There are 9; chi-square with 8 degrees of freedom exceeds 26.1 once in a thousand."""
    seen = {}
    for seed in range(2700):
        donors = tuple(derangement(4, seed).tolist())
        seen[donors] = seen.get(donors, 0) + 1
    assert len(seen) == 9
    assert sum((count - 300) ** 2 / 300 for count in seen.values()) < 26.1


def test_a_data_set_of_a_million_is_deranged():
    donors = derangement(1_000_000, 0)
    assert (donors != np.arange(1_000_000)).all()
    assert (np.bincount(donors) == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"), [((1, 0), "count is 1"), ((0, 0), "count is 0"), ((5, -1), "seed")]
)
def test_too_few_problems_to_swap_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        derangement(*arguments)


def test_every_regime_keeps_the_own_plan():
    trace, donor = BATCH[0][1], BATCH[1][1]
    for regime in REGIMES:
        np.testing.assert_array_equal(for_regime(regime, trace, donor).plan, trace.plan)


def test_events_of_each_regime():
    trace, donor = BATCH[0][1], BATCH[1][1]
    assert len(for_regime("solution_only", trace).events) == 0
    np.testing.assert_array_equal(for_regime("correct", trace).events, trace.events)
    np.testing.assert_array_equal(for_regime("swapped", trace, donor).events, donor.events)
    dropped = for_regime("dropped", trace, level=3, seed=2, index=5).events
    np.testing.assert_array_equal(dropped, drop(trace.events, 3, 2, 5))


def test_dropping_levels_nest():
    for place in range(len(BATCH)):
        events = BATCH[place][1].events
        before = events.copy()
        creates = events[events[:, 0] == CREATE]
        np.testing.assert_array_equal(drop(events, 0), events)
        np.testing.assert_array_equal(drop(events, 1), creates)
        np.testing.assert_array_equal(drop(events, 2)[:, :3], creates[:, :3])
        assert (drop(events, 2)[:, 3:] == -1).all()
        kept = drop(events, 3, 0, place)
        assert {tuple(row) for row in kept} <= {tuple(row) for row in drop(events, 2)}
        assert CLOSE not in kept[:, 0]
        assert len(drop(events, 4)) == 0
        np.testing.assert_array_equal(events, before)


def test_level_3_drops_its_share_of_the_creates_and_each_example_its_own():
    events = np.tile(BATCH[0][1].events[1:2], (20_000, 1))
    kept = drop(events, 3, seed=0, index=0)
    assert abs(len(kept) / len(events) - 0.7) < 0.015
    assert len(drop(events, 3, 0, 0, create_share=0.0)) == len(events)
    assert len(drop(events, 3, 0, 0, create_share=1.0)) == 0
    lengths = {len(drop(events, 3, seed, index)) for seed in range(4) for index in range(4)}
    assert len(lengths) > 12
    assert len(kept) == len(drop(events, 3, seed=0, index=0))


def test_levels_follow_their_probabilities():
    probabilities = (0.4, 0.3, 0.0, 0.2, 0.1)
    levels = [dropping_level(probabilities, 0, index) for index in range(4000)]
    shares = np.bincount(levels, minlength=5) / len(levels)
    assert shares[2] == 0
    np.testing.assert_allclose(shares, probabilities, atol=0.03)
    assert levels[:50] == [dropping_level(probabilities, 0, index) for index in range(50)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda trace: for_regime("shuffled", trace), "regime 'shuffled' is unknown"),
        (lambda trace: for_regime("swapped", trace), "needs the trace of a donor"),
        (lambda trace: drop(trace.events, 5), "level is 5"),
        (lambda trace: drop(trace.events, 3, create_share=1.2), "create_share is 1.2"),
        (lambda trace: drop(trace.events, 3, seed=-1), "seed is -1"),
        (lambda _: dropping_level((0.5, 0.5), 0, 0), "expected five shares"),
        (lambda _: dropping_level((0.5, 0.5, 0.5, 0, 0), 0, 0), "sum to 1.5"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(BATCH[0][1])


def test_the_swap_of_a_seed_is_the_same_whatever_the_version_of_numpy():
    # Which trace a swapped problem shows must not change under a run that is resumed.
    assert derangement(8, 0).tolist() == [7, 6, 4, 0, 1, 3, 5, 2]
    digest = hashlib.sha256(derangement(10_000, 42).astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("1c05deaa7a34c47f")
