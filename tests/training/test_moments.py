"""Moments in bfloat16: right on average, moving where rounding to the nearest stands still, small,
sharded like their parameters, and the same whether the state is whole or compact.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import training_toy as toy

from jaxreason.errors import InputError
from jaxreason.masks import compact, freeze_outside
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.moments import bfloat16_moments, noise_of, round_randomly
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.precision import in_float32
from jaxreason.training.state import abstract_state, init_state
from jaxreason.training.step import make_step

CONFIG = OptimizerConfig(
    1e-2, 2, 200, schedule="constant", b2=0.999, weight_decay=0.0, clip_norm=0.0
)
BFLOAT = dataclasses.replace(CONFIG, moments_dtype="bfloat16")


def plain(tree):
    keys = jax.dtypes.prng_key
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, keys) else x, tree
    )


def moments(state, *names):
    """The leaves of a state that are moments."""
    return [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if {getattr(key, "name", None) for key in path} & set(names or ("mu", "nu"))
    ]


def test_rounding_goes_to_a_neighbour_and_is_right_on_average():
    random = np.random.default_rng(0)
    x = np.float32(random.normal(size=64) * 10.0 ** random.uniform(-30, 30, 64))
    x[:4] = [0.0, -0.0, 1.5, -(2.0**-100)]
    seeds = jnp.asarray(random.integers(0, 2**32, 20_000, dtype=np.uint32))
    found = jax.jit(
        jax.vmap(lambda s: round_randomly(x, noise_of(x, None, s)).astype(jnp.float32))
    )(seeds)
    found = np.asarray(found, np.float64)
    below = (x.view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)
    spacing = np.abs((x.view(np.uint32) & 0xFFFF0000) + 0x10000).astype(np.uint32)
    above = np.where(below == x, x, spacing.view(np.float32)).astype(np.float64)
    assert ((found == below) | (found == above)).all()
    np.testing.assert_array_equal(np.signbit(found), np.broadcast_to(np.signbit(x), found.shape))
    # A coin with the probability of the part cut off: within five deviations of the mean.
    tolerance = 5 * 0.5 * np.abs(above - below) / np.sqrt(len(seeds))
    assert (np.abs(found.mean(0) - x) <= tolerance).all()
    assert (found[:, 4:].std(0) > 0).all()


def test_rounding_keeps_infinities_and_nan():
    x = jnp.array([jnp.inf, -jnp.inf, jnp.nan])
    found = np.asarray(round_randomly(x, jnp.full(3, 0xFFFF, jnp.uint32)).astype(jnp.float32))
    np.testing.assert_array_equal(found, x)


def run_zero_gradients(optimizer, dtype=jnp.float32, steps=1000):
    """The mean second moment after one gradient and then none, and its first value."""
    params = {"up": jax.random.normal(jax.random.key(1), (32, 64)).astype(dtype)}
    first = {"up": 1.0 + jax.random.uniform(jax.random.key(0), (32, 64))}
    _, state = optimizer.update(first, optimizer.init(params), params)
    start = moments(state, "nu")[0].astype(jnp.float32)
    zero = {"up": jnp.zeros((32, 64))}

    def step(state, _):
        return optimizer.update(zero, state, params)[1], None

    state, _ = jax.jit(lambda s: jax.lax.scan(step, s, length=steps))(state)
    return moments(state, "nu")[0].astype(jnp.float32) / start


def test_the_second_moment_decays_where_nearest_rounding_stalls():
    # Nearest rounding is what optax does around bfloat16 parameters.
    stalled = run_zero_gradients(optax.scale_by_adam(b2=0.999), jnp.bfloat16)
    assert (stalled == 1).all()
    ours = np.asarray(run_zero_gradients(make_optimizer(BFLOAT)))
    np.testing.assert_allclose(ours.mean(), 0.999**1000, rtol=0.015)
    # Entries of equal moments are not rounded alike.
    assert 0.02 < ours.std() / ours.mean() < 0.15


def trained(config, steps=60, mesh=None):
    """The toy trained for some steps on two batches: losses and state."""
    optimizer = make_optimizer(config)
    state = init_state(toy.init, optimizer, jax.random.key(1), mesh)
    step = make_step(toy.quiet, optimizer, mesh)
    losses = []
    for i in range(steps):
        state, metrics = step(state, toy.make_batch(i % 2, length=8))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    return np.array(losses), state


@pytest.mark.parametrize("method", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_training_is_close_to_float32(method):
    wide, _ = trained(dataclasses.replace(CONFIG, method=method))
    short, state = trained(dataclasses.replace(BFLOAT, method=method))
    assert {leaf.dtype for leaf in moments(state)} == {jnp.dtype(jnp.bfloat16)}
    assert wide[-1] < 0.7 * wide[0]
    np.testing.assert_allclose(short, wide, rtol=0.02)
    assert (short != wide).any()


def test_compact_gives_the_updates_of_freeze_outside():
    random = np.random.default_rng(0)
    params = {"up": random.normal(size=(5, 8)), "bias": random.normal(size=7)}
    params = jax.tree.map(jnp.float32, params)
    mask = jax.tree.map(lambda x: random.random(x.shape) < 0.4, params)
    several = [jax.tree.map(lambda x: jnp.float32(random.normal(size=x.shape)), params)] * 3

    def moved(wrap):
        optimizer = wrap(make_optimizer(BFLOAT), mask)
        state, updates = optimizer.init(params), []
        for gradients in several:
            update, state = optimizer.update(gradients, state, params)
            updates.append(update)
        return updates, state

    (frozen, _), (short, state) = moved(freeze_outside), moved(compact)
    jax.tree.map(np.testing.assert_array_equal, frozen, short)
    active = sum(int(leaf.sum()) for leaf in jax.tree.leaves(mask))
    assert sum(leaf.nbytes for leaf in moments(state)) == 2 * 2 * active


def test_bfloat16_parameters_and_moments_together():
    params = {"up": jnp.ones((2, 3), jnp.bfloat16)}
    optimizer = in_float32(make_optimizer(BFLOAT))
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert updates["up"].dtype == jnp.float32
    assert {leaf.dtype for leaf in moments(state)} == {jnp.dtype(jnp.bfloat16)}


def test_moments_are_sharded_like_their_parameters_and_do_not_depend_on_the_mesh():
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    abstract = abstract_state(toy.init, make_optimizer(BFLOAT), mesh)
    for name in ("up", "down"):
        specs = {leaf.sharding.spec for leaf in moments(abstract) if leaf.ndim == 3}
        assert abstract.params["layers"][name].sharding.spec in specs
    _, alone = trained(BFLOAT, 1)
    _, spread = trained(BFLOAT, 1, mesh=mesh)
    for one, other in zip(moments(alone), moments(spread), strict=True):
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        # Sums of gradients differ in their last bits; few moments go to their other neighbour.
        assert (one == other).mean() > 0.9
        np.testing.assert_allclose(one, other, rtol=2**-7, atol=1e-8)


def test_a_run_goes_on_exactly_where_it_stopped(tmp_path):
    optimizer = make_optimizer(BFLOAT)
    state = init_state(toy.init, optimizer, jax.random.key(1))
    step = make_step(toy.quiet, optimizer, None)
    for i in range(2):
        state, _ = step(state, toy.make_batch(i, length=8))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, {"step": 2, "sums": None}, {"index": 2})
    checkpoints.wait()
    restored, _ = checkpoints.restore(abstract_state(toy.init, optimizer))
    checkpoints.close()
    through, _ = step(state, toy.make_batch(2, length=8))
    resumed, _ = step(restored, toy.make_batch(2, length=8))
    jax.tree.map(np.testing.assert_array_equal, plain(through), plain(resumed))


def test_an_optimizer_without_moments_is_refused():
    with pytest.raises(InputError, match="no moments named mu or nu"):
        bfloat16_moments(optax.sgd(0.1)).init({"w": jnp.ones(2)})


def test_an_unknown_dtype_is_refused():
    with pytest.raises(InputError, match="moments_dtype='float16': expected float32 or bfloat16"):
        OptimizerConfig(moments_dtype="float16")
