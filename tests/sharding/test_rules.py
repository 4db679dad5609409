"""One table lays out the whole train state."""

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from jaxreason.errors import InputError
from jaxreason.models.transformer import Transformer, TransformerConfig
from jaxreason.sharding.mesh import BATCH_AXES, MeshConfig, make_mesh
from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule, leaf_spec, match_rules, path_name
from jaxreason.training.state import abstract_state, init_state

MODEL = Transformer(TransformerConfig(24, 2, 16, 4, 2, 4, 32, qkv_bias=True, tied=False))


def mesh_of(fsdp, tensor):
    return make_mesh(MeshConfig(fsdp=fsdp, tensor=tensor))


def specs(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): leaf.sharding.spec for path, leaf in leaves}


def test_moments_are_sharded_like_their_parameters():
    found = specs(abstract_state(MODEL.init, optax.adamw(1e-3), mesh_of(4, 2)))
    parameters = {n.removeprefix("params/"): s for n, s in found.items() if n.startswith("params/")}
    assert parameters["layers/gate"] == P(None, "fsdp", "tensor")
    assert parameters["layers/output"] == P(None, "tensor", None, "fsdp")
    for name, spec in parameters.items():
        moments = [s for n, s in found.items() if n.endswith(("mu/" + name, "nu/" + name))]
        assert moments == [spec, spec]
    assert found["key"] == found["step"] == P()


def test_every_matrix_is_split_over_both_axes_and_norms_are_not():
    mesh = mesh_of(4, 2)
    state = init_state(MODEL.init, optax.adamw(1e-3), jax.random.key(0), mesh)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params["layers"]):
        name = path_name(path)
        share = leaf.addressable_shards[0].data.size / leaf.size
        wanted = 1 if name.endswith("norm") else 1 / 2 if name.endswith("bias") else 1 / 8
        assert share == wanted, name


def test_embedding_features_are_never_split_over_a_batch_axis_and_its_rows_are():
    mesh = mesh_of(4, 2)
    spec = leaf_spec(TRANSFORMER_RULES, "params/embedding", (24, 16), mesh)
    assert spec == P(("tensor", "fsdp"), None)
    assert set(BATCH_AXES) & set(spec[0])
    assert spec[1] is None
    # A vocabulary that only the tensor axis divides is split over that alone.
    assert leaf_spec(TRANSFORMER_RULES, "params/embedding", (22, 16), mesh) == P("tensor", None)


def test_fresh_state_does_not_depend_on_the_mesh():
    alone = init_state(MODEL.init, optax.sgd(1.0), jax.random.key(3))
    for shape in ((8, 1), (2, 4)):
        state = init_state(MODEL.init, optax.sgd(1.0), jax.random.key(3), mesh_of(*shape))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, alone.params
        )


def test_indivisible_dimension_names_path_dimension_and_axis():
    shape = (2, 18, 4, 4)
    message = r"layers/query: dimension 1 of size 18 is not divisible by mesh axis fsdp=4"
    with pytest.raises(InputError, match=message):
        leaf_spec(TRANSFORMER_RULES, "params/layers/query", shape, mesh_of(4, 2))


def test_rule_may_allow_replication():
    # One key-value head on two tensor devices; a vocabulary of odd size.
    mesh = mesh_of(4, 2)
    spec = leaf_spec(TRANSFORMER_RULES, "params/layers/key", (2, 16, 1, 4), mesh)
    assert spec == P(None, "fsdp", None, None)
    assert leaf_spec(TRANSFORMER_RULES, "params/embedding", (23, 16), mesh) == P(None, None)


def test_leaf_without_a_rule_or_of_too_few_dimensions_is_refused():
    mesh = mesh_of(4, 2)
    with pytest.raises(InputError, match=r"no partition rule matches params/other \(4, 4\)"):
        leaf_spec(TRANSFORMER_RULES, "params/other", (4, 4), mesh)
    with pytest.raises(InputError, match=r"has 3 entries but w has shape \(4, 4\)"):
        leaf_spec([Rule("w", P(None, "fsdp", None))], "w", (4, 4), mesh)


def test_scalars_and_vectors_replicate_without_a_rule():
    tree = {"count": np.zeros(()), "scale": np.zeros(7)}
    assert {x.spec for x in match_rules([], tree, mesh_of(4, 2)).values()} == {P()}
