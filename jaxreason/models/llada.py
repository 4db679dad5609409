"""Weights of LLaDA and MMaDA as published, to our parameters and back.

The names are those of github.com/ML-GSAI/LLaDA and github.com/Gen-Verse/MMaDA
(models/modeling_llada.py): a Llama-like stack without biases, `ff_proj` the gate of the SwiGLU,
an output head of its own.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.places import Place, check_places, gather, scatter
from jaxreason.types import Params

_ROOT = "model.transformer."

# our name -> (their name within a block, the fields of the config that are our shape)
_LAYER: dict[str, tuple[str, tuple[str, ...]]] = {
    "attention_norm": ("attn_norm", ("width",)),
    "query": ("q_proj", ("width", "heads", "head_size")),
    "key": ("k_proj", ("width", "kv_heads", "head_size")),
    "value": ("v_proj", ("width", "kv_heads", "head_size")),
    "output": ("attn_out", ("heads", "head_size", "width")),
    "mlp_norm": ("ff_norm", ("width",)),
    "gate": ("ff_proj", ("width", "mlp_width")),
    "up": ("up_proj", ("width", "mlp_width")),
    "down": ("ff_out", ("mlp_width", "width")),
}


def llada_places(config: TransformerConfig) -> dict[str, Place]:
    """Name in the files to place in our parameters, for every weight of the model.

    A tied model has no `ff_out` of its own (`weight_tying` in LLaDA's config.json).

    Raises:
        InputError: the model has biases or norms that LLaDA's layout has no names for, or
            computes what LLaDA's code does not.
    """
    for name in ("qkv_bias", "output_bias", "mlp_bias", "qk_norm", "rope_scaling", "window"):
        if value := getattr(config, name):
            raise InputError(f"model.{name} is {value}; LLaDA's layout of weights has none")
    vocabulary, width = config.vocabulary_size, config.width
    places = {
        f"{_ROOT}wte.weight": Place(
            ("embedding",), None, (vocabulary, width), (vocabulary, width), False
        )
    }
    for layer in range(config.layers):
        for name, (theirs, fields) in _LAYER.items():
            shape = tuple(getattr(config, field) for field in fields)
            matrix = len(shape) > 1
            stored = shape
            if matrix:
                inputs = width if name != "down" else config.mlp_width
                inputs = config.heads * config.head_size if name == "output" else inputs
                stored = (int(np.prod(shape)) // inputs, inputs)
            place = Place(("layers", name), layer, stored, shape, matrix)
            places[f"{_ROOT}blocks.{layer}.{theirs}.weight"] = place
    places[f"{_ROOT}ln_f.weight"] = Place(("final_norm",), None, (width,), (width,), False)
    if not config.tied:
        places[f"{_ROOT}ff_out.weight"] = Place(
            ("head",), None, (vocabulary, width), (width, vocabulary), True
        )
    return places


def from_llada(weights: Mapping[str, NDArray], config: TransformerConfig) -> Params:
    """Our parameters (NumPy arrays, dtypes kept) from a LLaDA or MMaDA state dict.

    Raises:
        InputError: a weight is missing, unknown or of a shape that does not fit `config`.
    """
    places = llada_places(config)
    check_places("LLaDA", {name: np.shape(array) for name, array in weights.items()}, places)
    return gather(weights, places)


def to_llada(params: Params, config: TransformerConfig) -> dict[str, NDArray]:
    """The state dict of LLaDA's `LLaDAModelLM`: the inverse of `from_llada`."""
    return scatter(params, llada_places(config))


def extend_vocabulary(
    params: Params, rows: int, key: PRNGKeyArray, deviation: float = 0.02
) -> Params:
    """The same model with more token ids: new rows of the embedding, new columns of the head.

    MMaDA starts from LLaDA's 126,464 ids and has 134,656, one more for each image code. What is
    new is drawn from a normal distribution; all else is left as it is.

    Args:
        params: of a model; without a head of its own, only the embedding grows.
        rows: number of token ids then.
        key: of the draw.
        deviation: of the new numbers; 0.02 is LLaDA's `init_std`.

    Raises:
        InputError: fewer rows than there are.
    """
    old = len(params["embedding"])
    if rows < old:
        raise InputError(f"a vocabulary of {old} ids cannot be extended to {rows}")

    def longer(name: str, axis: int) -> jax.Array:
        table = params[name]
        fresh = new_ids(name, rows - old, table.shape[1 - axis], key, deviation)
        return jnp.concatenate([table, fresh.astype(table.dtype)], axis)

    extended = {**params, "embedding": longer("embedding", 0)}
    if "head" in params:
        extended["head"] = longer("head", 1)
    return extended


def new_ids(
    name: str, count: int, width: int, key: PRNGKeyArray, deviation: float = 0.02
) -> jax.Array:
    """What `extend_vocabulary` adds to a table, float32.

    Args:
        name: `embedding`, for rows [count, width], or `head`, for columns [width, count].
        count: number of new ids.
        width: of the model.
        key: of the draw; the same for both tables.
        deviation: of the new numbers.
    """
    into, out = jax.random.split(key)
    if name == "embedding":
        return deviation * jax.random.normal(into, (count, width))
    return deviation * jax.random.normal(out, (width, count))
