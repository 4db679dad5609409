"""LoRA beside PEFT itself on the same random model: logits, adapters both ways, training steps."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import write_tiny_model

from jaxreason.models import Transformer
from jaxreason.models.lora import LoraConfig, add_lora, is_lora, lora_mask, merge_lora
from jaxreason.objectives import next_token
from jaxreason.weights.peft import export_peft, import_peft
from jaxreason.weights.pretrained import import_pretrained

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")
peft = pytest.importorskip("peft", reason="peft is not installed; install the extra `oracle`")
transformers = pytest.importorskip("transformers")

TOKENS = np.random.default_rng(1).integers(0, 320, (2, 12))


def base_of(folder, family):
    write_tiny_model(folder, family, tokenizer=False)
    shape, params = import_pretrained(folder, dtype="float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return shape.model, params, theirs.eval()


def drawn(params):
    """The same parameters with A and B that are not trivial."""
    random = np.random.default_rng(2)
    layers = {
        name: jnp.asarray(0.3 * random.normal(size=x.shape), jnp.float32) if is_lora(name) else x
        for name, x in params["layers"].items()
    }
    return {**params, "layers": layers}


def ours(config, params):
    model = Transformer(config)
    return model.unembed(params, model.apply(params, jnp.asarray(TOKENS))[0])


def theirs(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", "mistral"])
@pytest.mark.parametrize("rslora", [False, True])
def test_peft_loads_our_adapter_and_computes_the_same(tmp_path, family, rslora):
    config, params, base = base_of(tmp_path / "base", family)
    lora = LoraConfig(rank=4, alpha=6.0, rslora=rslora)
    config, params = replace(config, lora=lora), drawn(add_lora(params, lora, jax.random.key(0)))
    export_peft(params, config, tmp_path / "adapter", family)
    before = theirs(base)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    found = theirs(model)
    np.testing.assert_allclose(ours(config, params), found, atol=1e-4)
    assert abs(found - before).max() > 0.1
    merged = merge_lora(params, lora)
    np.testing.assert_allclose(
        ours(replace(config, lora=None), merged), theirs(model.merge_and_unload()), atol=1e-4
    )


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear", r".*\.(up|o)_proj"])
def test_an_adapter_trained_by_peft_computes_the_same_here(tmp_path, targets):
    config, params, base = base_of(tmp_path / "base", "qwen2")
    torch.manual_seed(0)
    model = peft.get_peft_model(
        base,
        peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, task_type="CAUSAL_LM"),
    )
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.tensor(TOKENS), labels=torch.tensor(TOKENS)).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path / "adapter")
    config, params = import_peft(tmp_path / "adapter", params, config, "qwen2")
    assert config.lora.rank == 3
    np.testing.assert_allclose(ours(config, params), theirs(model.eval()), atol=2e-5)


def test_steps_of_training_are_those_of_peft(tmp_path):
    config, params, base = base_of(tmp_path / "base", "llama")
    lora = LoraConfig(rank=4, alpha=8.0)
    config, params = replace(config, lora=lora), drawn(add_lora(params, lora, jax.random.key(0)))
    export_peft(params, config, tmp_path / "adapter", "llama")
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    batch = {
        "tokens": jnp.asarray(TOKENS),
        "targets_mask": jnp.asarray(np.arange(12)[None] > 0) & jnp.ones(TOKENS.shape, bool),
        "segments": jnp.ones(TOKENS.shape, jnp.int32),
        "positions": jnp.broadcast_to(jnp.arange(12), TOKENS.shape),
    }
    objective = next_token(Transformer(config))
    step = jax.jit(jax.value_and_grad(lambda p: objective(p, batch, jax.random.key(0))[0]))
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(torch.tensor(TOKENS), labels=torch.tensor(TOKENS)).loss
        loss.backward()
        optimizer.step()
        value, gradients = step(params)
        assert float(value) == pytest.approx(float(loss.detach()), abs=2e-5)
        params = jax.tree.map(
            lambda p, g, moved: p - 0.5 * g if moved else p, params, gradients, lora_mask(params)
        )
    model.save_pretrained(tmp_path / "trained")
    plain = {**params, "layers": {n: x for n, x in params["layers"].items() if not is_lora(n)}}
    _, wanted = import_peft(tmp_path / "trained", plain, replace(config, lora=None), "llama")
    for name in params["layers"]:
        np.testing.assert_allclose(params["layers"][name], wanted["layers"][name], atol=2e-5)
