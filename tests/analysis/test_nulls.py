"""Null models of overlap: closed forms against counting, sampling and each other."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.analysis import visibility
from jaxreason.analysis.equality import MODES, Equality, unchanged
from jaxreason.analysis.nulls import (
    drawn_null,
    matched_null,
    matching_sigmas,
    matching_sizes,
    precision_null,
    shared_counts,
    sign_null,
)
from jaxreason.analysis.visibility import SAMPLE, intervals, joined

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def weights(count, dtype=BFLOAT16, seed=0, law="gaussian"):
    random = np.random.default_rng(seed)
    if law == "gaussian":
        drawn = random.normal(size=count)
    elif law == "student":
        drawn = random.standard_t(4, count) / 2**0.5
    else:  # rows of different scale
        rows = np.repeat(np.exp(0.5 * random.normal(size=count // 1000)), 1000)
        drawn = random.normal(size=count) * rows
        drawn /= drawn.std()
    return (0.02 * drawn).astype(dtype)


def shares(expected):
    one = expected.both / expected.updated[:, None]
    either = expected.updated[:, None] + expected.updated - expected.both
    return one[0, 1], one[1, 0], (expected.both / either)[0, 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 10**12), st.floats(0.001, 1), st.floats(0.001, 1))
def test_uniform_null_is_the_other_runs_density(size, first, second):
    updated = np.array([max(1, int(size * first)), max(1, int(size * second))])
    p, q = updated / size
    o1, o2, jaccard = shares(matched_null(np.array([size]), updated[:, None]))
    assert o1 == pytest.approx(q)  # 1 - s2
    assert o2 == pytest.approx(p)
    assert o1 * p == pytest.approx(o2 * q)
    assert jaccard == pytest.approx(p * q / (p + q - p * q))


def test_matched_null_has_the_hypergeometric_mean_and_variance():
    random = np.random.default_rng(0)
    sizes, updated = np.array([12, 0, 30, 1]), np.array([[5, 0, 10, 1], [7, 0, 3, 0]])
    found = matched_null(sizes, updated)
    counts = np.zeros(4000)
    for draw in range(counts.size):
        for size, first, second in zip(sizes, *updated, strict=True):
            one, two = random.permutation(size) < first, random.permutation(size) < second
            counts[draw] += np.count_nonzero(one & two)
    error = np.sqrt(found.variance[0, 1] / counts.size)
    assert abs(counts.mean() - found.both[0, 1]) < 5 * error
    assert counts.var() == pytest.approx(found.variance[0, 1], rel=0.1)
    assert found.updated.tolist() == [16, 10]


@pytest.mark.parametrize(
    ("dtype", "rule"),
    [
        *((BFLOAT16, Equality(mode)) for mode in MODES),
        (np.dtype(np.float16), Equality("exact")),
        (np.dtype(np.float16), Equality("absolute")),
    ],
    ids=str,
)
def test_intervals_are_where_rounding_decides(rule, dtype):
    """Just inside an end nothing shows, just outside it does, for every weight."""
    special = [0.0, -0.0, 1.0, -1.0, 2.0**-9, 3e-5, 1e-7, -0.3, 100.0, np.inf, np.nan]
    base = np.concatenate([np.array(special, dtype), weights(300, dtype)])
    found = intervals(base, dtype, rule)
    distinct = np.unique(base.view(np.uint16)).view(dtype)
    assert found.counts.sum() == base.size
    assert not found.sampled
    wide = distinct.astype(np.float64)
    for end in (found.lower, found.upper):
        finite = np.isfinite(end)
        assert np.isfinite(end[np.isfinite(wide)]).all()
        for factor, shows in ((0.999, False), (1.001, True)):
            kept = finite & (end != 0)
            after = (wide[kept] + factor * end[kept]).astype(dtype)
            np.testing.assert_array_equal(~unchanged(distinct[kept], after, rule), shows)


def test_intervals_of_float32_read_in_bfloat16():
    base = weights(2000, np.float32)
    rule = Equality("exact", read_dtype="bfloat16")
    found = intervals(base, np.dtype(np.float32), rule)
    for end in (found.lower, found.upper):
        clear = np.abs(end) > 20 * np.spacing(np.abs(base))  # of the rounding to float32
        part = base[clear]
        for factor, expected in ((0.95, True), (1.05, False)):
            after = (part + end[clear] * factor).astype(np.float32)
            np.testing.assert_array_equal(unchanged(part, after, rule), expected)


@pytest.mark.parametrize("rule", [Equality("exact"), Equality("absolute")], ids=str)
def test_intervals_of_float32(rule):
    base = weights(2000, np.float32).astype(np.float64)
    found = intervals(base.astype(np.float32), np.dtype(np.float32), rule)
    for end in (found.lower, found.upper):
        for factor, expected in ((0.9, True), (1.1, False)):
            after = (base + factor * end).astype(np.float32)
            assert (unchanged(base.astype(np.float32), after, rule) == expected).all()


def test_a_run_stored_more_coarsely_than_its_base():
    """Nearly every weight is off the grid of the run, so it shows whatever the update."""
    base = weights(1000, np.float32)
    found = intervals(base, BFLOAT16, Equality("exact"))
    assert found.gaussian(1e-9).mean() > 0.98


def test_sigma_meets_the_number_of_changed_weights():
    found = intervals(weights(50_000), BFLOAT16, Equality())
    for share in (1e-4, 0.05, 0.5, 0.999):
        (sigma,) = matching_sigmas([found], np.array([share * 50_000]))
        assert found.counts @ found.gaussian(sigma) == pytest.approx(share * 50_000, rel=1e-6)
    assert matching_sigmas([found], np.array([0])) == [0.0]
    assert matching_sigmas([found], np.array([50_000])) == [np.inf]


@pytest.mark.parametrize(
    ("dtype", "rule"),
    [
        (BFLOAT16, Equality("exact")),
        (BFLOAT16, Equality("absolute")),
        (BFLOAT16, Equality("paper")),
        (np.dtype(np.float32), Equality("absolute", read_dtype="bfloat16")),
        (np.dtype(np.float32), Equality("absolute")),
        (np.dtype(np.float16), Equality("exact")),
        (np.dtype(ml_dtypes.float8_e4m3fn), Equality("exact")),
    ],
    ids=str,
)
def test_exact_expectation_agrees_with_adding_and_rounding(dtype, rule):
    """Drawn numbers lie within five deviations, also of the numbers of changed weights."""
    base = weights(200_000, dtype)
    found = [intervals(base, dtype, rule)] * 2
    sigmas = [2e-5, 4e-5]
    expected = precision_null(found, sigmas)
    draws = [
        drawn_null(base, [dtype] * 2, sigmas, rule, np.random.default_rng(seed))
        for seed in range(3)
    ]
    both = np.mean([draw[0] for draw in draws], axis=0)
    updated = np.mean([draw[1] for draw in draws], axis=0)
    # A binomial has at most the variance of its mean.
    assert (np.abs(updated - expected.updated) < 5 * np.sqrt(expected.updated / 3) + 1).all()
    assert abs(both - expected.both)[0, 1] < 5 * np.sqrt(expected.both[0, 1] / 3) + 1


def test_variance_is_that_given_the_numbers_changed():
    """For alike weights it is the hypergeometric one; for others, that of many draws."""
    found = [intervals(np.ones(5000, BFLOAT16), BFLOAT16, Equality("exact"))] * 2
    updated = np.array([1000.0, 3000.0])
    expected = precision_null(found, matching_sigmas(found, updated))
    alike = matched_null(np.array([5000]), updated[:, None].astype(int))
    assert expected.both[0, 1] == pytest.approx(alike.both[0, 1], rel=1e-6)
    assert expected.variance[0, 1] == pytest.approx(alike.variance[0, 1], rel=1e-3)

    base, rule = weights(2000), Equality("exact")
    found = [intervals(base, BFLOAT16, rule)] * 2
    sigmas = [2e-5, 4e-5]
    expected = precision_null(found, sigmas)
    random = np.random.default_rng(0)
    draws = [drawn_null(base, [BFLOAT16] * 2, sigmas, rule, random) for _ in range(1500)]
    shared = np.array([both[0, 1] for both, _ in draws])
    changed = np.stack([updated for _, updated in draws])
    design = np.column_stack([np.ones(len(shared)), changed])
    residual = shared - design @ np.linalg.lstsq(design, shared, rcond=None)[0]
    assert residual.var() == pytest.approx(expected.variance[0, 1], rel=0.12)


CASES = {
    # sparsities, then the range over three laws of o1 and o2: tolerance 1e-5, same bits
    "seed": ((0.633, 0.633), (0.600, 0.600), (0.642, 0.642)),
    "data": ((0.633, 0.854), (0.287, 0.721), (0.334, 0.839)),
    "stress": ((0.871, 0.770), (0.579, 0.324), (0.755, 0.423)),
}


def check_table(count, law, case, mode, tolerance):
    sparsity, *table = CASES[case]
    base, rule = weights(count, law=law), Equality(mode)
    found = [intervals(base, BFLOAT16, rule)] * 2
    updated = count * (1 - np.array(sparsity))
    sigmas = matching_sigmas(found, updated)
    wanted = table[mode == "exact"]
    expected = precision_null(found, sigmas)
    assert shares(expected)[:2] == pytest.approx(wanted, abs=tolerance)
    both, changed = drawn_null(base, [BFLOAT16] * 2, sigmas, rule, np.random.default_rng(0))
    drawn = both[0, 1] / changed
    assert drawn == pytest.approx(shares(expected)[:2], abs=tolerance / 2)
    assert changed == pytest.approx(updated, rel=tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["absolute", "exact"])
def test_dense_rounded_updates_overlap_as_published_ones_do(case, mode):
    """Mukherjee et al., Table 4, has .605/.606, .267/.671, .591/.332 at the sparsities here."""
    check_table(100_000, "gaussian", case, mode, 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gaussian", "student", "rows"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["absolute", "exact"])
def test_dense_rounded_updates_overlap_under_every_law_of_weights(law, case, mode):
    check_table(1_000_000, law, case, mode, 0.03)


def test_jaccard_of_rounded_updates_at_density_60_per_cent():
    """Zhu et al. 2025, section on location, finds .55 to .60 where chance would give .43."""
    base, rule = weights(100_000), Equality("bf16-relative")
    found = [intervals(base, BFLOAT16, rule)] * 2
    sigmas = matching_sigmas(found, np.array([60_000, 60_000]))
    assert shares(precision_null(found, sigmas))[2] == pytest.approx(0.563, abs=0.03)


def test_updates_of_one_size_overlap_almost_fully():
    base, rule = weights(100_000), Equality()
    found = [intervals(base, BFLOAT16, rule)] * 2
    sizes = matching_sizes(found, np.array([36_700, 36_700]))
    expected = sign_null(found, sizes)
    assert shares(expected)[0] > 0.99
    assert expected.updated[0] == pytest.approx(36_700, rel=0.3)
    random = np.random.default_rng(0)
    changed = [
        ~unchanged(
            base,
            (base.astype(np.float64) + random.choice([-1, 1], base.size) * size).astype(BFLOAT16),
            rule,
        )
        for size in sizes
    ]
    assert np.count_nonzero(changed[0]) == pytest.approx(expected.updated[0], abs=50)
    both = np.count_nonzero(changed[0] & changed[1])
    assert both == pytest.approx(expected.both[0, 1], abs=50)


def test_large_float32_tensors_are_represented_by_a_sample():
    count = 3 * SAMPLE + 5
    base, rule = weights(count, np.float32), Equality("exact", read_dtype="bfloat16")
    found = intervals(base, np.dtype(np.float32), rule)
    assert found.sampled
    assert found.counts.size <= SAMPLE
    assert found.counts.sum() == pytest.approx(count)
    seen = np.count_nonzero(found.gaussian(2e-5) > 0.5) / found.counts.size
    whole = intervals(base[:SAMPLE], np.dtype(np.float32), rule)
    assert not whole.sampled
    assert seen == pytest.approx(np.mean(whole.gaussian(2e-5) > 0.5), abs=0.01)
    thin = found.thinned(1000)
    assert thin.counts.size <= 1000
    assert thin.counts.sum() == pytest.approx(count)


def deviation(base, seed):
    """How far two independent updates share more than the null expects, in its deviations."""
    random, rule = np.random.default_rng([1, seed]), Equality("exact", read_dtype="bfloat16")
    updates = (3e-5 * random.normal(size=(2, base.size))).astype(np.float32)
    both, updated = shared_counts([~unchanged(base, base + update, rule) for update in updates])
    found = [intervals(base, base.dtype, rule)] * 2
    assert found[0].sampled
    expected = precision_null(found, matching_sigmas(found, updated))
    return ((both - expected.both) / np.sqrt(expected.variance))[0, 1]


def test_a_sample_adds_its_own_error_to_the_deviation(monkeypatch):
    """Without it, one weight in 32 doubles the deviations of updates with nothing in common."""
    monkeypatch.setattr(visibility, "SAMPLE", 1 << 11)
    found = [deviation(weights(1 << 16, np.float32, seed), seed) for seed in range(40)]
    assert 0.7 < np.std(found) < 1.35


def test_a_sample_sees_every_column(monkeypatch):
    """Columns of unlike scale whose number is a multiple of the sampled share."""
    monkeypatch.setattr(visibility, "SAMPLE", 1 << 13)
    columns = np.exp(np.linspace(-1.5, 1.5, 64))
    base = (weights(1 << 18, np.float64).reshape(-1, 64) * columns).astype(np.float32).reshape(-1)
    assert abs(deviation(base, 0)) < 4


def test_joined_intervals_count_all():
    parts = [intervals(weights(n), BFLOAT16, Equality()) for n in (100, 200)]
    assert joined(parts).counts.sum() == 300


def test_weights_that_are_not_finite_never_show():
    base = np.array([np.nan, np.inf, -np.inf], BFLOAT16)
    found = intervals(base, BFLOAT16, Equality("exact"))
    assert found.gaussian(1.0).tolist() == [0, 0, 0]
    assert found.gaussian(np.inf).tolist() == [0, 0, 0]
    assert found.signs(1e30).tolist() == [0, 0, 0]
