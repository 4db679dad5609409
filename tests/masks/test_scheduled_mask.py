"""Masks that change: when they are computed, what is held, and what becomes of the moments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.errors import InputError
from jaxreason.masks import freeze_outside, scheduled_mask

# Entry 0 is always active; 1 and 2 are released at updates 10 and 1000; 3 is frozen from 10 on.
RELEASED = jnp.array([0, 10, 1000, 0])
FROZEN = jnp.array([5000, 5000, 5000, 10])
ADAM = optax.scale_by_adam(0.9, 0.999, 1e-8)


def by_count(params, gradients, count):
    return {"w": (count >= RELEASED) & (count < FROZEN)}


def always(count):
    return True


def trajectory(optimizer, steps):
    """Updates and first moments over time for a constant gradient of one; both [steps, 4]."""
    params = {"w": jnp.zeros(4)}

    def step(state, _):
        updates, state = optimizer.update({"w": jnp.ones(4)}, state, params)
        return state, (updates["w"], optax.tree_utils.tree_get(state, "mu")["w"])

    scan = jax.jit(lambda: jax.lax.scan(step, optimizer.init(params), length=steps)[1])
    return [np.asarray(x) for x in scan()]


def test_kept_moments_release_without_a_jump():
    updates, moments = trajectory(scheduled_mask(by_count, always, ADAM), 1040)
    np.testing.assert_allclose(updates[:, 0], 1, rtol=2e-4)
    for entry, release in ((1, 10), (2, 1000)):
        assert not updates[:release, entry].any()
        np.testing.assert_allclose(updates[release:, entry], 1, rtol=2e-4)
    np.testing.assert_allclose(moments[-1], 1, rtol=1e-4)


def test_zeroed_moments_jump_as_documented():
    updates, moments = trajectory(scheduled_mask(by_count, always, ADAM, moments="zero"), 1040)
    assert not moments[:10, 1].any()
    assert not moments[10:, 3].any()
    assert moments[9, 3] > 0.6
    np.testing.assert_allclose(updates[10, 1], 0.482, atol=0.001)
    np.testing.assert_allclose(updates[1000, 2], 2.515, atol=0.001)
    peak = int(updates[1000:, 2].argmax())
    assert 8 <= peak <= 16
    assert 5 < updates[1000 + peak, 2] < 7


def test_decayed_moments_fade_at_the_rate_of_the_optimizer():
    updates, moments = trajectory(scheduled_mask(by_count, always, ADAM, moments="decay"), 40)
    np.testing.assert_allclose(moments[10:, 3], moments[9, 3] * 0.9 ** np.arange(1, 31), rtol=1e-5)
    assert not updates[10:, 3].any()
    np.testing.assert_allclose(moments[10, 1], 0.1, rtol=1e-5)


def test_a_constant_mask_is_freeze_outside():
    mask = {"w": np.array([True, False, True, False])}
    optimizer = optax.adamw(0.1, weight_decay=0.1)
    expected, _ = trajectory(freeze_outside(optimizer, mask), 3)
    for moments in ("keep", "zero", "decay"):
        scheduled = scheduled_mask(lambda p, g, n: mask, always, optimizer, moments=moments)
        updates, _ = trajectory(scheduled, 3)
        np.testing.assert_array_equal(updates.view(np.uint32), expected.view(np.uint32))


def test_the_mask_is_computed_when_the_schedule_says_so():
    def of_gradients(params, gradients, count):
        return {"w": gradients["w"] > 0, "b": False}

    optimizer = scheduled_mask(of_gradients, lambda count: count % 3 == 2)
    params = {"w": jnp.zeros(2), "b": jnp.zeros(1)}
    state, update = jax.jit(optimizer.init)(params), jax.jit(optimizer.update)
    assert not state.mask["w"].any()
    seen = []
    for sign in (1, -1, -1, 1):
        gradients = {"w": sign * jnp.array([1.0, -1.0]), "b": jnp.ones(1)}
        updates, state = update(gradients, state)
        seen.append((updates["w"] != 0).tolist())
        assert not updates["b"].any()
    assert seen == [[True, False], [True, False], [False, True], [False, True]]


def test_wrong_policies_and_masks_are_refused():
    with pytest.raises(InputError, match="moments='drop': expected one of keep, zero, decay"):
        scheduled_mask(by_count, always, ADAM, moments="drop")
    with pytest.raises(InputError, match="needs the optimizer whose moments are meant"):
        scheduled_mask(by_count, always, moments="zero")
    optimizer = scheduled_mask(lambda p, g, n: {"v": True}, always)
    params = {"w": jnp.zeros(2)}
    with pytest.raises(InputError, match="no entry for the parameter w"):
        optimizer.update(params, optimizer.init(params))
