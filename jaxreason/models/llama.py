"""Weights of Llama and its relatives, as published, to our parameters and back.

Hugging Face transformers names the weights of Llama, Mistral, Qwen2 and Qwen3 alike; they differ
in which biases and norms there are, which our configuration says. Works on dicts of NumPy arrays
and knows neither torch nor transformers.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jaxreason.models.config import TransformerConfig
from jaxreason.models.places import Place, check_places, gather, scatter
from jaxreason.types import Params

EMBEDDING, FINAL_NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"

# our name -> (name within `model.layers.N.`, the fields of the config that are our shape)
_LAYER: dict[str, tuple[str, tuple[str, ...]]] = {
    "attention_norm": ("input_layernorm.weight", ("width",)),
    "query": ("self_attn.q_proj.weight", ("width", "heads", "head_size")),
    "key": ("self_attn.k_proj.weight", ("width", "kv_heads", "head_size")),
    "value": ("self_attn.v_proj.weight", ("width", "kv_heads", "head_size")),
    "query_bias": ("self_attn.q_proj.bias", ("heads", "head_size")),
    "key_bias": ("self_attn.k_proj.bias", ("kv_heads", "head_size")),
    "value_bias": ("self_attn.v_proj.bias", ("kv_heads", "head_size")),
    "query_norm": ("self_attn.q_norm.weight", ("head_size",)),
    "key_norm": ("self_attn.k_norm.weight", ("head_size",)),
    "output": ("self_attn.o_proj.weight", ("heads", "head_size", "width")),
    "output_bias": ("self_attn.o_proj.bias", ("width",)),
    "mlp_norm": ("post_attention_layernorm.weight", ("width",)),
    "gate": ("mlp.gate_proj.weight", ("width", "mlp_width")),
    "up": ("mlp.up_proj.weight", ("width", "mlp_width")),
    "down": ("mlp.down_proj.weight", ("mlp_width", "width")),
    "gate_bias": ("mlp.gate_proj.bias", ("mlp_width",)),
    "up_bias": ("mlp.up_proj.bias", ("mlp_width",)),
    "down_bias": ("mlp.down_proj.bias", ("width",)),
}
# field of the config -> what is there only if it is set
_OPTIONAL = {
    "qkv_bias": ("query_bias", "key_bias", "value_bias"),
    "qk_norm": ("query_norm", "key_norm"),
    "output_bias": ("output_bias",),
    "mlp_bias": ("gate_bias", "up_bias", "down_bias"),
}


def llama_places(config: TransformerConfig) -> dict[str, Place]:
    """Name in the files to place in our parameters, for every weight of the model.

    A tied model's `lm_head.weight` is no weight of its own, see `unread_names`.
    """
    c = config
    table = (c.vocabulary_size, c.width)
    absent = {leaf for name, leaves in _OPTIONAL.items() if not getattr(c, name) for leaf in leaves}
    places = {EMBEDDING: Place(("embedding",), None, table, table, False)}
    for layer in range(c.layers):
        for name, (theirs, fields) in _LAYER.items():
            if name in absent:
                continue
            ours = tuple(getattr(c, field) for field in fields)
            matrix = theirs.endswith("proj.weight")
            stored: tuple[int, ...] = (math.prod(ours),)
            if matrix:
                inputs = math.prod(ours[:-1]) if name in ("output", "down") else ours[0]
                stored = (math.prod(ours) // inputs, inputs)
            place = Place(("layers", name), layer, stored, ours, matrix)
            places[f"model.layers.{layer}.{theirs}"] = place
    places[FINAL_NORM] = Place(("final_norm",), None, (c.width,), (c.width,), False)
    if not c.tied:
        places[HEAD] = Place(("head",), None, table, table[::-1], True)
    return places


def unread_names(config: TransformerConfig) -> set[str]:
    """What files may hold besides: a tied model's copy of the embedding, and tables of rotary
    frequencies, which follow from the configuration.
    """
    layers = range(config.layers)
    tables = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq" for layer in layers}
    return tables | {"model.rotary_emb.inv_freq"} | ({HEAD} if config.tied else set())


def from_llama(weights: Mapping[str, NDArray], config: TransformerConfig) -> Params:
    """Our parameters (NumPy arrays, dtypes kept) from a state dict of a causal language model.

    Raises:
        InputError: a weight is missing, unknown or of a shape that does not fit `config`.
    """
    places = llama_places(config)
    shapes = {name: np.shape(array) for name, array in weights.items()}
    check_places("the model's", shapes, places, unread_names(config))
    return gather(weights, places)


def to_llama(params: Params, config: TransformerConfig) -> dict[str, NDArray]:
    """The state dict of transformers' causal language model: the inverse of `from_llama`.

    A tied model's head is left out, as in published files.
    """
    return scatter(params, llama_places(config))
