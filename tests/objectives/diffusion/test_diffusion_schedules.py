"""Schedules: the reference's values, their inverse, and weights that are fair to every token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.schedules import SCHEDULES, Schedule, count_probability

QUARTERS = jnp.array([0.0, 0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", [1, 0.92388, 0.707107, 0.382683, 0]),
        ("sigmoid", [1, 0.850854, 0.5, 0.149146, 1e-6]),
        ("pow", [1, 0.9375, 0.75, 0.4375, 1e-6]),
        ("linear", [1, 0.75, 0.5, 0.25, 1e-6]),
    ],
)
def test_ratios_equal_the_reference(name, expected):
    np.testing.assert_allclose(Schedule(name).ratio(QUARTERS), expected, rtol=0, atol=6e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_undoes_ratio(name):
    schedule, time = Schedule(name, exponent=3.0), jnp.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(schedule.time(schedule.ratio(time)), time, atol=2e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_weight_is_minus_the_logarithmic_slope(name):
    schedule, time = Schedule(name, exponent=3.0), jnp.linspace(0.02, 0.98, 25)
    slope = jax.vmap(jax.grad(lambda t: -jnp.log(schedule.ratio(t))))(time)
    np.testing.assert_allclose(schedule.weight(time), slope, rtol=2e-4)


def test_cosine_weight_at_one_half():
    assert Schedule().weight(jnp.array(0.5)) == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("tokens", [1, 2, 16])
def test_probabilities_of_counts(name, tokens):
    """They add up to 1 and equal the share of a fine grid of times."""
    schedule, count = Schedule(name), jnp.arange(1.0, tokens + 1)
    probability = np.asarray(count_probability(schedule, count, jnp.float32(tokens)))
    assert probability.sum() == pytest.approx(1.0, abs=1e-5)
    times = (np.arange(40_000) + 0.5) / 40_000
    drawn = np.maximum(1, np.round(tokens * np.asarray(schedule.ratio(jnp.asarray(times)))))
    shares = [(drawn == k).mean() for k in range(1, tokens + 1)]
    np.testing.assert_allclose(probability, shares, atol=2e-4)


def test_the_exact_weight_tends_to_the_schedules_own():
    """1 / (k P(k)) over many tokens, N times smaller as it is per count: (pi/2) tan(pi u / 2)."""
    schedule, time = Schedule(), jnp.array([0.2, 0.5, 0.8])
    count = jnp.round(1000 * schedule.ratio(time))
    exact = 1 / (count * count_probability(schedule, count, jnp.float32(1000.0)))
    np.testing.assert_allclose(exact, schedule.weight(time), rtol=5e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cubic"}, "'cubic' is unknown"),
        ({"exponent": 0.0}, "exponent=0.0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"start": 3.0, "end": 3.0}, "start below end"),
    ],
)
def test_bad_schedules_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Schedule(**settings)
