"""The tracker: passes everything through, and sees what a reader of the weights would see."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mask_toys import assert_same_bits, bits, draw, run

from jaxreason.errors import InputError
from jaxreason.masks import mask_updates, read_mask, track_updates


def readings(params, dtype):
    return jax.tree.map(lambda p: bits(jnp.asarray(p).astype(dtype or p.dtype)), params)


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_it_records_what_comparing_readings_step_by_step_shows(dtype):
    # Steps of a third of a bfloat16 spacing: seen only when the reading flips.
    params = {**draw(0), "scale": np.float32(-0.0)}
    params["table"] = params["table"].astype(jnp.bfloat16)
    gradients = draw(1, leading=(6,))
    optimizer = optax.chain(optax.sgd(1e-3), track_updates(dtype))
    bare = optax.sgd(1e-3)
    state, bare_state = optimizer.init(params), bare.init(params)
    update, add = jax.jit(optimizer.update), jax.jit(optax.apply_updates)
    step_bare = jax.jit(bare.update)
    ever = jax.tree.map(lambda p: np.zeros(p.shape, bool), params)
    for step in range(6):
        rows = jax.tree.map(lambda g: g[step], gradients)  # noqa: B023
        expected, bare_state = step_bare(rows, bare_state)
        updates, state = update(rows, state, params)
        assert_same_bits(expected, updates)
        after = add(params, updates)
        flips = jax.tree.map(
            lambda a, b: np.asarray(a != b), readings(params, dtype), readings(after, dtype)
        )
        ever = jax.tree.map(np.logical_or, ever, flips)
        seen = state[-1]
        assert_same_bits(
            jax.tree.map(lambda f: np.uint32(f.sum()), flips),
            jax.tree.map(np.asarray, seen.changed),
        )
        total = sum(f.sum() for f in jax.tree.leaves(flips))
        np.testing.assert_allclose(seen.sparsity, 1 - total / 96, rtol=1e-6)
        params = after
    got = read_mask(optax.tree_utils.tree_get(state, "ever_updated"), params)
    assert_same_bits(ever, jax.tree.map(np.asarray, got))
    assert int(seen.step) == 6
    if dtype == "bfloat16":
        assert 0.1 < np.mean(ever["layers"]["gate"]) < 1


def test_entries_that_come_back_are_remembered():
    params = {"w": jnp.array([1.0, 1.0])}
    gradients = {"w": jnp.array([[0.5, 0.0], [-0.5, 0.0]])}
    after, state, _ = run(optax.chain(optax.sgd(1.0), track_updates()), params, gradients)
    assert_same_bits(params, after)
    np.testing.assert_array_equal(read_mask(state[-1].ever_updated, params)["w"], [True, False])


def test_a_masked_optimizer_is_seen_to_change_only_the_mask():
    params, gradients = draw(0), draw(1, leading=(2,))
    mask = jax.tree.map(lambda p: np.asarray(p) > 0, params)
    optimizer = optax.chain(optax.sgd(10.0), mask_updates(mask), track_updates(None))
    _, state, _ = run(optimizer, params, gradients)
    assert_same_bits(mask, jax.tree.map(np.asarray, read_mask(state[-1].ever_updated, params)))


def test_it_takes_an_eighth_of_a_byte_per_parameter():
    params = {"w": jax.ShapeDtypeStruct((64, 128), jnp.float32)}
    state = jax.eval_shape(track_updates().init, params)
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) == 64 * 128 / 8 + 12


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="read_dtype='int8': expected a floating dtype"):
        track_updates("int8")
    with pytest.raises(InputError, match="read_dtype='brain': expected a floating dtype"):
        track_updates("brain")
    tracker = track_updates()
    with pytest.raises(InputError, match="needs the parameters"):
        tracker.update({"w": jnp.ones(1)}, tracker.init({"w": jnp.ones(1)}))
