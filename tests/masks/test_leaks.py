"""Which chains leak: literal AdamW fixtures, and each placement of a mask both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from jaxreason.masks import freeze_outside, mask_gradients, mask_updates

START = np.array([1.0, -2.0, 0.5, 3.0])
GRADIENTS = np.array([[0.1, -0.2, 0.3, 0.4], [0, 0.5, -0.1, 0.2], [-0.3, 0.1, 0.2, -0.6]])
MASK = np.array([True, False, True, False])
ADAM = optax.scale_by_adam(0.9, 0.999, 1e-8)
DECAY = optax.add_decayed_weights(0.1)
RATE = optax.scale_by_learning_rate(1e-2)
CLIP = optax.clip_by_global_norm(0.25)
GRADIENT, UPDATE = mask_gradients(MASK), mask_updates(MASK)

# Three AdamW steps in float64, computed independently in numpy.
FIXTURES = [
    ([ADAM, RATE], [0.9877238935, -1.9989499214, 0.4799669502, 2.9814979721]),
    ([GRADIENT, ADAM, RATE], [0.9877238935, -2, 0.4799669502, 3]),
    ([ADAM, RATE, UPDATE], [0.9877238935, -2, 0.4799669502, 3]),
    ([CLIP, GRADIENT, ADAM, RATE], [0.9871225386, -2, 0.480407542, 3]),
    ([CLIP, ADAM, RATE, UPDATE], [0.9871225386, -2, 0.480407542, 3]),
    ([GRADIENT, CLIP, ADAM, RATE], [0.9874330674, -2, 0.4814538207, 3]),
    ([ADAM, DECAY, RATE], [0.9847535831, -1.9929714872, 0.4784924418, 2.9725362809]),
    ([GRADIENT, ADAM, DECAY, RATE], [0.9847535831, -1.994005998, 0.4784924418, 2.991008997]),
    ([ADAM, DECAY, RATE, UPDATE], [0.9847535831, -2, 0.4784924418, 3]),
    ([CLIP, ADAM, DECAY, RATE, UPDATE], [0.9841522281, -2, 0.4789330337, 3]),
    ([GRADIENT, CLIP, ADAM, DECAY, RATE], [0.9844627569, -1.994005998, 0.4799785916, 2.991008997]),
]


def after(optimizer, params, gradients):
    """The parameters after all gradients, in one program."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), gradients)[0][0]


def test_adamw_fixtures_in_float64():
    with jax.enable_x64(True):
        start, gradients = jnp.asarray(START), jnp.asarray(GRADIENTS)

        @jax.jit
        def run_all():
            return [after(optax.chain(*links), start, gradients) for links, _ in FIXTURES]

        results = run_all()
    for (_, expected), result in zip(FIXTURES, results, strict=True):
        assert result.dtype == np.float64
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)


def test_freeze_outside_is_the_update_mask():
    with jax.enable_x64(True):
        inner = optax.chain(CLIP, ADAM, DECAY, RATE)
        start, gradients = jnp.asarray(START), jnp.asarray(GRADIENTS)
        result = jax.jit(lambda: after(freeze_outside(inner, MASK), start, gradients))()
    np.testing.assert_allclose(result, [0.9841522281, -2, 0.4789330337, 3], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(result[1::2], START[1::2])


def test_momentum_left_over_moves_weights_whose_gradient_is_masked_mid_run():
    # After a long constant gradient m = g and v = g^2; then sum over k of 0.9^k / 0.999^(k/2).
    params = {"w": jnp.zeros(2)}
    mask = {"w": np.array([True, False])}
    adam = optax.chain(ADAM, optax.scale_by_learning_rate(1.0))

    def tail(optimizer, choose):
        state = optimizer.init(params)
        warm = optax.ScaleByAdamState(jnp.int32(100_000), *({"w": jnp.ones(2)} for _ in "mv"))
        state = choose(state, (warm, optax.EmptyState()))

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update({"w": jnp.ones(2)}, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), length=300)[0][0]["w"]

    gradient_only = optax.chain(mask_gradients(mask), adam)
    leaked = tail(gradient_only, lambda state, warm: (state[0], warm))
    np.testing.assert_allclose(leaked[1], -9.05, rtol=5e-3)
    safe = freeze_outside(adam, mask)
    held = tail(safe, lambda state, warm: state._replace(inner_state=warm))
    assert held[1] == 0
    np.testing.assert_allclose([leaked[0], held[0]], -300, rtol=1e-2)


@pytest.mark.parametrize("name", ["muon", "lamb"])
def test_coupled_optimizers_leak_through_a_gradient_mask_only(name):
    inner = optax.contrib.muon(0.1) if name == "muon" else optax.lamb(0.1, weight_decay=0.1)
    random = np.random.default_rng(0)
    params = {"w": jnp.asarray(random.normal(size=(4, 6)), jnp.float32)}
    gradients = {"w": jnp.asarray(random.normal(size=(2, 4, 6)), jnp.float32)}
    mask = {"w": random.random((4, 6)) < 0.5}

    @jax.jit
    def both():
        leaky = after(optax.chain(mask_gradients(mask), inner), params, gradients)
        return leaky["w"], after(freeze_outside(inner, mask), params, gradients)["w"]

    leaky, frozen = both()
    outside = ~mask["w"]
    assert (leaky[outside] != params["w"][outside]).mean() > 0.5
    np.testing.assert_array_equal(frozen[outside], params["w"][outside])
    assert (frozen[~outside] != params["w"][~outside]).all()


def test_multiplying_by_a_mask_would_let_nan_through():
    gradient = {"w": jnp.array([1.0, jnp.nan, jnp.inf])}
    mask = {"w": np.array([True, False, False])}
    for transform in (mask_updates(mask), mask_gradients(mask)):
        masked, _ = transform.update(gradient, transform.init(gradient))
        np.testing.assert_array_equal(masked["w"], [1.0, 0.0, 0.0])
