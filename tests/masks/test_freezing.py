"""Frozen means frozen, bit for bit; and which chains only look as if they froze."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from mask_toys import SHAPES, assert_held, assert_same_bits, bits, draw, is_shape, run, some_mask

from jaxreason.errors import InputError
from jaxreason.masks import (
    apply_updates,
    freeze_outside,
    mask_gradients,
    mask_updates,
    pack,
    read_mask,
    to_indices,
)

RATE = optax.cosine_decay_schedule(0.05, 10)
OPTIMIZERS = {
    "adamw": optax.adamw(RATE, weight_decay=0.1),
    "clip, adamw": optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.05)),
    "momentum": optax.sgd(RATE, momentum=0.9, nesterov=True),
    "accumulation": optax.MultiSteps(optax.adamw(0.05), 2).gradient_transformation(),
    "hyperparameters": optax.inject_hyperparams(optax.adamw)(learning_rate=RATE),
    "muon": optax.contrib.muon(0.05, weight_decay=0.1),
}


def with_signed_zeros(params):
    return jax.tree.map(
        lambda p: np.where(np.abs(p) < 0.4, np.copysign(np.float32(0), p), p), params
    )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_weights_outside_the_mask_keep_their_bits(name):
    mask = some_mask()
    params = with_signed_zeros(draw(0))
    params = {**params, "table": params["table"].astype(jnp.bfloat16)}
    gradients = draw(1, leading=(5,))
    after, _, _ = run(freeze_outside(OPTIMIZERS[name], mask), params, gradients)
    assert_held(params, after, mask)
    assert np.signbit(np.asarray(params["table"], np.float32)).any()
    moved = bits(params["layers"]["gate"]) != bits(after["layers"]["gate"])
    np.testing.assert_array_equal(moved, mask["layers"]["gate"])


@pytest.mark.parametrize("name", ["adamw", "clip, adamw", "accumulation", "muon"])
def test_a_mask_of_ones_is_the_optimizer_itself(name):
    params, gradients = draw(0), draw(1, leading=(4,))
    ones = jax.tree.map(lambda shape: np.ones(shape, bool), SHAPES, is_leaf=is_shape)
    bare, bare_state, bare_updates = run(OPTIMIZERS[name], params, gradients)
    held, held_state, held_updates = run(freeze_outside(OPTIMIZERS[name], ones), params, gradients)
    assert_same_bits((bare, bare_updates), (held, held_updates))
    assert_same_bits(bare_state, held_state.inner_state)


def test_a_mask_of_zeros_freezes_everything_if_asked_for():
    params, gradients = with_signed_zeros(draw(0)), draw(1, leading=(4,))
    optimizer = optax.adamw(0.1, weight_decay=0.5)
    with pytest.raises(InputError, match="the mask is empty"):
        freeze_outside(optimizer, False).init(params)
    after, state, _ = run(freeze_outside(optimizer, False, allow_empty=True), params, gradients)
    assert_same_bits(params, after)
    assert np.asarray(state.inner_state[0].mu["table"]).any()


def test_every_form_of_mask_does_the_same():
    mask = some_mask()
    params, gradients = draw(0), draw(1, leading=(2,))
    expected, _, _ = run(freeze_outside(optax.adam(0.1), mask), params, gradients)
    for form in (pack, to_indices, jnp.asarray):
        optimizer = freeze_outside(optax.adam(0.1), jax.tree.map(form, mask))
        after, state, _ = run(optimizer, params, gradients)
        assert_same_bits(expected, after)
        assert_same_bits(read_mask(state.mask, params), jax.tree.map(jnp.asarray, mask))


def test_nan_in_a_frozen_gradient_goes_nowhere():
    mask, params = some_mask(), draw(0)
    clean = draw(1, leading=(3,))
    poisoned = jax.tree.map(lambda g, m: np.where(m, g, np.float32(np.nan)), clean, mask)
    for optimizer in (
        freeze_outside(optax.adamw(0.1), mask),
        optax.chain(mask_gradients(mask), optax.clip_by_global_norm(1.0), optax.adam(0.1)),
    ):
        expected = run(optimizer, params, jax.tree.map(lambda g, m: g * m, clean, mask))[0]
        assert_same_bits(expected, run(optimizer, params, poisoned)[0])


def test_apply_updates_keeps_what_addition_would_change():
    raw = np.array([0x00000001, 0x80000000, 0x7F800001, 0x3F800000], np.uint32)
    params = {"w": jnp.asarray(raw.view(np.float32)), "static": None}
    kept = jax.jit(apply_updates)(params, {"w": jnp.zeros(4), "static": None})
    np.testing.assert_array_equal(bits(kept["w"]), raw)
    assert kept["static"] is None
    half = {"w": jnp.ones(2, jnp.bfloat16)}
    moved = apply_updates(half, {"w": jnp.array([0.5, 0.0])})["w"]
    assert moved.dtype == jnp.bfloat16
    np.testing.assert_array_equal(moved, [1.5, 1.0])


def test_the_mask_is_copied_into_the_state_and_can_be_donated():
    mask = {"w": jnp.array([True, False])}
    params = {"w": jnp.ones(2)}
    optimizer = mask_updates(mask)
    update = jax.jit(optimizer.update, donate_argnums=1)
    update(params, optimizer.init(params))
    updates, _ = update(params, optimizer.init(params))
    np.testing.assert_array_equal(bits(updates["w"]), bits(np.array([1.0, -0.0], np.float32)))
    assert mask["w"].sum() == 1


def test_a_mask_may_be_a_function_of_the_parameters():
    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.ones(1)}
    optimizer = mask_updates(lambda p: {"w": p["w"] > 0, "b": False})
    updates, _ = optimizer.update(params, jax.jit(optimizer.init)(params))
    np.testing.assert_array_equal(updates["w"], [1.0, 0.0])
    assert not updates["b"].any()


def test_updates_that_do_not_fit_the_mask_are_refused_by_their_path():
    optimizer = mask_updates({"a": {"w": np.array([True, False])}, "b": True})
    state = optimizer.init({"a": {"w": jnp.ones(2)}, "b": jnp.ones(3)})
    with pytest.raises(InputError, match="see a/v"):
        optimizer.update({"a": {"v": jnp.ones(2)}, "b": jnp.ones(3)}, state)
    with pytest.raises(InputError, match=r"a/w: .* bool\[2\], which does not fit the shape \(3,\)"):
        optimizer.update({"a": {"w": jnp.ones(3)}, "b": jnp.ones(3)}, state)
