"""Parity with transformers' Qwen2: stored results always, live ones where torch is installed."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.llama import from_llama, llama_places, to_llama
from jaxreason.objectives import next_token
from jaxreason.sampling import autoregressive

_SCRIPT = Path(__file__).parents[1] / "golden" / "generate_qwen2.py"
_spec = importlib.util.spec_from_file_location("generate_qwen2", _SCRIPT)
generate_qwen2 = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate_qwen2)
CONFIGS = generate_qwen2.CONFIGS


@pytest.fixture(scope="module")
def stored():
    return dict(np.load(generate_qwen2.GOLDEN))


def of(stored, name):
    return {key[len(name) + 1 :]: value for key, value in stored.items() if key.startswith(name)}


def assert_parity(config, expected):
    """Logits, loss, gradients and greedy tokens of our model against a Qwen2's."""
    model = Transformer(config)
    params = jax.tree.map(jnp.asarray, generate_qwen2.weights(config))
    tokens = jnp.asarray(generate_qwen2.TOKENS, jnp.int32)
    batch = {
        "tokens": tokens,
        "targets_mask": jnp.ones(tokens.shape, bool),
        "segments": jnp.ones(tokens.shape, jnp.int32),
        "positions": jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape),
    }
    logits = jax.jit(lambda p: model.unembed(p, model.apply(p, tokens)[0]))(params)
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4, rtol=1e-4)
    objective = next_token(model)
    step = jax.jit(jax.value_and_grad(lambda p: objective(p, batch, jax.random.key(0))[0]))
    loss, gradients = step(params)
    np.testing.assert_allclose(loss, expected["loss"], rtol=1e-5)
    theirs = {
        key.removeprefix("gradient/"): value
        for key, value in expected.items()
        if key.startswith("gradient/")
    }
    ours = to_llama(gradients, config)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        np.testing.assert_allclose(ours[name], gradient, atol=1e-4, rtol=1e-4, err_msg=name)
    unused = set(range(1, config.vocabulary_size)) - set(np.unique(expected["greedy"]).tolist())
    sampler = autoregressive(
        model, max_new_tokens=generate_qwen2.NEW_TOKENS, eos=min(unused), pad=0, temperature=0
    )
    prompts = jnp.asarray(generate_qwen2.PROMPTS, jnp.int32)
    lengths = jnp.full(prompts.shape[:1], prompts.shape[1], jnp.int32)
    out = sampler(params, {"tokens": prompts, "lengths": lengths}, jax.random.key(0))
    np.testing.assert_array_equal(out.tokens, expected["greedy"])


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_greedy_tokens_equal_the_stored_ones(stored, name):
    assert_parity(CONFIGS[name], of(stored, name))


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_tokens_in_store_are_varied(stored, name):
    """A degenerate reference (one token for ever) would prove little."""
    assert len(np.unique(of(stored, name)["greedy"])) >= 5


@pytest.mark.oracle
@pytest.mark.parametrize("name", CONFIGS)
def test_parity_with_the_installed_transformers(name):
    pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")
    pytest.importorskip("transformers", reason="transformers is missing; install extra `oracle`")
    config = CONFIGS[name]
    assert_parity(config, generate_qwen2.reference(config, generate_qwen2.weights(config)))


@pytest.mark.parametrize("config", [*CONFIGS.values(), replace(CONFIGS["tied"], qkv_bias=False)])
def test_mapping_is_its_own_inverse(config):
    params = generate_qwen2.weights(config)
    if not config.qkv_bias:
        params["layers"] = {k: v for k, v in params["layers"].items() if "bias" not in k}
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    weights = to_llama(params, config)
    assert set(weights) == set(llama_places(config))
    back = from_llama(weights, config)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert weights["model.layers.0.self_attn.k_proj.weight"].shape == (8, 24)


def test_a_foreign_state_dict_is_refused_by_name():
    config = CONFIGS["tied"]
    weights = to_llama(generate_qwen2.weights(config), config)
    missing = {key: value for key, value in weights.items() if "layers.1.mlp.up" not in key}
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj"):
        from_llama(missing, config)
    with pytest.raises(InputError, match="hold 'model"):
        from_llama({**weights, "model.layers.2.mlp.up_proj.weight": np.zeros(1)}, config)
    with pytest.raises(InputError, match=r"embed_tokens.*needs"):
        from_llama(weights, replace(config, vocabulary_size=32))
    # The published tied models may carry a copy of the embedding as their head.
    from_llama({**weights, "lm_head.weight": np.zeros((31, 24))}, config)
