"""Weights of Qwen2 as Hugging Face transformers names them, to our parameters and back.

Works on dicts of NumPy arrays, one layer at a time; knows neither torch nor transformers. Linear
layers there hold [outputs, inputs]; ours hold [inputs, outputs] with the heads apart, the layers
stacked on axis 0.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.types import Params

Weights = Mapping[str, NDArray]

# our name -> (name within `model.layers.N.`, our shape; None = as it is there)
_LAYER: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "attention_norm": ("input_layernorm.weight", None),
    "query": ("self_attn.q_proj.weight", ("width", "heads", "head_size")),
    "key": ("self_attn.k_proj.weight", ("width", "kv_heads", "head_size")),
    "value": ("self_attn.v_proj.weight", ("width", "kv_heads", "head_size")),
    "query_bias": ("self_attn.q_proj.bias", ("heads", "head_size")),
    "key_bias": ("self_attn.k_proj.bias", ("kv_heads", "head_size")),
    "value_bias": ("self_attn.v_proj.bias", ("kv_heads", "head_size")),
    "output": ("self_attn.o_proj.weight", ("heads", "head_size", "width")),
    "mlp_norm": ("post_attention_layernorm.weight", None),
    "gate": ("mlp.gate_proj.weight", ("width", "mlp_width")),
    "up": ("mlp.up_proj.weight", ("width", "mlp_width")),
    "down": ("mlp.down_proj.weight", ("mlp_width", "width")),
}
_BIASES = ("query_bias", "key_bias", "value_bias")
_EMBEDDING, _FINAL_NORM, _HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def _layer_names(config: TransformerConfig) -> list[str]:
    return [name for name in _LAYER if config.qkv_bias or name not in _BIASES]


def from_qwen2(weights: Weights, config: TransformerConfig) -> Params:
    """Our parameters (NumPy arrays, dtypes kept) from a Qwen2 state dict.

    A tied model may or may not carry `lm_head.weight`; it is not read.

    Raises:
        InputError: a weight is missing, too many, or of a size that does not fit `config`.
    """

    def read(name: str, shape: tuple[int, ...], transpose: bool) -> NDArray:
        if name not in weights:
            raise InputError(f"Qwen2 weights lack {name!r}, which the model configuration needs")
        array = np.asarray(weights[name])
        if array.size != np.prod(shape):
            raise InputError(f"Qwen2 weight {name!r} has shape {array.shape}; it must fit {shape}")
        return (array.T if transpose else array).reshape(shape)

    def stack(name: str) -> NDArray:
        theirs, fields = _LAYER[name]
        shape = tuple(getattr(config, field) for field in fields or ("width",))
        transpose = theirs.endswith("proj.weight")
        layers = range(config.layers)
        return np.stack([read(f"model.layers.{i}.{theirs}", shape, transpose) for i in layers])

    known = set(to_qwen2_names(config)) | {_HEAD}
    if extra := sorted(set(weights) - known):
        raise InputError(f"Qwen2 weights hold {extra[0]!r}, which the model configuration lacks")
    vocabulary = (config.vocabulary_size, config.width)
    params = {
        "embedding": read(_EMBEDDING, vocabulary, False),
        "layers": {name: stack(name) for name in _layer_names(config)},
        "final_norm": read(_FINAL_NORM, (config.width,), False),
    }
    if not config.tied:
        params["head"] = read(_HEAD, vocabulary[::-1], True)
    return params


def to_qwen2(params: Params, config: TransformerConfig) -> dict[str, NDArray]:
    """The state dict of transformers' `Qwen2ForCausalLM`: the inverse of `from_qwen2`.

    A tied model's head is left out, as in published files.
    """
    weights = {
        _EMBEDDING: np.asarray(params["embedding"]),
        _FINAL_NORM: np.asarray(params["final_norm"]),
    }
    if not config.tied:
        weights[_HEAD] = np.asarray(params["head"]).T
    for name in _layer_names(config):
        theirs, _ = _LAYER[name]
        for i, array in enumerate(np.asarray(params["layers"][name])):
            if theirs.endswith("bias"):
                array = array.reshape(-1)
            elif theirs.endswith("o_proj.weight"):
                array = array.reshape(-1, config.width).T
            elif theirs.endswith("proj.weight"):
                array = array.reshape(array.shape[0], -1).T
            weights[f"model.layers.{i}.{theirs}"] = array
    return weights


def to_qwen2_names(config: TransformerConfig) -> list[str]:
    """Names of the weights `to_qwen2` writes."""
    layers = range(config.layers)
    names = [f"model.layers.{i}.{_LAYER[name][0]}" for i in layers for name in _layer_names(config)]
    return [_EMBEDDING, _FINAL_NORM, *([] if config.tied else [_HEAD]), *names]


def qwen2_settings(config: TransformerConfig) -> dict[str, object]:
    """Keyword arguments of transformers' `Qwen2Config` for the same shape."""
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "tie_word_embeddings": config.tied,
    }
