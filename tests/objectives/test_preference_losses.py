"""The preference losses on literal numbers, at the reference, and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxreason.errors import InputError
from jaxreason.objectives import preference_losses as losses

CHOSEN, REJECTED = np.array([-12, -8.5]), np.array([-13.5, -9])
REFERENCE_CHOSEN, REFERENCE_REJECTED = np.array([-12.4, -8]), np.array([-13, -9.6])
CHOSEN_TOKENS, REJECTED_TOKENS = np.array([10.0, 7]), np.array([12.0, 8])
MISMATCHED = np.array([0.3, -0.1])
BETA = 0.1

BETTER, WORSE = CHOSEN - REFERENCE_CHOSEN, REJECTED - REFERENCE_REJECTED
DELTA = BETTER - WORSE
DELTA_PER_TOKEN = BETTER / CHOSEN_TOKENS - WORSE / REJECTED_TOKENS
CHOSEN_AVERAGE, REJECTED_AVERAGE = CHOSEN / CHOSEN_TOKENS, REJECTED / REJECTED_TOKENS


def kto(ratios, desirable, mismatched=MISMATCHED):
    baseline = losses.kto_baseline(jnp.asarray(mismatched), jnp.ones(2))
    return losses.kto_loss(jnp.asarray(ratios), jnp.full(2, desirable), baseline, BETA)


def orpo(likelihood_tokens=CHOSEN_TOKENS):
    odds = losses.odds_ratio_loss(jnp.asarray(CHOSEN_AVERAGE), jnp.asarray(REJECTED_AVERAGE))
    return -CHOSEN / likelihood_tokens + BETA * odds


# name: (the loss on the numbers above, what it must be)
FIXTURE = {
    "dpo": (lambda: losses.sigmoid_loss(BETA * DELTA), (0.649159339, 0.749658919)),
    "conservative": (lambda: losses.sigmoid_loss(BETA * DELTA, 0.1), (0.658159339, 0.738658919)),
    "robust": (lambda: losses.robust_loss(BETA * DELTA, 0.1), (0.637909339, 0.763408919)),
    "hinge": (lambda: losses.hinge_loss(BETA * DELTA), (0.91, 1.11)),
    "ipo": (lambda: losses.ipo_loss(DELTA_PER_TOKEN, BETA), (24.190002778, 26.485727041)),
    "ipo_sum": (lambda: losses.ipo_loss(DELTA, BETA), (16.81, 37.21)),
    "dpo_norm": (lambda: losses.sigmoid_loss(5 * DELTA_PER_TOKEN), (0.509679321, 1.12477763)),
    "simpo": (
        lambda: losses.simpo_loss(CHOSEN_AVERAGE, REJECTED_AVERAGE, 2.0, 1.0),
        (1.425080583, 1.446855079),
    ),
    "log_odds": (
        lambda: (
            losses.log_odds(jnp.asarray(CHOSEN_AVERAGE))
            - losses.log_odds(jnp.asarray(REJECTED_AVERAGE))
        ),
        (-0.10914544, -0.129526095),
    ),
    "odds_ratio": (
        lambda: BETA * losses.odds_ratio_loss(CHOSEN_AVERAGE, REJECTED_AVERAGE),
        (0.074920825, 0.076000589),
    ),
    "orpo": (orpo, (1.274920825, 1.290286303)),
    "kto_desirable": (lambda: kto(BETTER, True), (0.492500562, 0.514995502)),
    "kto_undesirable": (lambda: kto(WORSE, False), (0.485004498, 0.512497396)),
    "apo_zero": (lambda: losses.apo_zero_loss(BETTER, WORSE, BETA), (0.977503937, 1.027492898)),
    "sppo_hard": (lambda: losses.sppo_hard_loss(BETTER, WORSE, BETA), (41.41, 61.61)),
    "nca": (lambda: losses.nca_loss(BETTER, WORSE, BETA), (1.364250575, 1.414488029)),
}
MEANS = {
    "dpo": 0.699409129,
    "conservative": 0.698409129,
    "robust": 0.700659129,
    "hinge": 1.01,
    "ipo": 25.337864909,
    "ipo_sum": 27.01,
    "dpo_norm": 0.817228475,
    "simpo": 1.435967831,
    "log_odds": -0.119335767,
    "odds_ratio": 0.075460707,
    "orpo": 1.282603564,
    "kto_desirable": 0.503748032,
    "kto_undesirable": 0.498750947,
    "apo_zero": 1.002498417,
    "sppo_hard": 51.51,
    "nca": 1.389369302,
}


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", FIXTURE)
def test_literal_numbers(float64, name):
    compute, expected = FIXTURE[name]
    np.testing.assert_allclose(compute(), expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.mean(compute()), MEANS[name], rtol=0, atol=1e-8)


def test_literal_numbers_in_float32():
    for compute, expected in FIXTURE.values():
        np.testing.assert_allclose(compute(), expected, rtol=2e-6, atol=1e-6)


MUTATIONS = {
    "dpo": lambda: losses.sigmoid_loss(-BETA * DELTA),  # the sign
    "conservative": lambda: losses.sigmoid_loss(BETA * DELTA, 0.9),  # the labels
    "robust": lambda: losses.robust_loss(BETA * DELTA, 0.1) * (1 - 2 * 0.1),  # the normaliser
    "hinge": lambda: losses.hinge_loss(-BETA * DELTA),
    "ipo": lambda: losses.ipo_loss(DELTA, BETA),  # sums for averages
    "ipo_sum": lambda: losses.ipo_loss(DELTA, 2 * BETA),  # 1 / (4 beta)
    "dpo_norm": lambda: losses.sigmoid_loss(5 * DELTA / (CHOSEN_TOKENS + REJECTED_TOKENS)),
    "simpo": lambda: losses.simpo_loss(CHOSEN_AVERAGE, REJECTED_AVERAGE, 2.0, 2.0),  # beta gamma
    "odds_ratio": lambda: BETA * losses.sigmoid_loss(CHOSEN_AVERAGE - REJECTED_AVERAGE),
    "orpo": lambda: orpo(CHOSEN_TOKENS - 1),  # the end token left out of the likelihood
    "kto_desirable": lambda: kto(BETTER, True, -MISMATCHED),  # z of the wrong sign
    "kto_undesirable": lambda: kto(WORSE, True),
    "apo_zero": lambda: losses.apo_zero_loss(WORSE, BETTER, BETA),
    "sppo_hard": lambda: losses.sppo_hard_loss(WORSE, BETTER, BETA),
    "nca": lambda: losses.nca_loss(BETTER, BETTER, BETA),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_numbers_tell_a_wrong_formula(name):
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(MUTATIONS[name](), FIXTURE[name][1], rtol=1e-4)


ZERO = np.zeros(3)
AVERAGE = np.array([-0.3, -1.0, -2.5])
AT_REFERENCE = {
    "dpo": (lambda: losses.sigmoid_loss(ZERO), np.log(2)),
    "robust": (lambda: losses.robust_loss(ZERO, 0.2), np.log(2)),
    "hinge": (lambda: losses.hinge_loss(ZERO), 1.0),
    "ipo": (lambda: losses.ipo_loss(ZERO, BETA), 25.0),
    "kto": (lambda: losses.kto_loss(ZERO, jnp.array([True, False, True]), 0.0, BETA), 0.5),
    "simpo": (lambda: losses.simpo_loss(AVERAGE, AVERAGE, 2.0, 1.0), 1.3132616875),
    "orpo": (lambda: BETA * losses.odds_ratio_loss(AVERAGE, AVERAGE), 0.0693147181),
    "apo_zero": (lambda: losses.apo_zero_loss(ZERO, ZERO, BETA), 1.0),
    "apo_down": (lambda: losses.apo_down_loss(ZERO, ZERO, BETA), 1.0),
    "sppo_hard": (lambda: losses.sppo_hard_loss(ZERO, ZERO, BETA), 50.0),
    "nca": (lambda: losses.nca_loss(ZERO, ZERO, BETA), 2 * np.log(2)),
}


@pytest.mark.parametrize("name", AT_REFERENCE)
def test_value_where_policy_and_reference_agree(float64, name):
    compute, expected = AT_REFERENCE[name]
    np.testing.assert_allclose(compute(), expected, rtol=1e-9)


DESIRABLE = np.array([True, False])
FUNCTIONS = {
    "sigmoid": lambda a, b: losses.sigmoid_loss(a - b, 0.1),
    "robust": lambda a, b: losses.robust_loss(a - b, 0.1),
    "hinge": lambda a, b: losses.hinge_loss(a - b),
    "ipo": lambda a, b: losses.ipo_loss(a - b, BETA),
    "kto": lambda a, b: losses.kto_loss(a - b, DESIRABLE, 0.2, BETA, 1.3, 0.7),
    "odds_ratio": lambda a, b: losses.odds_ratio_loss(-jnp.exp(a), -jnp.exp(b)),
    "simpo": lambda a, b: losses.simpo_loss(a, b, 2.0, 1.0),
    "apo_zero": lambda a, b: losses.apo_zero_loss(a, b, BETA),
    "apo_down": lambda a, b: losses.apo_down_loss(a, b, BETA),
    "sppo_hard": lambda a, b: losses.sppo_hard_loss(a, b, BETA),
    "nca": lambda a, b: losses.nca_loss(a, b, BETA),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_equal_finite_differences(float64, name):
    # Averages of exp(-7.2), on the other branch of the odds, are among them.
    arguments = jnp.array([0.4, -7.2]), jnp.array([-0.9, 1.7])
    check_grads(FUNCTIONS[name], arguments, order=1, modes=["rev"])


def test_the_baseline_is_a_mean_over_all_rows_never_negative_and_has_no_gradient():
    weights = jnp.array([1.0, 1.0, 0.0])
    assert losses.kto_baseline(jnp.array([0.5, -0.1, 9.0]), weights) == pytest.approx(0.2)
    assert losses.kto_baseline(jnp.array([-0.5, 0.1, 9.0]), weights) == 0
    gradient = jax.grad(lambda x: losses.kto_baseline(x, weights))(jnp.array([0.5, -0.1, 9.0]))
    np.testing.assert_array_equal(gradient, 0)


def test_odds_of_certain_completions_stay_finite():
    averages = jnp.array([0.0, -1e-9, -1e-5, -20.0, -200.0])
    values, gradients = jax.vmap(jax.value_and_grad(losses.log_odds))(averages)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(gradients))
    assert np.all(np.diff(np.asarray(values)) <= 0)
    np.testing.assert_allclose(values[2:4], [11.512920, -20.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beta": 0.0}, r"beta is 0\.0; expected a positive number"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"label_smoothing": 0.5}, r"label_smoothing is 0\.5; expected a share in \[0, 0\.5\)"),
        ({"gamma": -1.0}, r"gamma is -1\.0; expected zero or more"),
        ({"undesirable_weight": float("inf")}, "undesirable_weight is inf"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(InputError, match=message):
        losses.check_settings(**setting)
