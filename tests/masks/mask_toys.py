"""A small tree of parameters, masks for it, and a jitted run of an optimizer."""

import jax
import numpy as np
import optax

SHAPES = {"layers": {"gate": (6, 13), "norm": (5,)}, "scale": (), "table": (3, 4)}


def is_shape(node):
    return isinstance(node, tuple)


def draw(seed, leading=(), dtype=np.float32):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: np.asarray(random.normal(size=(*leading, *shape))).astype(dtype),
        SHAPES,
        is_leaf=is_shape,
    )


def some_mask(seed=7, density=0.3):
    """Bool arrays: part of the gate, all of the norm, nothing of the table."""
    random = np.random.default_rng(seed)
    return {
        "layers": {"gate": random.random((6, 13)) < density, "norm": np.ones(5, bool)},
        "scale": np.asarray(True),
        "table": np.zeros((3, 4), bool),
    }


def bits(array):
    array = np.asarray(array)
    return array.view(f"u{array.dtype.itemsize}")


def assert_same_bits(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(bits(one), bits(two))


def assert_held(before, after, mask):
    """The entries outside the mask have the very same bits."""
    for one, two, active in zip(
        jax.tree.leaves(before), jax.tree.leaves(after), jax.tree.leaves(mask), strict=True
    ):
        np.testing.assert_array_equal(bits(one)[~active], bits(two)[~active])


def run(optimizer, params, gradients, state=None):
    """Parameters, state and updates after one update for each leading row of the gradients.

    Update and addition are separate programs: in one, XLA may round p + lr * x only once.
    """
    state = optimizer.init(params) if state is None else state
    update = jax.jit(optimizer.update)
    add = jax.jit(optax.apply_updates)
    history = []
    leaves, structure = jax.tree.flatten(gradients)
    for rows in zip(*leaves, strict=True):
        updates, state = update(jax.tree.unflatten(structure, rows), state, params)
        params = add(params, updates)
        history.append(updates)
    return params, state, history
