"""PEFT's adapter files: both ways, every field used or refused by name, damage said briefly."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import tiny_config, tiny_params

from jaxreason.errors import FailureError, InputError
from jaxreason.models import Transformer
from jaxreason.models.lora import LoraConfig, add_lora, is_lora, without_lora
from jaxreason.models.presets import preset
from jaxreason.weights.peft import CONFIG, WEIGHTS, export_peft, import_peft
from jaxreason.weights.safetensors_files import read_file
from jaxreason.weights.safetensors_writing import write_safetensors

LORA = LoraConfig(rank=3, alpha=7.5, targets=("query", "value", "output", "down"), rslora=True)
PLAIN = tiny_config("qwen2")
MODEL = replace(PLAIN, lora=LORA)


def adapted(config=PLAIN, lora=LORA):
    """Random parameters, of A and B too."""
    params = add_lora(tiny_params(config), lora, jax.random.key(0))
    random = np.random.default_rng(3)
    layers = {
        name: random.normal(size=x.shape).astype(np.float32) if is_lora(name) else x
        for name, x in params["layers"].items()
    }
    return {**params, "layers": layers}


PARAMS = adapted()


@pytest.fixture
def folder(tmp_path):
    export_peft(PARAMS, MODEL, tmp_path / "adapter", "qwen2", base="Qwen/Qwen2.5-0.5B")
    return tmp_path / "adapter"


def read(folder, params=None, config=PLAIN, family="qwen2"):
    return import_peft(folder, without_lora(PARAMS) if params is None else params, config, family)


def change(folder, **fields):
    document = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(document | fields))


def test_what_was_written_is_read_back(folder):
    config, params = read(folder)
    assert config == MODEL
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def test_the_files_are_those_of_peft(folder):
    document = json.loads((folder / CONFIG).read_text())
    assert document["target_modules"] == ["down_proj", "o_proj", "q_proj", "v_proj"]
    assert (document["r"], document["lora_alpha"], document["use_rslora"]) == (3, 7.5, True)
    assert document["base_model_name_or_path"] == "Qwen/Qwen2.5-0.5B"
    tensors = {tensor.name: tensor for tensor in read_file(folder / WEIGHTS)}
    assert len(tensors) == 2 * 2 * 4
    name = "base_model.model.model.layers.1.self_attn.o_proj.lora_{}.weight"
    # The change of a weight [outputs, inputs] is B A times the scale.
    change = tensors[name.format("B")].read() @ tensors[name.format("A")].read()
    a, b = (PARAMS["layers"][f"output_lora_{end}"][1] for end in "ab")
    ours = np.tensordot(a, b, 1).reshape(16, 16)
    np.testing.assert_allclose(change, ours.T, rtol=1e-5, atol=1e-6)


def test_adapters_of_llada_have_its_names(tmp_path):
    config = preset("mmada_tiny", 30, width=16, heads=2, kv_heads=2, head_size=8, mlp_width=24)
    params = adapted(config)
    export_peft(params, replace(config, lora=LORA), tmp_path, "llada")
    names = {tensor.name for tensor in read_file(tmp_path / WEIGHTS)}
    assert "base_model.model.model.transformer.blocks.3.attn_out.lora_A.weight" in names
    found, back = import_peft(tmp_path, without_lora(params), config, "llada")
    assert found.lora == LORA
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_modules_may_be_named_in_full_or_by_a_pattern(folder):
    names = {tensor.name for tensor in read_file(folder / WEIGHTS)}
    modules = sorted({n.removeprefix("base_model.model.").rsplit(".", 2)[0] for n in names})
    for targets in (modules, "(a+)+$", "all-linear"):
        change(folder, target_modules=targets)
        assert read(folder)[0] == MODEL


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("peft_type", "IA3", "peft_type is 'IA3'; expected 'LORA'"),
        ("r", 4, r"lora_A.weight has shape \(3, 16\); expected \(4, 16\)"),
        ("r", 0, "r is 0; expected a whole number"),
        ("lora_alpha", "8", "lora_alpha is '8'; expected a positive number"),
        ("use_rslora", 1, "use_rslora is 1; expected true or false"),
        ("use_dora", True, "use_dora is True; adapters are imported with null or False only"),
        ("bias", "all", "bias is 'all'; adapters are imported with null or 'none' only"),
        ("fan_in_fan_out", True, "fan_in_fan_out is True"),
        ("init_lora_weights", "pissa", "init_lora_weights is 'pissa'"),
        ("modules_to_save", ["lm_head"], r"modules_to_save is \['lm_head'\]"),
        ("rank_pattern", {"q_proj": 4}, "rank_pattern is {'q_proj': 4}"),
        ("alpha_pattern", {"q_proj": 4}, "alpha_pattern is"),
        ("layers_to_transform", [0], r"layers_to_transform is \[0\]; .*all layers only"),
        ("layer_replication", [[0, 2]], "layer_replication is"),
        ("trainable_token_indices", [1], "trainable_token_indices is"),
        ("alora_invocation_tokens", [1], "alora_invocation_tokens is"),
        ("kasa_config", {}, "kasa_config is {}; adapters are imported with null only"),
        ("of_the_future", 1, "of_the_future is 1; it is not known what that changes"),
        ("target_modules", ["embed_tokens"], "'embed_tokens' is no linear layer"),
        ("target_modules", ["q_proj"], "target_modules is .*there are tensors of model"),
        (
            "target_modules",
            ["q_proj", "v_proj", "o_proj", "down_proj", "up_proj"],
            "there is no tensor of model.layers.0.mlp.up_proj",
        ),
        ("target_modules", 5, "expected a list of names, or a pattern"),
        ("target_modules", ["q_proj"] * 10_001, "expected at most 10,000 names"),
    ],
)
def test_a_field_that_asks_for_something_else_is_refused(folder, field, value, words):
    change(folder, **{field: value})
    with pytest.raises(InputError, match=words):
        read(folder)


def test_an_adapter_that_peft_trained_gives_its_logits(tmp_path):
    """Made by tests/golden/generate_peft.py; the live comparison is in test_peft_live.py."""
    golden = dict(np.load(Path(__file__).parents[1] / "golden" / "peft.npz"))
    (tmp_path / CONFIG).write_bytes(golden.pop("adapter_config").tobytes())
    tokens, logits = golden.pop("tokens"), golden.pop("logits")
    entries = {name: (array.dtype, array.shape) for name, array in golden.items()}
    write_safetensors(tmp_path / WEIGHTS, entries, golden.values())
    config, params = read(tmp_path)
    assert config.lora == LoraConfig(3, 5.0, ("query", "value", "output", "down"), rslora=True)
    params, model = jax.tree.map(jnp.asarray, params), Transformer(config)
    found = model.unembed(params, model.apply(params, jnp.asarray(tokens))[0])
    np.testing.assert_allclose(found, logits, atol=2e-5)
    base = Transformer(PLAIN)
    without = base.unembed(params, base.apply(without_lora(params), jnp.asarray(tokens))[0])
    assert float(abs(without - logits).max()) > 0.01


def test_fields_that_change_nothing_are_accepted(folder):
    change(folder, lora_dropout=0.05, peft_version="0.21.0", future=None, exclude_modules=[])
    assert read(folder)[0] == MODEL


def test_another_base_or_a_pickled_adapter_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"lora_A.weight has shape|lora_B.weight has shape"):
        read(folder, config=tiny_config("qwen2", width=24))
    with pytest.raises(InputError, match=r"lacks base_model.model.model.layers.2|no tensor of"):
        read(folder, config=tiny_config("qwen2", layers=3))
    change(folder, target_modules="all-linear")
    with pytest.raises(InputError, match=r"holds 'base_model.model.model.layers.1"):
        read(folder, config=tiny_config("qwen2", layers=1))
    with pytest.raises(InputError, match="the base has LoRA already"):
        read(folder, params=PARAMS)
    with pytest.raises(InputError, match="family 'gpt2' is unknown"):
        read(folder, family="gpt2")
    with pytest.raises(InputError, match="exists already"):
        export_peft(PARAMS, MODEL, folder, "qwen2")
    with pytest.raises(InputError, match=r"model.lora is None"):
        export_peft(PARAMS, PLAIN, tmp_path / "new", "qwen2")
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(FailureError, match="pickle-based and not read"):
        read(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_damaged_files_end_in_a_sentence(folder, tmp_path, name):
    """Bytes changed, cut out, doubled: what is read is an adapter, or it is said what is wrong."""
    whole = (folder / name).read_bytes()
    # Among the weights only the header can be wrong; the numbers may be any.
    end = len(whole) if name == CONFIG else 8 + int.from_bytes(whole[:8], "little")
    random = np.random.default_rng(0)
    broken = shutil.copytree(folder, tmp_path / "broken")
    read_ones, said = 0, set()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(0, end))
            kind = random.integers(0, 4)
            if kind == 0:
                data[at : at + 1] = bytes([random.integers(0, 256)])
            elif kind == 1:
                del data[at : at + int(random.integers(1, 40))]
            elif kind == 2:
                data[at:at] = data[at : at + int(random.integers(1, 40))]
            else:
                data[at : at + 1] = random.choice(
                    [b"9", b"-", b'"', b"{", b"[", b"null", b"1e999", b"\\u0000", b"99999999999"]
                )
        (broken / name).write_bytes(data)
        try:
            config, params = read(broken)
        except (InputError, FailureError) as error:
            said.add(str(error).replace(str(broken), ""))
        else:
            read_ones += 1
            assert config.lora is not None
            assert params["layers"]["query_lora_a"].shape == (2, 16, 3)
    assert read_ones < 400
    assert len(said) > 20
    assert all(words and "\n" not in words for words in said)
