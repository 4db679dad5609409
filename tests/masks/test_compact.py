"""Compact state: the same updates from fewer bytes, and refusal where they would differ."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from mask_toys import assert_held, assert_same_bits, draw, run, some_mask

from jaxreason.errors import InputError
from jaxreason.masks import compact, freeze_outside, pack, to_indices
from jaxreason.masks.coupling import find_coupling
from jaxreason.training.optimizer import OptimizerConfig, decay_mask, make_optimizer

RATE = optax.cosine_decay_schedule(0.05, 10)
INDEPENDENT = {
    "sgd, momentum": optax.sgd(RATE, momentum=0.9, nesterov=True),
    "adam": optax.adam(RATE),
    "adamw, decay by ndim": optax.adamw(0.05, weight_decay=0.1, mask=decay_mask),
    "rmsprop": optax.rmsprop(0.05, centered=True, momentum=0.9),
    "lion": optax.lion(0.05),
    "adagrad": optax.adagrad(0.05),
    "hyperparameters": optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
    "accumulation": optax.MultiSteps(optax.adam(0.05), 2).gradient_transformation(),
}
ALSO_INDEPENDENT = {
    "adadelta": optax.adadelta(0.1),
    "amsgrad": optax.amsgrad(0.1),
    "radam": optax.radam(0.1),
    "entry-wise clip": optax.chain(optax.clip(1.0), optax.sgd(0.1)),
    "schedule-free": optax.contrib.schedule_free_adamw(0.1),
    "adopt": optax.contrib.adopt(0.1),
    "this project's AdamW without clip": make_optimizer(OptimizerConfig(clip_norm=0)),
}
COUPLED = {
    "clip_by_global_norm": make_optimizer(OptimizerConfig()),
    "clip_by_block_rms": optax.clip_by_block_rms(1.0),
    "adaptive_grad_clip": optax.adaptive_grad_clip(1.0),
    "scale_by_trust_ratio": optax.lamb(0.1),
    "scale_by_factored_rms": optax.scale_by_factored_rms(),
    "scale_by_muon": optax.contrib.muon(0.1),
    "scale_by_galore": optax.contrib.galore(0.1),
    "prodigy": optax.contrib.prodigy(),
    "add_noise": optax.add_noise(0.1, 0.5, key=jax.random.key(0)),
    "apply_if_finite": optax.apply_if_finite(optax.sgd(0.1), 3),
    "centralize": optax.centralize(),
}


def shapes_of(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


WIDE = {
    "w": jax.ShapeDtypeStruct((256, 130), jnp.float32),
    "b": jax.ShapeDtypeStruct((7,), jnp.float32),
    "scale": jax.ShapeDtypeStruct((), jnp.float32),
}


@pytest.mark.parametrize("name", sorted(INDEPENDENT))
def test_compact_equals_freeze_outside_bit_for_bit(name):
    mask = some_mask()
    params, gradients = draw(0), draw(1, leading=(4,))
    frozen = run(freeze_outside(INDEPENDENT[name], mask), params, gradients)
    short = run(compact(INDEPENDENT[name], mask), params, gradients)
    assert_same_bits((frozen[0], frozen[2]), (short[0], short[2]))
    assert_held(params, short[0], mask)


def test_every_form_of_mask_makes_the_same_compact_state():
    mask, params = some_mask(), draw(0)
    expected = compact(optax.adam(0.1), mask).init(params)
    for form in (pack, to_indices, jnp.asarray):
        state = jax.jit(compact(optax.adam(0.1), jax.tree.map(form, mask)).init)(params)
        assert_same_bits(expected, state)


def test_ones_are_the_optimizer_itself_and_zeros_have_no_state():
    params, gradients = draw(0), draw(1, leading=(3,))
    bare = run(optax.adam(0.1), params, gradients)
    full = run(compact(optax.adam(0.1), True), params, gradients)
    assert_same_bits(bare[0], full[0])
    assert_same_bits(bare[1], full[1].inner_state)
    nothing = compact(optax.adam(0.1), False, allow_empty=True)
    after, state, _ = run(nothing, params, gradients)
    assert_same_bits(params, after)
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [()]  # Adam's count


@pytest.mark.parametrize("density", [0.01, 0.05, 0.2])
def test_adam_takes_twelve_bytes_per_active_entry(density):
    shape = (400, 500)
    params = {"w": jax.ShapeDtypeStruct(shape, jnp.float32)}
    mask = {"w": np.random.default_rng(0).permutation(200_000).reshape(shape) < density * 200_000}
    state = jax.eval_shape(compact(optax.adam(0.1), mask).init, params)
    taken = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    assert taken <= 12 * density * 200_000 + 8


def test_bf16_parameters_and_signed_zeros_outside_are_held():
    mask = some_mask()
    params = jax.tree.map(lambda p: np.where(p < 0, -0.0, p).astype(jnp.bfloat16), draw(0))
    gradients = draw(1, leading=(2,), dtype=jnp.bfloat16)
    after, _, _ = run(compact(optax.adamw(0.1), mask), params, gradients)
    assert_held(params, after, mask)


@pytest.mark.parametrize("name", sorted(COUPLED))
def test_coupled_optimizers_are_refused_by_name(name):
    mask = {"w": np.eye(256, 130, dtype=bool), "b": True, "scale": True}
    with pytest.raises(InputError, match=f"compact cannot hold {name} "):
        jax.eval_shape(compact(COUPLED[name], mask).init, WIDE)


@pytest.mark.parametrize("name", sorted(INDEPENDENT | ALSO_INDEPENDENT))
def test_independent_optimizers_are_not_refused(name):
    assert find_coupling((INDEPENDENT | ALSO_INDEPENDENT)[name], WIDE) is None


def test_mixing_of_whole_leaves_is_seen():
    def exchange(updates, state, params=None):
        return {**updates, "w": updates["v"], "v": updates["w"]}, state

    def spread(updates, state, params=None):
        return {**updates, "w": updates["w"] * params["scale"]}, state

    shapes = {
        **{name: jax.ShapeDtypeStruct((3, 4), jnp.float32) for name in "wv"},
        "scale": jax.ShapeDtypeStruct((), jnp.float32),
    }
    for update in (exchange, spread):
        transform = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
        assert find_coupling(transform, shapes) is not None
    assert find_coupling(optax.identity(), shapes) is None


def test_loops_are_followed():
    def repeated(mix):
        def update(updates, state, params=None):
            def body(carry, rate):
                return jax.tree.map(lambda c, u: mix(c * rate + u), carry, updates), None

            rates = jnp.broadcast_to(jnp.float32(0.5), (3,))
            return jax.lax.scan(body, updates, rates)[0], state

        return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

    assert find_coupling(repeated(jnp.tanh), WIDE) is None
    assert "reduce_max" in find_coupling(repeated(lambda x: x / x.max()), WIDE)

    def until(updates, state, params=None):
        return jax.lax.while_loop(
            lambda carry: carry["b"].sum() < 1, lambda c: jax.tree.map(lambda x: 2 * x, c), updates
        ), state

    stopping = optax.GradientTransformation(lambda params: optax.EmptyState(), until)
    assert "(while)" in find_coupling(stopping, WIDE)


def test_what_looks_at_shapes_is_refused():
    params, mask = draw(0), some_mask()
    by_size = optax.adamw(
        0.1, weight_decay=0.1, mask=lambda tree: jax.tree.map(lambda p: p.size > 40, tree)
    )
    with pytest.raises(InputError, match="different arithmetic for leaves of other shapes"):
        compact(by_size, mask).init(params)
    compact(by_size, mask, allow_coupled=True).init(params)


def test_a_clip_let_in_sees_the_active_entries_only():
    params = {"w": jnp.zeros(3)}
    gradients = {"w": jnp.array([[3.0, 4.0, 1000.0]])}
    mask = {"w": np.array([True, True, False])}
    inner = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    after, _, _ = run(compact(inner, mask, allow_coupled=True), params, gradients)
    np.testing.assert_allclose(after["w"], [-0.6, -0.8, 0.0], rtol=1e-6)


def test_bad_masks_are_refused():
    params, mask = draw(0), some_mask()
    with pytest.raises(InputError, match="layers/gate has shape"):
        compact(optax.sgd(0.1), {**mask, "layers": {"gate": np.ones(3, bool)}}).init(params)
    with pytest.raises(InputError, match="the mask is empty"):
        compact(optax.sgd(0.1), False).init(params)
    with pytest.raises(InputError, match="not a function"):
        compact(optax.sgd(0.1), lambda params: True).init(params)
    with pytest.raises(InputError, match="layers/gate is traced"):
        jax.eval_shape(lambda m: compact(optax.sgd(0.1), m).init(params), mask)
