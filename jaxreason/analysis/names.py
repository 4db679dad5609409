"""What a tensor's name says: its layer and the kind of matrix it is."""

import re
from itertools import pairwise
from typing import NamedTuple

MATRIX_TYPES = (
    *("embedding", "query", "key", "value", "query_key_value", "output"),
    *("gate", "up", "gate_up", "down", "head", "norm", "bias", "other"),
)
"""Every matrix type there is, in the order of tables."""

# The last part of a name that says something, in our names and in those of Hugging Face models.
_TYPES = {
    "embedding": ("embedding", "embed_tokens", "wte", "word_embeddings", "tok_embeddings"),
    "query": ("query", "q_proj", "wq"),
    "key": ("key", "k_proj", "wk"),
    "value": ("value", "v_proj", "wv"),
    "query_key_value": ("qkv_proj", "c_attn", "query_key_value", "wqkv"),
    "output": ("output", "o_proj", "out_proj", "wo"),
    "gate": ("gate", "gate_proj", "w1"),
    "up": ("up", "up_proj", "w3", "fc1", "c_fc"),
    "gate_up": ("gate_up_proj",),
    "down": ("down", "down_proj", "w2", "fc2"),
    "head": ("head", "lm_head"),
}
_TYPE_OF = {word: kind for kind, words in _TYPES.items() for word in words}
_LAYERS = ("layers", "layer", "h", "blocks", "block")
_LEAF_WORDS = ("weight", "kernel", "scale", "base_layer", "w")
_NORM = re.compile(r"norm|^ln_?[0-9a-z]*$|layernorm", re.IGNORECASE)


class Place(NamedTuple):
    """Where in a model a tensor belongs.

    Attributes:
        layer: number of the layer, or None outside the layers.
        matrix: one of `MATRIX_TYPES`.
    """

    layer: int | None
    matrix: str


def parts(name: str) -> list[str]:
    """The parts of a name, whether joined by "/" or "."."""
    return [part for part in re.split(r"[/.]", name) if part]


def place(name: str) -> Place:
    """Layer and matrix type of a tensor.

    Knows the names of our transformer (`layers/3/query`) and those of Llama, Qwen, Mistral and
    GPT-2 style models (`model.layers.3.self_attn.q_proj.weight`).

    >>> place("model.layers.3.self_attn.q_proj.weight")
    Place(layer=3, matrix='query')
    >>> place("layers/0/mlp_norm")
    Place(layer=0, matrix='norm')
    """
    words = parts(name)
    layer = None
    for before, word in pairwise(words):
        if before in _LAYERS and word.isdigit():
            layer = int(word)
            break
    if not words:
        return Place(layer, "other")
    last = words[-1]
    if last == "bias" or last.endswith("_bias"):
        return Place(layer, "bias")
    telling = [word for word in words if word not in _LEAF_WORDS and not word.isdigit()]
    if not telling:
        return Place(layer, "other")
    if _NORM.search(telling[-1]):
        return Place(layer, "norm")
    if telling[-1] == "c_proj":  # GPT-2 has two, told apart by where they are
        return Place(layer, "output" if "attn" in words else "down")
    return Place(layer, _TYPE_OF.get(telling[-1], "other"))


def stacked_prefixes(shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """Prefixes whose tensors hold all layers on their first axis, with the number of layers.

    `layers/query [L, D, H, K]` and its neighbours are such tensors: they stand directly below
    `layers` where a layer's number would stand, agree in their first dimension, and one of them
    at least is a known matrix of a transformer's layer.

    Args:
        shapes: name to shape of all tensors of a checkpoint.

    Returns:
        Prefix, its last separator included ("layers/"), to L.
    """
    groups: dict[str, list[str]] = {}
    for name in shapes:
        match = re.match(r"(?:.*[/.])?layers([/.])(?![0-9]+(?:[/.]|$))", name)
        if match:
            groups.setdefault(match.group(0), []).append(name)
    found = {}
    for prefix, names in groups.items():
        first = {shapes[name][0] if shapes[name] else 0 for name in names}
        known = any(place(name).matrix not in ("other", "norm", "bias") for name in names)
        if len(first) == 1 and known and min(first) > 0:
            found[prefix] = first.pop()
    return found
