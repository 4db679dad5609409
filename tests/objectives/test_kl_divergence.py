"""Estimators of the KL divergence: expectations and gradients, exactly, over five tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.objectives.kl_divergence import KL_ESTIMATORS, kl_divergence

LOGITS = np.array([0.3, -1.2, 0.8, 0.1, -0.4])
REFERENCE = np.log(np.array([0.1, 0.3, 0.15, 0.25, 0.2]))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum())


def gradient_of_divergences():
    """Of KL(policy, reference) and KL(reference, policy) in the logits, by hand."""
    log_p = log_softmax(LOGITS)
    p, q = np.exp(log_p), np.exp(REFERENCE)
    reverse = p * (log_p - REFERENCE - np.sum(p * (log_p - REFERENCE)))
    return {"reverse": reverse, "forward": p - q, "zero": np.zeros(5)}


def expected_gradient(term):
    """Of the mean over samples of the policy, which are drawn, not differentiated."""

    def mean(logits):
        log_p = jax.nn.log_softmax(logits)
        return jnp.sum(jax.lax.stop_gradient(jnp.exp(log_p)) * term(log_p))

    return jax.grad(mean)(jnp.asarray(LOGITS))


def in_the_loss(estimator):
    return lambda log_p: kl_divergence(log_p, jnp.asarray(REFERENCE), estimator)


def times_the_ratio(estimator):
    def term(log_p):
        ratio = jnp.exp(log_p - jax.lax.stop_gradient(log_p))
        return ratio * kl_divergence(log_p, jnp.asarray(REFERENCE), estimator)

    return term


def in_the_reward(estimator):
    def term(log_p):
        penalty = kl_divergence(jax.lax.stop_gradient(log_p), jnp.asarray(REFERENCE), estimator)
        return penalty * log_p

    return term


@pytest.mark.parametrize(
    ("term", "divergence"),
    [
        (in_the_loss("k1"), "zero"),
        (in_the_loss("k2"), "reverse"),
        (in_the_loss("k3"), "forward"),
        (times_the_ratio("k1"), "reverse"),
        (times_the_ratio("k3"), "reverse"),
        (in_the_reward("k1"), "reverse"),
    ],
)
def test_gradients_in_expectation_are_those_of_the_table(term, divergence):
    wanted = gradient_of_divergences()[divergence]
    np.testing.assert_allclose(expected_gradient(term), wanted, atol=1e-10)


def test_k1_and_k3_have_the_divergence_as_their_mean_and_k2_has_not():
    log_p = log_softmax(LOGITS)
    means = {
        name: float(jnp.sum(np.exp(log_p) * kl_divergence(log_p, REFERENCE, name)))
        for name in KL_ESTIMATORS
    }
    exact = np.sum(np.exp(log_p) * (log_p - REFERENCE))
    assert means["k1"] == pytest.approx(exact, abs=1e-12)
    assert means["k3"] == pytest.approx(exact, abs=1e-12)
    assert abs(means["k2"] - exact) > 0.01


def test_k3_is_never_negative_and_zero_only_between_equals():
    grid = np.concatenate([-np.logspace(-6, 1.2, 200), [0.0]])
    current, reference = np.meshgrid(grid, grid)
    k3 = np.asarray(kl_divergence(jnp.asarray(current), jnp.asarray(reference), "k3"))
    assert (k3 >= 0).all()
    assert (k3[current == reference] == 0).all()
    assert (k3[abs(current - reference) > 1e-7] > 0).all()


def test_values_of_the_worked_example():
    current = jnp.asarray([-1, -0.5, -2, -0.1, -0.7, -1.2])
    reference = jnp.asarray([-1.1, -0.6, -1.9, -0.2, -0.8, -1.1])
    low, high = 0.004837418, 0.0051709181
    k3 = kl_divergence(current, reference, "k3")
    np.testing.assert_allclose(k3, [low, low, high, low, low, high], atol=1e-9)
    signs = np.array([1, 1, -1, 1, 1, -1])
    np.testing.assert_allclose(kl_divergence(current, reference, "k1"), 0.1 * signs, atol=1e-12)
    np.testing.assert_allclose(kl_divergence(current, reference, "k2"), 0.005, atol=1e-12)


def test_far_apart_log_probabilities_stay_finite():
    far = kl_divergence(jnp.asarray([-800.0, 0.0]), jnp.asarray([0.0, -800.0]), "k3")
    np.testing.assert_allclose(far, [np.exp(20) - 21, np.exp(-20) + 19], rtol=1e-12)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(InputError, match="kl_estimator='k4': expected one of k1, k2, k3"):
        kl_divergence(jnp.zeros(1), jnp.zeros(1), "k4")
