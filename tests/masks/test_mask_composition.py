"""Masks inside what people use: optax wrappers, scan, vmap, flax nnx, Equinox, docstrings."""

import doctest
import importlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mask_toys import assert_held, assert_same_bits, draw, run, some_mask

from jaxreason.masks import (
    compact,
    freeze_outside,
    mask_gradients,
    mask_updates,
    pack,
    scheduled_mask,
    to_indices,
    track_updates,
)

try:
    from flax import nnx
except AttributeError as error:  # flax 0.12.9 asks for names that jax 0.11 no longer has
    nnx, nnx_missing = None, str(error)
else:
    nnx_missing = ""


def of_size(params, gradients, count):
    return jax.tree.map(lambda g: jnp.abs(g) > 0.5, gradients)


def every_other(count):
    return count % 2 == 0


MASK = some_mask()
EVERY = {
    "mask_updates": optax.chain(optax.adamw(0.1), mask_updates(MASK)),
    "mask_gradients": optax.chain(mask_gradients(jax.tree.map(pack, MASK)), optax.adam(0.1)),
    "freeze_outside": freeze_outside(optax.adamw(0.1), jax.tree.map(to_indices, MASK)),
    "compact": compact(optax.adamw(0.1), MASK),
    "scheduled_mask": scheduled_mask(of_size, every_other, optax.adam(0.1), moments="zero"),
    "track_updates": optax.chain(optax.adam(0.1), track_updates()),
}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_scan_and_vmap_do_what_a_loop_does(name):
    optimizer = EVERY[name]
    params, gradients = draw(0), draw(1, leading=(3,))

    def train(params, gradients):
        def step(carry, gradient):
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), updates

        return jax.lax.scan(step, (params, optimizer.init(params)), gradients)

    two = jax.tree.map(lambda *x: np.stack(x), draw(2), params)
    rows = jax.tree.map(lambda g: np.stack([2 * g, g]), gradients)
    (after, state), updates = jax.jit(jax.vmap(train))(two, rows)
    expected, expected_state, history = run(optimizer, params, gradients)
    for ours, theirs in (
        (after, expected),
        (state, expected_state),
        (jax.tree.map(lambda u: u[:, -1], updates), history[-1]),
    ):
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(
                np.asarray(one[1], np.float64), np.asarray(other, np.float64), rtol=2e-5, atol=1e-6
            )


@pytest.mark.parametrize("name", sorted(EVERY))
def test_optax_finds_what_is_like_a_parameter_in_the_state(name):
    params = draw(0)
    state = jax.eval_shape(EVERY[name].init, params)
    names = jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path), params)
    marked = optax.tree_utils.tree_map_params(
        EVERY[name],
        lambda leaf, name: leaf if isinstance(leaf, optax.MaskedNode) else name,
        state,
        names,
        transform_non_params=lambda leaf: "other",
        is_leaf=lambda node: isinstance(node, optax.MaskedNode),
    )
    for path, leaf in jax.tree_util.tree_flatten_with_path(marked)[0]:
        own = "['" in jax.tree_util.keystr(path)
        assert jax.tree_util.keystr(path).endswith(leaf) if own else leaf == "other"


def test_masks_inside_partition_see_their_own_leaves_only():
    params, gradients = draw(0), draw(1, leading=(2,))
    labels = {"layers": "masked", "scale": "plain", "table": "short"}
    short = {**MASK, "table": np.eye(3, 4, dtype=bool)}
    optimizer = optax.partition(
        {
            "masked": freeze_outside(optax.adamw(0.1), MASK),
            "plain": optax.sgd(0.1),
            "short": compact(optax.adamw(0.1), short),
        },
        labels,
    )
    after, _, _ = run(optimizer, params, gradients)
    assert_held(params, after, short)
    alone, _, _ = run(freeze_outside(optax.adamw(0.1), short), params, gradients)
    assert_same_bits({**after, "scale": alone["scale"]}, alone)


@pytest.mark.parametrize("wrap", [freeze_outside, compact])
def test_accumulation_and_injected_rates_around_a_mask(wrap):
    params, gradients = draw(0), draw(1, leading=(4,))
    factory = optax.inject_hyperparams(lambda learning_rate: wrap(optax.adamw(learning_rate), MASK))
    optimizer = optax.MultiSteps(factory(learning_rate=0.1), 2)
    after, state, _ = run(optimizer, params, gradients)
    assert_held(params, after, MASK)
    means = jax.tree.map(lambda g: (g[::2] + g[1::2]) / 2, gradients)
    expected, _, _ = run(freeze_outside(optax.adamw(0.1), MASK), params, means)
    for one, two in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert float(optax.tree_utils.tree_get(state, "learning_rate")) == pytest.approx(0.1)


KERNEL = np.array([[True, False, True], [False, False, True]])


@pytest.mark.skipif(nnx is None, reason=f"flax.nnx cannot be imported: {nnx_missing}")
@pytest.mark.parametrize("kind", ["freeze_outside", "compact", "scheduled_mask", "track_updates"])
def test_flax_nnx(kind):
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    mask = {"kernel": KERNEL, "bias": False}
    optimizer = {
        "freeze_outside": freeze_outside(optax.adamw(0.1), mask),
        "compact": compact(optax.adamw(0.1), mask),
        "scheduled_mask": scheduled_mask(lambda p, g, n: mask, every_other, optax.adamw(0.1)),
        "track_updates": optax.chain(optax.adamw(0.1), mask_updates(mask), track_updates()),
    }[kind]
    before = np.asarray(model.kernel[...]), np.asarray(model.bias[...])
    trainer = nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    @nnx.jit
    def step(model, trainer):
        gradients = nnx.grad(lambda model: (model(jnp.ones((1, 2))) ** 2).sum())(model)
        trainer.update(model, gradients)

    step(model, trainer)
    step(model, trainer)
    np.testing.assert_array_equal(np.asarray(model.kernel[...]) != before[0], KERNEL)
    np.testing.assert_array_equal(np.asarray(model.bias[...]), before[1])


@pytest.mark.parametrize("kind", ["freeze_outside", "compact", "scheduled_mask", "track_updates"])
def test_equinox(kind):
    model = eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_array)
    # A module is callable, and still a tree: here a tree of bools.
    mask = jax.tree.map(lambda p: np.arange(p.size).reshape(p.shape) % 3 == 0, params)
    optimizer = {
        "freeze_outside": freeze_outside(optax.adamw(0.1), mask),
        "compact": compact(optax.adamw(0.1), mask),
        "scheduled_mask": scheduled_mask(lambda p, g, n: mask, every_other, optax.adamw(0.1)),
        "track_updates": optax.chain(optax.adamw(0.1), mask_updates(mask), track_updates()),
    }[kind]

    @eqx.filter_jit
    def step(params, state):
        def loss(params):
            return (eqx.combine(params, static)(jnp.ones(2)) ** 2).sum()

        updates, state = optimizer.update(eqx.filter_grad(loss)(params), state, params)
        return eqx.apply_updates(params, updates), state

    state = optimizer.init(params)
    after = params
    for _ in range(2):
        after, state = step(after, state)
    assert_held(params, after, mask)
    assert (after.layers[0].weight != params.layers[0].weight).any()


@pytest.mark.parametrize(
    "module",
    ["forms", "in_state", "elementwise", "freezing", "compaction", "scheduled", "tracking"],
)
def test_docstring_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"jaxreason.masks.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
