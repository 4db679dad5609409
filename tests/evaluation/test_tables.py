"""The numbers of a table against counts made by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.evaluation.judge import Judged
from jaxreason.evaluation.tables import bin_edges, default_bin_width, histogram, summarise

BY_HAND = Judged(
    problem=(0, 1, 2, 3, 4),
    plan_valid=(True, True, True, False, False),
    plan_error=(None, None, None, "illegal_move", "plan_syntax_error"),
    optimal=(True, True, False, False, False),
    has_trace=(True, True, True, True, False),
    reference=(True, False, True, True, False),
    strict=(True, False, False, True, False),
    exact=(True, False, False, False, False),
    first_error=(None, "create_close_wall", None, None, "goal_not_reached"),
    first_strict_error=(None, "create_close_wall", "wrong_cost", None, "goal_not_reached"),
    trace_tokens=(10, 20, 30, 40, 0),
    true_trace_tokens=(10, 20, 30, 90, 100),
    tokens=(20, 30, 40, 50, 64),
    truncated=(False, False, False, False, True),
)


def value(metrics, *path):
    for key in path:
        metrics = metrics[key]
    return metrics["successes"], metrics["n"]


def test_every_share_counts_what_it_says():
    metrics = summarise(BY_HAND, [0, 50, 101])
    assert value(metrics, "plan_valid") == (3, 5)
    assert value(metrics, "optimal") == (2, 5)
    assert value(metrics, "optimal_within_valid_plans") == (2, 3)
    assert value(metrics, "solved_by_any") == (3, 5)
    assert value(metrics, "truncated") == (1, 5)
    assert value(metrics, "has_trace") == (4, 5)
    assert [value(metrics, "trace_valid", level) for level in ("reference", "strict", "exact")] == [
        (3, 5),
        (2, 5),
        (1, 5),
    ]
    within = "trace_valid_within_valid_plans"
    assert [value(metrics, within, level) for level in ("reference", "strict", "exact")] == [
        (2, 3),
        (1, 3),
        (1, 3),
    ]
    assert metrics["table"]["reference"] == {
        "both": 2,
        "trace_only": 1,
        "plan_only": 1,
        "neither": 1,
    }
    assert metrics["first_errors"] == {"create_close_wall": 1, "goal_not_reached": 1}
    assert metrics["plan_errors"] == {"illegal_move": 1, "plan_syntax_error": 1}
    short, long = metrics["by_length"]
    assert (short["low"], short["high"], long["low"], long["high"]) == (0, 50, 50, 101)
    assert value(short, "plan_valid") == (3, 3)
    assert value(short, within) == (2, 3)
    assert value(long, "trace_valid") == (1, 2)
    assert long[within]["value"] is None
    assert metrics["lengths"]["true_mean"] == 50
    assert metrics["lengths"]["generated_mean"] == 20


def test_several_samples_of_a_problem_solve_it_if_one_does():
    columns = BY_HAND.as_json() | {"problem": [0, 0, 0, 0, 1]}
    assert value(summarise(Judged.from_json(columns), [0, 200]), "solved_by_any") == (1, 2)


@given(st.permutations(range(5)))
def test_the_order_of_completions_does_not_matter(order):
    shuffled = {name: [column[i] for i in order] for name, column in BY_HAND.as_json().items()}
    before, after = (summarise(j, [0, 50, 101]) for j in (BY_HAND, Judged.from_json(shuffled)))
    for metrics in (before, after):
        for name in ("pearson", "spearman"):
            metrics["lengths"][name] = pytest.approx(metrics["lengths"][name])
    assert before == after


def test_verdicts_survive_json():
    assert Judged.from_json(json.loads(json.dumps(BY_HAND.as_json()))) == BY_HAND


def test_no_completions_give_no_numbers():
    empty = Judged(*[()] * 14)
    metrics = summarise(empty, [0, 10])
    assert metrics["plan_valid"]["value"] is None
    assert metrics["lengths"]["true_mean"] is None


@pytest.mark.parametrize(("side", "width"), [(30, 1000), (20, 500), (10, 100), (6, 50)])
def test_length_bins_scale_with_the_grid(side, width):
    assert default_bin_width(side, side) == width


def test_bins_hold_every_length():
    assert bin_edges([0, 99, 100], 100) == [0, 100, 200]
    assert bin_edges([99], 100) == [0, 100]
    assert bin_edges([], 100) == [0, 100]
    with pytest.raises(InputError, match="bin_width is 0"):
        bin_edges([1], 0)


def test_histogram_is_ordered_by_count_then_name():
    assert list(histogram(["b", None, "c", "a", "c", "b"])) == ["b", "c", "a"]
