"""compact and freeze_outside agree to the last bit also when XLA optimises.

The other tests compile without LLVM's optimisations, so that no multiplication and addition is
contracted into one rounding; there this could not fail.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.masks import compact, freeze_outside, random_mask


def optimised(function, *arguments):
    return jax.jit(function).lower(*arguments).compile({"xla_backend_optimization_level": "3"})


def test_the_gather_does_not_change_how_adam_is_rounded():
    if jax.default_backend() != "cpu":
        pytest.skip("the option is of XLA's CPU compiler")
    params = {"w": jax.random.normal(jax.random.key(0), (128, 128))}
    mask = random_mask(jax.random.key(1), params, 0.05)
    active = np.asarray(mask["w"])
    found = []
    for wrap in (freeze_outside, compact):
        optimizer = wrap(optax.adamw(1e-2, weight_decay=0.1), mask)
        state = optimizer.init(params)
        update = optimised(optimizer.update, params, state, params)
        for step in range(3):
            gradients = {"w": jax.random.normal(jax.random.key(step), (128, 128))}
            updates, state = update(gradients, state, params)
        found.append(np.asarray(updates["w"])[active].view(np.uint32))
    np.testing.assert_array_equal(*found)


def test_the_options_do_contract():
    """Without this the test above would be empty: a product and a sum are rounded once."""
    if jax.default_backend() != "cpu":
        pytest.skip("the option is of XLA's CPU compiler")
    x = jnp.linspace(1, 2, 64)
    once = optimised(lambda x: x * x - 1.0, x)(x)
    exact = np.asarray(x, np.float64) ** 2 - 1
    twice = np.asarray(x) * np.asarray(x) - np.float32(1)
    assert abs(np.asarray(once) - exact).sum() < abs(twice - exact).sum()
