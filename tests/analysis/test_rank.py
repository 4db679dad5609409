import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.analysis.rank import (
    ENERGIES,
    as_matrix,
    curve_places,
    effective_rank,
    energy_ranks,
    matrix_rank,
    noise_singular_values,
    noise_stable_rank,
    principal_cosines,
    singular_values,
    spectral_shift,
    stable_rank,
    update_rank,
)

BF16 = ml_dtypes.bfloat16


def low_rank_update(rank, seed=0, size=256, deviation=3e-5):
    """bfloat16 weights N(0, 0.02^2), and a rank-`rank` update of the given deviation."""
    random = np.random.default_rng(seed)
    weights = random.normal(0, 0.02, (size, size)).astype(BF16)
    update = random.normal(size=(size, rank)) @ random.normal(size=(rank, size))
    return weights, (update * deviation / update.std()).astype(np.float32)


def rounded(weights, update):
    return (weights.astype(np.float32) + update).astype(BF16)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_rank_of_a_difference_in_float32_is_that_of_the_update(rank):
    _, update = low_rank_update(rank)
    report = update_rank("w", np.zeros_like(update), update)
    assert report.matrix_rank == rank
    assert report.stable_rank <= rank + 1e-6
    assert report.effective_rank <= rank + 1e-2
    assert report.energy[0.99] <= rank


def test_a_rank_one_update_has_stable_rank_one():
    _, update = low_rank_update(1)
    report = update_rank("w", np.zeros_like(update), update)
    assert report.stable_rank == pytest.approx(1, abs=1e-6)
    assert report.effective_rank == pytest.approx(1, abs=1e-3)
    assert report.energy == dict.fromkeys(ENERGIES, 1)


def test_rounding_to_bfloat16_makes_a_rank_one_update_nearly_full_rank():
    found = []
    for seed in range(2):
        weights, update = low_rank_update(1, seed)
        after = rounded(weights, update)
        report = update_rank("w", weights, after)
        sparsity = np.mean(weights == after)
        found.append((sparsity, report.matrix_rank_bf16, report.stable_rank, report.effective_rank))
    sparsity, matrix, stable, effective = np.mean(found, axis=0)
    assert sparsity == pytest.approx(0.76, abs=0.03)
    assert matrix == pytest.approx(237, abs=10)
    assert stable == pytest.approx(1.4, abs=0.1)
    assert effective == pytest.approx(99, abs=12)


@pytest.mark.parametrize("rank", [4, 16])
def test_rounding_makes_updates_of_low_rank_full_rank(rank):
    weights, update = low_rank_update(rank)
    report = update_rank("w", weights, rounded(weights, update))
    assert report.matrix_rank_bf16 == 256
    assert report.stable_rank < 2 * rank


@pytest.mark.parametrize(("density", "expected"), [(0.02, 253), (0.05, 256)])
def test_sparse_noise_has_nearly_full_matrix_rank(density, expected):
    random = np.random.default_rng(1)
    noise = random.normal(size=(256, 256)) * (random.random((256, 256)) < density)
    report = update_rank("w", np.zeros((256, 256), np.float32), noise.astype(np.float32))
    assert report.matrix_rank == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("shape", [(12, 12), (5, 30), (40, 8), (1, 6), (1, 1)])
def test_measures_against_their_definitions(shape):
    delta = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    delta[:, -1] = delta[:, 0]
    report = update_rank("w", np.zeros_like(delta), delta)
    assert report.matrix_rank == np.linalg.matrix_rank(delta)
    spectral, frobenius = np.linalg.norm(delta, 2), np.linalg.norm(delta)
    assert report.spectral_norm == pytest.approx(spectral, rel=1e-5)
    assert report.stable_rank == pytest.approx((frobenius / spectral) ** 2, rel=1e-4)
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh((delta @ delta.T).astype(np.float64)), 0))
    p = sigma[sigma > 1e-4 * sigma.max()]
    p = p / p.sum()
    assert report.effective_rank == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-2)
    assert report.full == min(shape)
    assert len(report.curve) == curve_places(min(shape)).size
    assert report.curve[0] == 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_ranks_lie_between_one_and_full_and_do_not_see_scale(m, n, seed):
    delta = np.random.default_rng(seed).normal(size=(m, n))
    values = singular_values(delta)
    full = min(m, n)
    energy = energy_ranks(values)
    assert 1 <= stable_rank(values) <= effective_rank(values) ** 2 + 1e-9
    assert 1 - 1e-9 <= effective_rank(values) <= full + 1e-9
    assert 1 <= energy[0.5] <= energy[0.9] <= energy[0.99] <= full
    assert matrix_rank(values, (m, n)) == full
    assert stable_rank(values * 1e-30) == pytest.approx(stable_rank(values))
    assert effective_rank(values * 1e-30) == pytest.approx(effective_rank(values))


def test_energy_ranks_of_a_known_spectrum():
    values = np.sqrt(np.array([0.5, 0.4, 0.09, 0.01]))
    assert energy_ranks(values) == {0.5: 1, 0.9: 2, 0.99: 3}
    assert energy_ranks(np.ones(100)) == {0.5: 50, 0.9: 90, 0.99: 99}


def test_no_update_has_rank_zero():
    weights = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    report = update_rank("w", weights, weights)
    ranks = (report.matrix_rank, report.matrix_rank_bf16, report.stable_rank)
    assert ranks == (0, 0, 0.0)
    assert report.effective_rank == 0.0
    assert report.energy == dict.fromkeys(ENERGIES, 0)
    assert set(report.curve) == {0.0}


def test_rank_needs_finite_entries_and_a_matrix():
    weights = np.ones((3, 3), np.float32)
    broken = weights.copy()
    broken[1, 1] = np.nan
    assert update_rank("w", weights, broken) is None
    assert update_rank("w", np.ones(3), np.ones(3)) is None
    assert update_rank("w", np.ones((0, 3)), np.ones((0, 3))) is None


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("layers/0/query", (8, 2, 3), (8, 6)),
        ("layers/0/key", (8, 1, 3), (8, 3)),
        ("layers/0/output", (2, 3, 8), (6, 8)),
        ("layers/0/query_bias", (2, 3), None),
        ("layers/0/gate", (8, 5), (8, 5)),
        ("layers/0/mlp_norm", (8,), None),
        ("conv/kernel", (3, 3, 4, 5), (36, 5)),
        ("scale", (), None),
    ],
)
def test_heads_are_joined_into_the_matrix_they_multiply_by(name, shape, expected):
    array = np.arange(np.prod(shape)).reshape(shape)
    matrix = as_matrix(name, array)
    assert (None if matrix is None else matrix.shape) == expected


def test_joined_heads_compute_the_same_product():
    random = np.random.default_rng(0)
    x, query, output = (random.normal(size=s) for s in ((4, 8), (8, 2, 3), (2, 3, 8)))
    heads = np.einsum("td,dhk->thk", x, query)
    flat = x @ as_matrix("query", query)
    assert np.allclose(flat, heads.reshape(4, 6))
    merged = np.einsum("thk,hkd->td", heads, output)
    assert np.allclose(flat @ as_matrix("output", output), merged)


@pytest.mark.parametrize("shape", [(200, 200), (150, 400), (400, 150)])
def test_noise_follows_the_law_expected_of_it(shape):
    values = np.linalg.svd(np.random.default_rng(3).normal(size=shape), compute_uv=False)
    expected = noise_singular_values(shape)
    assert expected.shape == values.shape
    assert np.all(np.diff(expected) <= 0)
    assert np.abs(values / values[0] - expected).max() < 0.05
    assert stable_rank(values) == pytest.approx(noise_stable_rank(shape), rel=0.08)


def test_spectral_shift():
    random = np.random.default_rng(4)
    matrix = random.normal(size=(9, 6))
    rotation, _ = np.linalg.qr(random.normal(size=(9, 9)))
    assert spectral_shift(matrix, matrix) == 0
    assert spectral_shift(matrix, rotation @ matrix) == pytest.approx(0, abs=1e-6)
    assert spectral_shift(matrix, 1.25 * matrix) == pytest.approx(0.25, rel=1e-5)
    assert spectral_shift(0 * matrix, matrix) is None


def test_principal_cosines_see_rotations_but_not_scale():
    random = np.random.default_rng(5)
    u, _ = np.linalg.qr(random.normal(size=(8, 8)))
    v, _ = np.linalg.qr(random.normal(size=(6, 6)))
    values = np.diag([5.0, 4, 3, 0.3, 0.2, 0.1])
    matrix = u[:, :6] @ values @ v.T
    left, right = principal_cosines(matrix, 2 * matrix, 3)
    assert np.allclose([left, right], 1)
    # Turn the third left direction by 60 degrees towards one outside the leading three.
    turned = u.copy()
    turned[:, 2] = 0.5 * u[:, 2] + np.sqrt(0.75) * u[:, 7]
    left, right = principal_cosines(matrix, turned[:, :6] @ values @ v.T, 3)
    assert np.allclose(left, [1, 1, 0.5], atol=1e-2)
    assert np.allclose(right, 1, atol=1e-2)
