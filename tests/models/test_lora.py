"""LoRA in the parameter tree: nothing at first, merged and unmerged alike, trained alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxreason.errors import InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.models.lora import (
    MATRICES,
    LoraConfig,
    add_lora,
    has_lora,
    is_lora,
    lora_mask,
    merge_lora,
    unmerge_lora,
    without_lora,
)
from jaxreason.objectives import next_token
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.training.flops import (
    forward_flops_per_token,
    matmul_parameters,
    training_flops_per_token,
)

LORA = LoraConfig(rank=3, alpha=6.0)
BASE = TransformerConfig(
    29, 2, 16, 4, 2, 4, 24, qkv_bias=True, output_bias=True, mlp_bias=True, tied=False
)
MODEL = Transformer(replace(BASE, lora=LORA))
PLAIN = Transformer(BASE)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 29, (2, 8)))


def last(path):
    return path[-1].key


def drawn(params, key=5, size=0.2):
    """The parameters with an update that is not zero."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: (
            size * jax.random.normal(jax.random.key(key), x.shape) if is_lora(last(path)) else x
        ),
        params,
    )


@pytest.fixture(scope="module")
def base():
    return PLAIN.init(jax.random.key(0))


@pytest.fixture(scope="module")
def adapted(base):
    return drawn(add_lora(base, LORA, jax.random.key(1)))


def logits(model, params, tokens=TOKENS):
    return model.unembed(params, model.apply(params, tokens)[0])


def test_a_fresh_update_changes_no_bit(base):
    fresh = add_lora(base, LORA, jax.random.key(1))
    np.testing.assert_array_equal(logits(MODEL, fresh), logits(PLAIN, base))
    assert without_lora(fresh)["layers"].keys() == base["layers"].keys()
    a = fresh["layers"]["output_lora_a"]
    assert a.shape == (2, 4, 4, 3)
    assert fresh["layers"]["output_lora_b"].shape == (2, 3, 16)
    assert float(abs(a).max()) <= 16**-0.5
    np.testing.assert_allclose(a.std(), 16**-0.5 / 3**0.5, rtol=0.2)


def test_the_tree_is_that_of_the_model(adapted):
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, adapted) == jax.tree.map(jnp.shape, shapes)


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_parameters_compute_the_same(base, adapted, rslora):
    lora = replace(LORA, rslora=rslora)
    merged = merge_lora(adapted, lora)
    assert not has_lora(merged)
    wanted = logits(Transformer(replace(BASE, lora=lora)), adapted)
    np.testing.assert_allclose(logits(PLAIN, merged), wanted, atol=2e-5)
    assert float(abs(wanted - logits(PLAIN, base)).max()) > 0.1
    scale = 6.0 / 3**0.5 if rslora else 2.0
    product = np.einsum(
        "lhkr,lrd->lhkd",
        *(np.asarray(adapted["layers"][f"output_lora_{x}"], np.float64) for x in "ab"),
    )
    change = np.asarray(merged["layers"]["output"], np.float64) - base["layers"]["output"]
    np.testing.assert_allclose(change, scale * product, atol=1e-6)


def test_unmerging_gives_the_base_back(base, adapted):
    back = unmerge_lora(merge_lora(adapted, LORA), adapted, LORA)
    assert jax.tree.structure(back) == jax.tree.structure(adapted)
    for name in MATRICES:
        merged = np.asarray(merge_lora(adapted, LORA)["layers"][name])
        unit = np.spacing(np.maximum(abs(merged), abs(np.asarray(base["layers"][name]))))
        off = abs(np.asarray(back["layers"][name]) - base["layers"][name])
        assert (off <= 2 * unit).all(), name


def test_only_a_and_b_have_gradients(adapted):
    batch = {
        "tokens": TOKENS,
        "targets_mask": jnp.ones(TOKENS.shape, bool),
        "segments": jnp.ones(TOKENS.shape, jnp.int32),
        "positions": jnp.broadcast_to(jnp.arange(8), TOKENS.shape),
    }
    for chunk in (None, 5):
        objective = next_token(MODEL, chunk)
        gradients = jax.jit(jax.grad(lambda p: objective(p, batch, jax.random.key(0))[0]))(adapted)  # noqa: B023
        moved = jax.tree.map(lambda x: bool((x != 0).any()), gradients)
        assert moved == lora_mask(adapted)


def test_decoding_with_a_cache_agrees(adapted):
    for model in (MODEL, Transformer(replace(MODEL.config, unroll=2))):
        cache, steps = model.init_cache(2, 8), []
        params = model.unstacked(adapted)
        for t in range(8):
            positions = jnp.full((2, 1), t)
            hidden, cache = model.apply(params, TOKENS[:, t : t + 1], positions, cache=cache)
            steps.append(model.unembed(params, hidden)[:, 0])
        np.testing.assert_allclose(jnp.stack(steps, 1), logits(MODEL, adapted), atol=2e-5)


def test_flops_leave_out_gradients_that_nobody_takes(base, adapted):
    whole, frozen = training_flops_per_token(base, 8), training_flops_per_token(adapted, 8)
    size = sum(adapted["layers"][n].size for n in adapted["layers"] if is_lora(n))
    assert frozen == whole - 2 * matmul_parameters(base) + 6 * size
    assert forward_flops_per_token(adapted, 8) == pytest.approx(whole / 3 + 2 * size)


def test_every_leaf_has_a_place_on_a_mesh(adapted):
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=4))
    found = match_rules(TRANSFORMER_RULES, adapted, mesh)
    layers = {name: sharding.spec for name, sharding in found["layers"].items()}
    assert layers["up_lora_a"] == P(None, "fsdp", None)
    assert layers["up_lora_b"] == P(None, None, "tensor")
    assert layers["down_lora_a"] == P(None, "tensor")
    assert layers["key_lora_b"] == P(None, None, None, None)  # 2 heads on 4 devices
    placed = jax.device_put(adapted, found)
    with jax.set_mesh(mesh):
        spread = jax.jit(lambda p: logits(MODEL, p))(placed)
    np.testing.assert_allclose(spread, logits(MODEL, adapted), atol=2e-5)


def test_what_cannot_be_adapted_is_refused(base, adapted):
    with pytest.raises(InputError, match=r"lora.targets has 'embedding', which cannot be adapted"):
        LoraConfig(targets=("query", "embedding"))
    with pytest.raises(InputError, match=r"lora.targets is .*at least one kernel, each once"):
        LoraConfig(targets=("up", "up"))
    with pytest.raises(InputError, match=r"lora.rank is 0"):
        LoraConfig(rank=0)
    with pytest.raises(InputError, match=r"lora.alpha is nan"):
        LoraConfig(alpha=float("nan"))
    with pytest.raises(InputError, match=r"have LoRA matrices already"):
        add_lora(adapted, LORA, jax.random.key(0))
    with pytest.raises(InputError, match=r"lack layers/down_lora_a, against lora.targets"):
        merge_lora(base, LORA)
    with pytest.raises(InputError, match=r"has rank 3; lora.rank is 4"):
        merge_lora(adapted, replace(LORA, rank=4))
    with pytest.raises(InputError, match=r"have layers/down_lora_a, against lora.targets"):
        merge_lora(adapted, replace(LORA, targets=("query", "key", "value", "output")))
