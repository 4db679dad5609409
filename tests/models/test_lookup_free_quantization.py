"""Lookup-free quantisation: bit order, the place of zero, gradients, and the losses' values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.lookup_free_quantization import (
    bit_entropy,
    code_entropy,
    codes_of,
    commitment,
    signs,
    signs_of_codes,
    straight_through,
)

# Values from running the quantiser of Gen-Verse/MMaDA (models/modeling_magvitv2.py).
LATENTS = jnp.array([[0.5, -0.25], [-1.0, 0.0]])


def test_the_first_channel_is_the_most_significant_bit():
    for code, channel in ((1, 12), (4096, 0)):
        assert jnp.flatnonzero(signs_of_codes(jnp.array(code), 13) > 0).tolist() == [channel]


def test_codes_and_signs_are_inverse():
    codes = jnp.arange(64).reshape(2, 4, 8)
    quantised = signs_of_codes(codes, 6)
    assert quantised.shape == (2, 4, 8, 6)
    assert set(np.unique(quantised)) == {-1.0, 1.0}
    np.testing.assert_array_equal(codes_of(quantised), codes)
    assert codes_of(quantised).dtype == jnp.int32


def test_zero_is_minus_one():
    assert signs(jnp.array([0.0, -0.0, 1e-30, -1e-30])).tolist() == [-1, -1, 1, -1]
    assert codes_of(LATENTS).tolist() == [2, 0]


def test_straight_through_is_exactly_the_signs_with_the_gradient_of_z():
    z = jax.random.normal(jax.random.key(0), (40, 5)) * 3
    np.testing.assert_array_equal(straight_through(z), signs(z))
    weights = jax.random.normal(jax.random.key(1), z.shape)
    gradient = jax.grad(lambda z: jnp.sum(straight_through(z) * weights))(z)
    np.testing.assert_array_equal(gradient, weights)


def test_losses_of_the_reference_s_example():
    assert 0.1 * float(commitment(LATENTS)) == pytest.approx(0.0566406, abs=1e-7)
    undecided, used = bit_entropy(LATENTS)
    assert 0.1 * float(undecided - used) == pytest.approx(-0.0244418, abs=1e-7)


def test_commitment_pulls_z_to_its_signs_by_one_minus_beta():
    pull = jax.grad(lambda z: commitment(z, 0.25))(LATENTS)
    wanted = -2 * (1 - 0.25) * (signs(LATENTS) - LATENTS) / LATENTS.size
    np.testing.assert_allclose(pull, wanted, rtol=1e-6)


def test_entropies_at_their_ends():
    even = jnp.array([[9.0, 9.0], [-9.0, -9.0]])
    undecided, used = bit_entropy(even)
    assert float(undecided) == pytest.approx(0, abs=1e-6)
    assert float(used) == pytest.approx(np.log(2), rel=1e-6)
    same = jnp.full((2, 3, 2), 90.0)
    undecided, used = bit_entropy(same)
    assert float(used) == pytest.approx(0, abs=1e-5)
    undecided, used = bit_entropy(jnp.zeros((4, 2)))
    assert float(undecided) == pytest.approx(np.log(2), rel=1e-6)
    gradient = jax.grad(lambda z: jnp.subtract(*bit_entropy(z)))(same)
    assert bool(jnp.isfinite(gradient).all())


def test_entropy_is_that_of_the_two_logits():
    z = jax.random.normal(jax.random.key(2), (7, 3)) * 2
    logits = jnp.stack([-((z - 1) ** 2), -((z + 1) ** 2)], -1)
    probability = jax.nn.softmax(logits, -1)

    def entropy(p):
        return -jnp.sum(p * jnp.log(p), -1).mean()

    undecided, used = bit_entropy(z)
    assert float(undecided) == pytest.approx(float(entropy(probability)), rel=1e-5)
    assert float(used) == pytest.approx(float(entropy(probability.mean(0))), rel=1e-5)


def test_entropy_of_codes_is_that_of_all_their_probabilities():
    z = jax.random.normal(jax.random.key(3), (2, 5, 3))
    plus = jax.nn.sigmoid(4 * z.reshape(10, 3))
    bits = (jnp.arange(8)[:, None] >> jnp.arange(2, -1, -1)) & 1
    codes = jnp.prod(jnp.where(bits, plus[:, None], 1 - plus[:, None]), -1)

    def entropy(p):
        return -jnp.sum(p * jnp.log(p), -1).mean()

    undecided, used = code_entropy(z)
    assert float(undecided) == pytest.approx(float(entropy(codes)), rel=1e-4)
    assert float(used) == pytest.approx(float(entropy(codes.mean(0))), rel=1e-4)


def test_only_the_entropy_of_codes_sees_that_two_bits_always_agree():
    agreeing = jnp.array([[9.0, 9.0], [-9.0, -9.0], [9.0, 9.0], [-9.0, -9.0]])
    free = jnp.array([[9.0, 9.0], [-9.0, -9.0], [9.0, -9.0], [-9.0, 9.0]])
    for z, wanted in ((agreeing, np.log(2)), (free, np.log(4))):
        assert float(bit_entropy(z)[1]) == pytest.approx(np.log(2), rel=1e-5)
        assert float(code_entropy(z)[1]) == pytest.approx(wanted, rel=1e-5)
    gradient = jax.grad(lambda z: code_entropy(z)[1])(jnp.full((2, 3), 90.0))
    assert bool(jnp.isfinite(gradient).all())
