"""Shapes of ImageReward models, as ours and as the published `med_config.json` gives them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from jaxreason.errors import InputError
from jaxreason.models.clip_config import TowerConfig
from jaxreason.models.reward_head import RewardHead

MOST_LAYERS = 1000
"""A damaged file that says more would take for ever to compare with its weights."""


@dataclass(frozen=True)
class ImageRewardConfig:
    """Shape and numerics; the defaults are those of the published ImageReward-v1.0.

    Attributes:
        vision: the tower of the picture, ViT-L/16.
        text: the tower of the text, BERT-base; it attends to the picture in every layer.
        vocabulary_size: V, text tokens: BERT's and [DEC] and [ENC].
        positions: most tokens the text tower could take.
        text_length: tokens a text is cut or filled up to.
        image_size: pixels on each side.
        patch_size: pixels on each side of a patch; divides `image_size`.
        vision_epsilon: added to the variance in LayerNorm of the picture.
        text_epsilon: the same for the text.
        head: from the text's first token to the reward.

    Raises:
        InputError: a size that does not fit the others.
    """

    vision: TowerConfig = field(default_factory=lambda: TowerConfig(24, 1024, 16, 4096))
    text: TowerConfig = field(default_factory=lambda: TowerConfig(12, 768, 12, 3072))
    vocabulary_size: int = 30_524
    positions: int = 512
    text_length: int = 35
    image_size: int = 224
    patch_size: int = 16
    vision_epsilon: float = 1e-6
    text_epsilon: float = 1e-12
    head: RewardHead = field(default_factory=RewardHead)

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "positions", "text_length", "image_size", "patch_size"):
            value = getattr(self, name)
            if not _is_whole(value) or value < 1:
                raise InputError(f"image_reward.{name} is {value!r:.60}; it must be at least 1")
        for name in ("vision_epsilon", "text_epsilon"):
            value = getattr(self, name)
            if not isinstance(value, float) or not 0 < value < 1:
                raise InputError(
                    f"image_reward.{name} is {value!r:.60}; expected a number between 0 and 1"
                )
        for name, tower in (("vision", self.vision), ("text", self.text)):
            if tower.layers > MOST_LAYERS:
                raise InputError(
                    f"image_reward.{name}.layers is {tower.layers}; it must be at most "
                    f"{MOST_LAYERS}"
                )
        if self.image_size % self.patch_size:
            raise InputError(
                f"image_reward.patch_size {self.patch_size} does not divide "
                f"image_reward.image_size {self.image_size}"
            )
        if self.text_length > self.positions:
            raise InputError(
                f"image_reward.text_length is {self.text_length}; the model has "
                f"{self.positions} positions"
            )
        if self.head.inputs != self.text.width:
            raise InputError(
                f"image_reward.head takes {self.head.inputs} numbers; the text tower gives "
                f"{self.text.width}"
            )

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return (self.image_size // self.patch_size) ** 2


_TEXT_FIELDS = {
    "hidden_size": "width",
    "intermediate_size": "mlp_width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
}
_FIXED = {
    "hidden_act": "gelu",
    "pad_token_id": 0,
    "add_cross_attention": True,
    "model_type": "bert",
    "position_embedding_type": "absolute",
}
_HARMLESS = {
    *("architectures", "attention_probs_dropout_prob", "hidden_dropout_prob"),
    *("initializer_range", "type_vocab_size", "encoder_width", "transformers_version"),
}
"""Of training, or replaced when the model is built, as `encoder_width` is."""


def config_from_med(settings: Mapping[str, Any]) -> ImageRewardConfig:
    """Our configuration from the published `med_config.json`, with the published picture tower.

    Raises:
        InputError: a field that ours cannot honour.
    """
    known = {*_TEXT_FIELDS, *_FIXED, *_HARMLESS, "vocab_size", "max_position_embeddings"}
    unknown = sorted(set(settings) - known - {"layer_norm_eps"})
    if unknown:
        raise InputError(f"med_config.json has the field {unknown[0]!r}, which is not known here")
    for name, value in _FIXED.items():
        if settings.get(name, value) != value:
            raise InputError(f"med_config.json has {name} {settings[name]!r}; expected {value!r}")
    default = ImageRewardConfig()
    text = asdict(default.text) | {
        ours: settings[theirs] for theirs, ours in _TEXT_FIELDS.items() if theirs in settings
    }
    for name, value in text.items():
        if not _is_whole(value):
            raise InputError(f"med_config.json has {name} {value!r:.60}; expected a whole number")
    return ImageRewardConfig(
        text=TowerConfig(**text),
        vocabulary_size=settings.get("vocab_size", default.vocabulary_size),
        positions=settings.get("max_position_embeddings", default.positions),
        text_epsilon=settings.get("layer_norm_eps", default.text_epsilon),
        head=RewardHead(inputs=text["width"]),
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def config_from_json(settings: Mapping[str, Any]) -> ImageRewardConfig:
    """Our configuration from what `dataclasses.asdict` makes of it.

    Raises:
        InputError: a field that is missing or unknown.
    """
    kinds: dict[str, Any] = {"vision": TowerConfig, "text": TowerConfig, "head": RewardHead}
    names = {one.name for one in fields(ImageRewardConfig)}
    if set(settings) != names:
        wrong = sorted(set(settings) ^ names)[0]
        raise InputError(f"image_reward has {wrong!r} too much or too little; expected {names}")
    parts = {}
    for name, value in settings.items():
        if name in kinds:
            known = {one.name for one in fields(kinds[name])}
            if not isinstance(value, Mapping) or set(value) != known:
                raise InputError(f"image_reward.{name} is {value!r:.60}; expected {sorted(known)}")
            given = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
            numbers = {k: v for k, v in given.items() if k not in ("mean", "deviation")}
            widths = numbers.pop("widths", ())
            if not isinstance(widths, tuple) or len(widths) > MOST_LAYERS:
                raise InputError(f"image_reward.{name}.widths is {widths!r:.60}; expected a list")
            for k, v in [*numbers.items(), *(("widths", width) for width in widths)]:
                if not _is_whole(v):
                    raise InputError(
                        f"image_reward.{name}.{k} is {v!r:.60}; expected a whole number"
                    )
            value = kinds[name](**given)
        parts[name] = value
    return ImageRewardConfig(**parts)
