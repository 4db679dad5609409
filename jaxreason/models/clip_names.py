"""Weights of CLIP as transformers' `CLIPModel` names them, to our parameters and back.

Works on NumPy arrays, one tensor at a time; knows neither torch nor transformers. Linear layers
there hold [outputs, inputs]; ours hold [inputs, outputs] with the heads apart. The patch kernel is
[width, 3, rows, columns] there and [columns, rows, 3, width] here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jaxreason.models.clip_config import ClipConfig, TowerConfig
from jaxreason.models.places import Place, check_places, gather, scatter
from jaxreason.types import Params

BUFFERS = tuple(f"{tower}_model.embeddings.position_ids" for tower in ("text", "vision"))
"""Names that older files hold besides; they are no weights and are not read."""

_LINEAR = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.out_proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
_NORMS = {"attention_norm": "layer_norm1", "mlp_norm": "layer_norm2"}


def _linear_shape(tower: TowerConfig, name: str) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Our kernel's shape, our bias's shape, and the number of inputs."""
    heads = (tower.heads, tower.width // tower.heads)
    if name == "up":
        return (tower.width, tower.mlp_width), (tower.mlp_width,), tower.width
    if name == "down":
        return (tower.mlp_width, tower.width), (tower.width,), tower.mlp_width
    if name == "output":
        return (*heads, tower.width), (tower.width,), tower.width
    return (tower.width, *heads), heads, tower.width


def _layer_places(part: str, tower: TowerConfig) -> dict[str, Place]:
    places = {}
    for layer in range(tower.layers):
        root = f"{part}_model.encoder.layers.{layer}."
        for ours, theirs in _LINEAR.items():
            shape, bias, inputs = _linear_shape(tower, ours)
            outputs = int(np.prod(bias))
            path = (part, "layers", ours)
            places[f"{root}{theirs}.weight"] = Place(path, layer, (outputs, inputs), shape, True)
            path = (part, "layers", f"{ours}_bias")
            places[f"{root}{theirs}.bias"] = Place(path, layer, (outputs,), bias, False)
        for ours, theirs in _NORMS.items():
            for leaf, end in ((ours, "weight"), (f"{ours}_bias", "bias")):
                width = (tower.width,)
                path = (part, "layers", leaf)
                places[f"{root}{theirs}.{end}"] = Place(path, layer, width, width, False)
    return places


def clip_places(config: ClipConfig) -> dict[str, Place]:
    """Name in the files to place in our parameters, for every weight of the model."""
    c, t, v = config, config.text, config.vision
    patch = (v.width, 3, c.patch_size, c.patch_size)

    def same(shape: tuple[int, ...], *path: str) -> Place:
        return Place(path, None, shape, shape, False)

    def turned(shape: tuple[int, ...], *path: str) -> Place:
        return Place(path, None, shape, shape[::-1], True)

    def norm(name: str, width: int, *path: str) -> dict[str, Place]:
        ends = {"weight": "scale", "bias": "bias"}
        return {f"{name}.{end}": same((width,), *path, leaf) for end, leaf in ends.items()}

    text, vision = "text_model.embeddings.", "vision_model.embeddings."
    return {
        "logit_scale": same((), "logit_scale"),
        f"{text}token_embedding.weight": same((c.vocabulary_size, t.width), "text", "embedding"),
        f"{text}position_embedding.weight": same((c.text_length, t.width), "text", "positions"),
        **_layer_places("text", t),
        **norm("text_model.final_layer_norm", t.width, "text", "final_norm"),
        f"{vision}class_embedding": same((v.width,), "vision", "class_embedding"),
        f"{vision}patch_embedding.weight": turned(patch, "vision", "patch"),
        f"{vision}position_embedding.weight": same((c.patches + 1, v.width), "vision", "positions"),
        **norm("vision_model.pre_layrnorm", v.width, "vision", "first_norm"),
        **_layer_places("vision", v),
        **norm("vision_model.post_layernorm", v.width, "vision", "final_norm"),
        "visual_projection.weight": turned((c.projection, v.width), "image_projection"),
        "text_projection.weight": turned((c.projection, t.width), "text_projection"),
    }


def from_clip(weights: Mapping[str, NDArray], config: ClipConfig) -> Params:
    """Our parameters (NumPy arrays, dtypes kept) from a CLIP state dict.

    Raises:
        InputError: a weight is missing, unknown or of a shape that does not fit `config`.
    """
    places = clip_places(config)
    shapes = {name: np.shape(array) for name, array in weights.items()}
    check_places("CLIP", shapes, places, ignored=BUFFERS)
    return gather(weights, places)


def to_clip(params: Params, config: ClipConfig) -> dict[str, NDArray]:
    """The state dict of transformers' `CLIPModel`: the inverse of `from_clip`."""
    return scatter(params, clip_places(config))
