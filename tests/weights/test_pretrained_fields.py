"""Every field of a published config.json is honoured or refused by name, and said again."""

from dataclasses import replace

import pytest
import tiny_models

from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.models.rope import RopeScaling
from jaxreason.weights.families import check_family, fitting_family, model_of
from jaxreason.weights.pretrained import PretrainedShape, export_pretrained


def published(**changes):
    """config.json of Llama-3.2-1B, its sizes made small."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008],
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 256,
        "initializer_range": 0.02,
        "intermediate_size": 512,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0",
        "use_cache": True,
        "vocab_size": 1000,
    } | changes


QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "rope_scaling": None,
    "head_dim": None,
    "max_window_layers": 2,
    "sliding_window": 32768,
    "use_mrope": False,
    "use_sliding_window": False,
}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "rope_scaling": None}


def read(**changes):
    return model_of(published(**changes), "config.json", None)


def test_a_published_configuration_is_read_whole():
    expected = TransformerConfig(
        *(1000, 4, 256, 4, 2, 64, 512),
        rope_base=500000.0,
        rope_scaling=RopeScaling("llama3", 32.0, 8192),
        norm_epsilon=1e-5,
        dtype="bfloat16",
    )
    assert read() == expected
    assert model_of(published(), "config.json", "float32") == replace(expected, dtype="float32")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (QWEN, {"qkv_bias": True, "window": 0}),
        (QWEN | {"use_sliding_window": True}, {"window": 32768}),
        (QWEN | {"use_sliding_window": True}, {"window_layers": (False, False, True, True)}),
        (QWEN | {"use_sliding_window": True, "max_window_layers": 9}, {"window": 0}),
        (QWEN | {"use_sliding_window": True, "max_window_layers": 0}, {"window_layers": ()}),
        (QWEN | {"use_sliding_window": True, "sliding_window": None}, {"window": 0}),
        (MISTRAL, {"window": 4096, "window_layers": ()}),
        (MISTRAL | {"sliding_window": None}, {"window": 0}),
        (MISTRAL | {"sliding_window": 7, "torch_dtype": "float16"}, {"window": 7}),
        ({"torch_dtype": "float16"}, {"dtype": "float32"}),
        ({"num_key_value_heads": None, "head_dim": None}, {"kv_heads": 4, "head_size": 64}),
        ({"rope_scaling": None, "rope_theta": None}, {"rope_base": 1e4, "rope_scaling": None}),
        (
            {"rope_scaling": {"type": "linear", "factor": 2}},
            {"rope_scaling": RopeScaling("linear", 2.0)},
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0}},
            {"rope_scaling": RopeScaling("yarn", 4.0, 131072)},
        ),
        (
            {"rope_scaling": None, "rope_theta": None}
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}},
            {"rope_base": 5.0, "rope_scaling": None},
        ),
        ({"attention_bias": True, "mlp_bias": True}, {"output_bias": True, "mlp_bias": True}),
    ],
)
def test_fields_of_other_configurations(changes, expected):
    found = read(**changes)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gemma2"}, "model_type is 'gemma2'; expected 'qwen2' or"),
        ({"model_type": None}, "has no model_type"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "architectures is .'LlamaForSeq"),
        ({"auto_map": {"AutoModel": "m.py"}}, "auto_map is .*not known"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; expected 'silu'"),
        ({"logit_scale": 0.1}, "logit_scale is 0.1; it is not known"),
        ({"sliding_window": 4}, "sliding_window is 4"),
        ({"max_position_embeddings": -1}, "max_position_embeddings is -1; expected a whole"),
        ({"vocab_size": None}, "has no vocab_size"),
        ({"vocab_size": True}, "vocab_size is True; expected a whole number"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; expected .* to 10000"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan; expected a positive number"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; expected true or false"),
        ({"head_dim": None, "hidden_size": 254}, "hidden_size is 254; num_attention_heads"),
        ({"num_key_value_heads": 3}, "kv_heads 3 does not divide"),
        ({"torch_dtype": "int8"}, "torch_dtype is 'int8'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling: type is 'dynamic'"),
        (
            {"rope_scaling": {"rope_type": "longrope"}},
            "rope_type is 'longrope'; expected 'default'",
        ),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "extra": 1}},
            "extra is 1; rope type",
        ),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "has no low_freq_factor"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale": 1.0}}, "gives {'mscale': 1.0}"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters says something else"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "rope_theta": 3}}, "must agree"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; only whole heads"),
        ({"rope_scaling": [1]}, r"rope_scaling is \[1\]; expected an object"),
        (QWEN | {"use_mrope": True}, "use_mrope is True; Qwen2ForCausalLM is imported with False"),
        (QWEN | {"attention_bias": True}, "attention_bias is True"),
        (QWEN | {"layer_types": ["full_attention"] * 3}, "for each of 4 layers"),
        (QWEN | {"layer_types": ["sliding_attention"] * 4}, "needs use_sliding_window"),
        (MISTRAL | {"layer_types": ["sliding_attention"] * 4}, "layer_types is"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(changes, named):
    with pytest.raises(InputError, match=named):
        read(**changes)


def test_a_family_refuses_a_model_it_has_no_names_for(tmp_path):
    plain = tiny_models.tiny_config("llama")
    for family, changes, named in (
        ("qwen2", {}, "model.qkv_bias is False; qwen2 models always have it"),
        ("llama", {"window": 4}, "model.window is 4; llama models have none"),
        ("llama", {"qkv_bias": True}, "have both or neither"),
        ("mistral", {"window": 4, "window_layers": (True, False)}, "model.window_layers"),
        ("qwen3", {"attention": "bidirectional"}, "model.attention is 'bidirectional'"),
        ("llama", {"width": 18}, "model.heads 4 do not divide model.width 18"),
        ("gemma", {}, "family 'gemma' is unknown"),
    ):
        with pytest.raises(InputError, match=named):
            check_family(replace(plain, **changes), family)
    found = [fitting_family(tiny_models.tiny_config(f)) for f in ("qwen2", "qwen3", "llama")]
    assert found == ["qwen2", "qwen3", "llama"]
    assert fitting_family(replace(plain, window=4)) == "mistral"
    with pytest.raises(InputError, match=r"no family .*qwen2: .*mistral: "):
        fitting_family(replace(plain, mlp_bias=True, qk_norm=True))
    params = tiny_models.tiny_params(plain)
    with pytest.raises(InputError, match="qwen2 models always have it"):
        export_pretrained(params, tmp_path / "no", PretrainedShape(plain, "qwen2"))
    assert not (tmp_path / "no").exists()
