"""The schedule against its formula, the decay mask, and what bad fields are answered with."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.errors import InputError
from jaxreason.models.presets import preset
from jaxreason.models.transformer import Transformer, TransformerConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.optimizer import (
    OptimizerConfig,
    decay_mask,
    learning_rate,
    make_optimizer,
)
from jaxreason.training.state import abstract_state


def expected_rate(config, n):
    """The schedule in plain Python."""
    if n < config.warmup_steps:
        return config.learning_rate * (n + 1) / config.warmup_steps
    progress = min(1.0, (n - config.warmup_steps) / (config.total_steps - config.warmup_steps))
    left = {
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "linear": 1 - progress,
        "constant": 1.0,
    }[config.schedule]
    final = config.final_fraction
    return config.learning_rate * (final + (1 - final) * left)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_is_its_formula(schedule):
    config = OptimizerConfig(learning_rate=2e-3, warmup_steps=4, total_steps=20, schedule=schedule)
    rates = jax.vmap(lambda n: learning_rate(config, n))(jnp.arange(30))
    wanted = [expected_rate(config, n) for n in range(30)]
    np.testing.assert_allclose(rates, wanted, rtol=2e-6)


def test_weight_decay_pulls_on_matrices_only():
    model = Transformer(TransformerConfig(11, 2, 8, 2, 1, 4, 16, qkv_bias=True, tied=False))
    mask = decay_mask(jax.eval_shape(model.init, jax.random.key(0)))
    left_alone = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, decays in jax.tree_util.tree_leaves_with_path(mask)
        if not decays
    }
    assert left_alone == {
        "final_norm",
        "layers/attention_norm",
        "layers/mlp_norm",
        "layers/query_bias",
        "layers/key_bias",
        "layers/value_bias",
    }


def test_update_is_adamw():
    config = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, schedule="constant", clip_norm=0.0)
    params = {"up": jnp.ones((3, 2)), "norm": jnp.ones(2)}
    gradients = jax.tree.map(lambda x: 3.0 * x, params)
    ours = make_optimizer(config)
    theirs = optax.adamw(
        1e-2, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=decay_mask
    )
    update, _ = ours.update(gradients, ours.init(params), params)
    wanted, _ = theirs.update(gradients, theirs.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), update, wanted)


def test_clipping_bounds_the_first_moment():
    optimizer = make_optimizer(OptimizerConfig(clip_norm=0.5, b1=0.9))
    params = {"up": jnp.ones((4, 4))}
    _, state = optimizer.update({"up": 100 * jnp.ones((4, 4))}, optimizer.init(params), params)
    moment = next(leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 2)
    np.testing.assert_allclose(optax.global_norm(moment), 0.1 * 0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("warmup_steps", -1),
        ("total_steps", 0),
        ("final_fraction", 1.5),
        ("schedule", "step"),
        ("b2", 1.0),
        ("weight_decay", -0.1),
        ("clip_norm", -1.0),
    ],
)
def test_bad_field_is_named(field, value):
    with pytest.raises(InputError, match=f"{field}={value!r}: expected"):
        OptimizerConfig(**{field: value})


def test_muon_moves_every_matrix_by_the_same_singular_value():
    model = Transformer(preset("maze_tiny", 20, width=32, heads=2, kv_heads=1, mlp_width=48))
    params = model.init(jax.random.key(0))
    config = OptimizerConfig(method="muon", learning_rate=1e-2, warmup_steps=0, weight_decay=0.0)
    optimizer = make_optimizer(config)
    gradients = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(x.size), x.shape), dict(params)
    )
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    inputs = {"query": 32, "key": 32, "value": 32, "output": 64, "gate": 32, "up": 32, "down": 48}
    for name, rows in inputs.items():
        for update in np.asarray(updates["layers"][name]):
            matrix = update.reshape(rows, -1)
            singular = np.linalg.svd(matrix, compute_uv=False)
            # Five Newton-Schulz steps bring all singular values near 1, not to it; Liu et al. 2025
            # scale them by 0.2 sqrt(longer side).
            scaled = singular / (1e-2 * 0.2 * np.sqrt(max(matrix.shape)))
            assert scaled.max() < 1.3, name
            assert np.median(scaled) > 0.6, name
    norm_step = np.abs(np.asarray(updates["final_norm"]))
    # Adam's first step has the size of the learning rate; Nesterov's momentum adds half of it.
    np.testing.assert_allclose(norm_step, norm_step.mean(), rtol=1e-3)
    assert 1e-2 <= norm_step.mean() < 1.5e-2


def test_the_state_of_muon_is_sharded_like_its_parameters():
    model = Transformer(preset("maze_tiny", 20))
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    state = abstract_state(model.init, make_optimizer(OptimizerConfig(method="muon")), mesh)
    specs = {
        name: {
            leaf.sharding.spec
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
            if f"'{name}'" in jax.tree_util.keystr(path)
        }
        for name in ("query", "down")
    }
    assert all(len(found) == 1 and any(next(iter(found))) for found in specs.values()), specs
