"""Masks on a mesh of eight devices, and through checkpoints."""

import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from mask_toys import assert_held, assert_same_bits, run
from orbax.checkpoint import v1 as ocp

from jaxreason.masks import (
    compact,
    freeze_outside,
    mask_updates,
    pack,
    scheduled_mask,
    to_indices,
    track_updates,
)
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.rules import Rule, match_rules

RULES = (Rule(r"(^|/)gate$", P("fsdp", "tensor")), Rule(r"(^|/)down$", P("tensor", None, "fsdp")))
SHAPES = {"gate": (8, 16), "down": (2, 3, 8), "norm": (5,)}
RANDOM = np.random.default_rng(0)
PARAMS = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
MASK = {name: RANDOM.random(shape) < 0.3 for name, shape in SHAPES.items()}
GRADIENTS = {
    name: RANDOM.normal(size=(2, *shape)).astype(np.float32) for name, shape in SHAPES.items()
}
OPTIMIZERS = {
    "bool": freeze_outside(optax.adamw(0.1), MASK),
    "packed": freeze_outside(optax.adamw(0.1), jax.tree.map(pack, MASK)),
    "indices": freeze_outside(optax.adamw(0.1), jax.tree.map(to_indices, MASK)),
    "compact": compact(optax.adamw(0.1), {**MASK, "norm": False}),
    "tracked": optax.chain(optax.adamw(0.1), mask_updates(MASK), track_updates()),
    "scheduled": scheduled_mask(lambda p, g, n: MASK, lambda n: n % 2 == 0, optax.adamw(0.1)),
}


def mesh():
    return make_mesh(MeshConfig(fsdp=4, tensor=2))


def placed(tree, where):
    return jax.device_put(tree, match_rules(RULES, tree, where))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_mesh_changes_no_bit_and_keeps_the_layout(name):
    optimizer, where = OPTIMIZERS[name], mesh()
    start = PARAMS
    expected, expected_state, _ = run(optimizer, start, GRADIENTS)
    params = placed(start, where)
    state = jax.jit(
        optimizer.init,
        out_shardings=match_rules(RULES, jax.eval_shape(optimizer.init, start), where),
    )(params)
    layouts = jax.tree.map(lambda x: x.sharding, (params, state))

    @jax.jit
    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return jax.lax.with_sharding_constraint((updates, state), layouts)

    add = jax.jit(optax.apply_updates)
    for index in range(2):
        gradients = placed(jax.tree.map(lambda g: g[index], GRADIENTS), where)  # noqa: B023
        updates, state = step(params, state, gradients)
        params = add(params, updates)
    assert_same_bits(expected, params)
    assert_same_bits(expected_state, state)
    gate = params["gate"].sharding
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        if "gate" in jax.tree_util.keystr(path) and leaf.shape[:1] == (8,):
            assert leaf.sharding.is_equivalent_to(gate, 2), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", ["bool", "packed"])
def test_an_eager_init_lays_the_mask_out_like_its_parameter(name):
    params = placed(PARAMS, mesh())
    state = OPTIMIZERS[name].init(params)
    assert state.mask["gate"].sharding.spec == P("fsdp", "tensor")
    assert not state.mask["gate"].sharding.is_fully_replicated
    down = P("tensor", None, "fsdp" if name == "bool" else None)
    assert state.mask["down"].sharding.is_equivalent_to(NamedSharding(mesh(), down), 3)


def test_compact_gathers_no_whole_parameter():
    where = mesh()
    params = placed(PARAMS, where)
    optimizer = OPTIMIZERS["compact"]
    state = jax.jit(optimizer.init)(params)
    layouts = jax.tree.map(lambda x: x.sharding, params)
    program = jax.jit(optimizer.update, out_shardings=(layouts, None))
    text = program.lower(params, state, params).compile().as_text()
    assert "all-reduce" in text  # of the short leaves
    assert "all-gather" not in text


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_resuming_from_a_checkpoint_is_exact(name, tmp_path):
    optimizer = OPTIMIZERS[name]
    gradients = jax.tree.map(lambda g: np.concatenate([g, -2 * g]), GRADIENTS)
    start = PARAMS
    straight = run(optimizer, start, gradients)[:2]
    halfway = run(optimizer, start, jax.tree.map(lambda g: g[:2], gradients))[:2]
    ocp.save_pytree(tmp_path / "state", halfway)
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), halfway
    )
    params, state = ocp.load_pytree(tmp_path / "state", abstract)
    assert_same_bits(halfway, (params, state))
    resumed = run(optimizer, params, jax.tree.map(lambda g: g[2:], gradients), state)[:2]
    assert_same_bits(straight, resumed)
    if name != "compact":
        assert_held(start, resumed[0], MASK)
