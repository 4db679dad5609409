"""How many image tokens stay masked, and which: numbers of the reference's formulas."""

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.image_schedule import (
    choice_temperatures,
    masked_counts,
    masked_share,
)
from jaxreason.sampling.diffusion.images import masked_again


@pytest.mark.parametrize(
    ("tokens", "steps", "counts"),
    [
        (256, 12, "253 247 236 221 203 181 155 128 97 66 33 0"),
        (16, 4, "14 11 6 0"),
        (1024, 15, "1018 1001 973 935 886 828 760 685 601 512 416 316 212 107 0"),
    ],
)
def test_the_cosine_leaves_as_many_masked_as_the_reference(tokens, steps, counts):
    expected = [int(count) for count in counts.split()]
    assert masked_counts("cosine", tokens, steps).tolist() == expected
    assert masked_counts("cosine", np.array([3, tokens]), steps)[:, 1].tolist() == expected


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("cosine", [1, 0.92388, 0.707107, 0.382683, 0]),
        ("sigmoid", [1, 0.850854, 0.5, 0.149146, 1e-6]),
        ("pow2", [1, 0.9375, 0.75, 0.4375, 1e-6]),
        ("linear", [1, 0.75, 0.5, 0.25, 1e-6]),
    ],
)
def test_schedules_at_quarters(schedule, shares):
    share = masked_share(schedule, np.linspace(0, 1, 5))
    np.testing.assert_allclose(share, shares, atol=1e-6)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(InputError, match=r"schedule is 'pow'; expected 'cosine'"):
        masked_share("pow", np.zeros(1))


def test_the_reference_cools_faster_than_maskgit():
    assert choice_temperatures("compounding", 1.0, 15)[7] == pytest.approx(0.0472, abs=1e-4)
    assert choice_temperatures("linear", 1.0, 15)[7] == pytest.approx(7 / 15)
    np.testing.assert_allclose(
        choice_temperatures("compounding", 2.0, 4), [2 * 3 / 4, 2 * 3 / 8, 2 * 3 / 32, 0]
    )


@pytest.mark.parametrize(
    ("count", "again"), [(1, [1]), (2, [1, 3]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4]), (0, [1])]
)
def test_the_least_confident_are_masked_again(count, again):
    probabilities = np.array([[0.9, 0.1, 0.5, 0.3, 0.7]])
    masked = masked_again(
        np.log(probabilities), np.ones((1, 5), bool), np.zeros((1, 5)), 0.0, np.array([count])
    )
    assert np.flatnonzero(masked).tolist() == again


def test_known_tokens_are_never_masked_again():
    unknown = np.array([[False, True, True, False], [False] * 4, [False, False, True, False]])
    masked = masked_again(np.zeros((3, 4)), unknown, -np.eye(4)[1:], 1e6, np.array([3, 3, 3]))
    assert not (np.asarray(masked) & ~unknown).any()
    assert masked.sum(axis=1).tolist() == [1, 0, 1]
