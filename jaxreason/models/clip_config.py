"""Shapes of CLIP models, as ours and as transformers' `config.json` gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jaxreason.errors import InputError


@dataclass(frozen=True)
class TowerConfig:
    """Shape of one of the two transformers.

    Attributes:
        layers: number of blocks.
        width: D, size of the residual stream.
        heads: attention heads; divides `width`.
        mlp_width: F, inner size of the MLP.

    Raises:
        InputError: a size that does not fit the others.
    """

    layers: int
    width: int
    heads: int
    mlp_width: int

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise InputError(f"tower.{name} is {getattr(self, name)}; it must be at least 1")
        if self.width % self.heads:
            raise InputError(f"tower.heads {self.heads} does not divide tower.width {self.width}")


@dataclass(frozen=True)
class ClipConfig:
    """Shape and numerics of a CLIP model.

    Attributes:
        text: the tower of the text.
        vision: the tower of the picture.
        projection: P, size of the common space.
        vocabulary_size: V, text tokens.
        text_length: most tokens of a text.
        end_token: id of the token a text is read at, its first occurrence; None: the highest id of
            the text, which is the same in OpenAI's vocabulary.
        image_size: pixels on each side.
        patch_size: pixels on each side of a patch; divides `image_size`.
        activation: of the MLPs; `quick_gelu` is x sigmoid(1.702 x).
        norm_epsilon: added to the variance in LayerNorm.

    Raises:
        InputError: a size that does not fit the others.
    """

    text: TowerConfig
    vision: TowerConfig
    projection: int
    vocabulary_size: int = 49408
    text_length: int = 77
    end_token: int | None = None
    image_size: int = 224
    patch_size: int = 32
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("projection", "vocabulary_size", "text_length", "image_size", "patch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"clip.{name} is {getattr(self, name)}; it must be at least 1")
        if self.image_size % self.patch_size:
            raise InputError(
                f"clip.patch_size {self.patch_size} does not divide "
                f"clip.image_size {self.image_size}"
            )
        if self.end_token is not None and not 0 <= self.end_token < self.vocabulary_size:
            raise InputError(
                f"clip.end_token is {self.end_token}; expected an id below {self.vocabulary_size}"
            )
        if self.activation not in ("quick_gelu", "gelu"):
            raise InputError(
                f"clip.activation is {self.activation!r}; expected 'quick_gelu' or 'gelu'"
            )

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return (self.image_size // self.patch_size) ** 2


CLIP_PRESETS: dict[str, ClipConfig] = {
    "clip_vit_b32": ClipConfig(TowerConfig(12, 512, 8, 2048), TowerConfig(12, 768, 12, 3072), 512),
    "clip_vit_b16": ClipConfig(
        TowerConfig(12, 512, 8, 2048), TowerConfig(12, 768, 12, 3072), 512, patch_size=16
    ),
    "clip_vit_l14": ClipConfig(
        TowerConfig(12, 768, 12, 3072), TowerConfig(24, 1024, 16, 4096), 768, patch_size=14
    ),
}
"""The published sizes of OpenAI's models."""


def clip_settings(config: ClipConfig) -> dict[str, Any]:
    """Keyword arguments of transformers' `CLIPConfig` for the same shape."""

    def tower(shape: TowerConfig) -> dict[str, Any]:
        return {
            "hidden_size": shape.width,
            "intermediate_size": shape.mlp_width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "hidden_act": config.activation,
            "layer_norm_eps": config.norm_epsilon,
            "projection_dim": config.projection,
        }

    return {
        "projection_dim": config.projection,
        "text_config": {
            **tower(config.text),
            "vocab_size": config.vocabulary_size,
            "max_position_embeddings": config.text_length,
            # 2 makes transformers read a text at its highest id
            "eos_token_id": 2 if config.end_token is None else config.end_token,
        },
        "vision_config": {
            **tower(config.vision),
            "image_size": config.image_size,
            "patch_size": config.patch_size,
        },
    }


_DEFAULTS: dict[str, dict[str, Any]] = {
    "text_config": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "eos_token_id": 49407,
    },
    "vision_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "image_size": 224,
        "patch_size": 32,
        "num_channels": 3,
    },
}
"""What transformers takes for fields that a published config.json leaves out."""


def config_from_settings(settings: Mapping[str, Any]) -> ClipConfig:
    """Our configuration from the fields of a published `config.json`: inverse of `clip_settings`.

    Raises:
        InputError: a model that is not CLIP or that ours cannot be.
    """
    if settings.get("model_type", "clip") != "clip":
        raise InputError(f"config.json has model_type {settings['model_type']!r}; expected 'clip'")
    text, vision = (
        {**defaults, **(settings.get(part) or {})} for part, defaults in _DEFAULTS.items()
    )
    for field in ("hidden_act", "layer_norm_eps"):
        if text[field] != vision[field]:
            raise InputError(
                f"config.json has {field} {text[field]!r} for text and {vision[field]!r} for "
                "vision; expected the same"
            )
    if vision["num_channels"] != 3:
        raise InputError(f"config.json has num_channels {vision['num_channels']}; expected 3")

    def tower(part: Mapping[str, Any]) -> TowerConfig:
        return TowerConfig(
            part["num_hidden_layers"],
            part["hidden_size"],
            part["num_attention_heads"],
            part["intermediate_size"],
        )

    return ClipConfig(
        tower(text),
        tower(vision),
        settings.get("projection_dim", 512),
        vocabulary_size=text["vocab_size"],
        text_length=text["max_position_embeddings"],
        end_token=None if text["eos_token_id"] == 2 else text["eos_token_id"],
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        activation=text["hidden_act"],
        norm_epsilon=text["layer_norm_eps"],
    )
