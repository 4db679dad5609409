"""Shares, their errors, pooling over seeds, correlations: against closed forms and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxreason.evaluation.runs import pool
from jaxreason.evaluation.statistics import Share, correlation, rank_correlation, ranks, share


def test_one_sample_per_problem_has_the_binomial_error():
    found = share([True] * 30 + [False] * 70, range(100))
    assert found.value == pytest.approx(0.3)
    assert found.standard_error == pytest.approx(math.sqrt(0.3 * 0.7 / 100))
    assert (found.n, found.successes, found.clusters) == (100, 30, 100)


def test_the_paper_size_has_1_6_points_of_error_at_one_half():
    found = share([True, False] * 500, range(1000))
    assert found.text() == "50.0 ± 1.6"


@pytest.mark.parametrize("outcome", [False, True])
@pytest.mark.parametrize("n", [1, 10, 1000])
def test_at_0_and_1_the_error_is_the_far_end_of_wilsons_one_sigma_interval(outcome, n):
    # Wilson: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.
    p = float(outcome)
    half = math.sqrt(p * (1 - p) / n + 1 / (4 * n * n)) / (1 + 1 / n)
    centre = (p + 1 / (2 * n)) / (1 + 1 / n)
    far = max(abs(centre - half - p), abs(centre + half - p))
    assert share([outcome] * n, range(n)).standard_error == pytest.approx(far)


def test_cluster_error_matches_brute_force():
    random = np.random.default_rng(0)
    clusters = random.integers(0, 40, 200)
    values = random.random(200) < np.linspace(0.1, 0.9, 40)[clusters]
    mean = values.mean()
    groups = sorted(set(clusters.tolist()))
    total = sum(sum(float(v) - mean for v in values[clusters == g]) ** 2 for g in groups)
    expected = math.sqrt(len(groups) / (len(groups) - 1) * total) / 200
    assert share(values, clusters).standard_error == pytest.approx(expected)


def test_identical_samples_of_a_problem_add_no_information():
    once = np.array([True, False, True, True, False, False, True, False])
    copies = share(np.repeat(once, 16), np.repeat(np.arange(8), 16))
    # The cluster error divides by n - 1 problems where the binomial one divides by n.
    expected = share(once, range(8)).standard_error * math.sqrt(8 / 7)
    assert copies.standard_error == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40), st.randoms())
def test_a_share_is_honest_and_ignores_order_and_labels(rows, random):
    values, clusters = zip(*rows, strict=True)
    found = share(values, clusters)
    assert found.standard_error > 0
    assert 0 <= found.value <= 1
    random.shuffle(rows)
    values, clusters = zip(*rows, strict=True)
    other = share(values, [90 - 7 * c for c in clusters])
    assert other.value == found.value
    assert other.standard_error == pytest.approx(found.standard_error)


def test_nothing_to_count_is_no_number():
    assert share([], []) == Share(None, None, 0, 0, 0)
    assert share([], []).text() == "–"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_correlations_match_scipy(pairs):
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert correlation(x, y) is None
        assert rank_correlation(x, y) is None
    else:
        assert correlation(x, y) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-9)
        assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
        assert ranks(x).tolist() == (stats.rankdata(x) - 1).tolist()


def test_pooled_seeds_have_the_larger_of_both_errors():
    agree = [Share(0.5, 0.05, 100, 50, 100)] * 2
    assert pool(agree).standard_error == pytest.approx(0.05 / math.sqrt(2))
    differ = [Share(0.2, 0.01, 100, 20, 100), Share(0.8, 0.01, 100, 80, 100)]
    pooled = pool(differ)
    assert pooled.value == pytest.approx(0.5)
    assert pooled.standard_error == pytest.approx(0.3)  # sd 0.424 / sqrt(2)
    assert pool([Share(None, None, 0, 0, 0)]).value is None
