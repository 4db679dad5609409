"""config.json of well-known models: sizes as published, shapes as the presets have them."""

import math
from dataclasses import replace

import pytest

from jaxreason.models import preset
from jaxreason.models.llama import llama_places
from jaxreason.weights.families import document_of, model_of

_QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "model_type": "qwen2",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 40960,
    "model_type": "qwen3",
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_LLAMA2 = {
    "_name_or_path": "meta-llama/Llama-2-7b-hf",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
_SCALING = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
_LLAMA3 = _LLAMA2 | {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_key_value_heads": 8,
    "rope_scaling": _SCALING,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0.dev0",
    "vocab_size": 128256,
}
_MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}


def sizes(layers, width, inner, heads, tied, **more):
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    values = dict(zip(names, (layers, width, inner, heads), strict=True))
    return {**values, "tie_word_embeddings": tied, **more}


# name: (config.json, number of parameters, preset of the same shape)
PUBLISHED = {
    "Qwen2.5-0.5B": (
        _QWEN2
        | sizes(24, 896, 4864, 14, True, num_key_value_heads=2)
        | {"sliding_window": 32768, "max_window_layers": 24},
        494_032_768,
        "qwen2_0_5b",
    ),
    "Qwen2.5-1.5B": (
        _QWEN2
        | sizes(28, 1536, 8960, 12, True, num_key_value_heads=2)
        | {"sliding_window": 131072, "max_window_layers": 28},
        1_543_714_304,
        "qwen2_1_5b",
    ),
    "Qwen2.5-7B": (
        _QWEN2
        | sizes(28, 3584, 18944, 28, False, num_key_value_heads=4, vocab_size=152064)
        | {"sliding_window": 131072, "max_window_layers": 28},
        7_615_616_512,
        "qwen2_7b",
    ),
    "Qwen3-0.6B": (
        _QWEN3 | sizes(28, 1024, 3072, 16, True, max_window_layers=28),
        596_049_920,
        "qwen3_0_6b",
    ),
    "Qwen3-8B": (
        _QWEN3 | sizes(36, 4096, 12288, 32, False, max_window_layers=36),
        8_190_735_360,
        "qwen3_8b",
    ),
    "Llama-2-7b": (_LLAMA2, 6_738_415_616, None),
    "Llama-3.1-8B": (_LLAMA3, 8_030_261_248, "llama3_8b"),
    "Llama-3.2-1B": (
        _LLAMA3
        | sizes(16, 2048, 8192, 32, True, head_dim=64)
        | {"rope_scaling": _SCALING | {"factor": 32.0}},
        1_235_814_400,
        "llama3_1b",
    ),
    "Mistral-7B-v0.1": (_MISTRAL, 7_241_732_096, "mistral_7b"),
    "Mistral-7B-v0.3": (
        _MISTRAL | {"rope_theta": 1e6, "sliding_window": None, "vocab_size": 32768},
        7_248_023_552,
        None,
    ),
    "Mistral-Nemo-2407": (
        _MISTRAL
        | sizes(40, 5120, 14336, 32, False, head_dim=128)
        | {"rope_theta": 1e6, "sliding_window": None, "vocab_size": 131072},
        12_247_782_400,
        None,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_its_size_and_says_itself_again(name):
    document, parameters, named = PUBLISHED[name]
    model = model_of(document, "config.json", None)
    assert sum(math.prod(place.ours) for place in llama_places(model).values()) == parameters
    if named is not None:
        assert replace(preset(named), remat="none") == model
    written = document_of(model, document["model_type"], document, document["torch_dtype"])
    assert model_of(written, "config.json", None) == model
    # Fields of later versions are added; those of the file keep their values.
    changed = {key for key in document if written.get(key) != document[key]}
    assert changed <= {"use_mrope", "sliding_window"}
