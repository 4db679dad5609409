"""Weights of ImageReward as its state dict names them, to our parameters and back.

Names of github.com/THUDM/ImageReward: `blip.visual_encoder.*` (a timm vision transformer whose
query, key and value are one matrix), `blip.text_encoder.*` (a BERT with `crossattention`) and
`mlp.layers.*`. Linear layers there hold [outputs, inputs].
"""

from jaxreason.models.blip_config import ImageRewardConfig
from jaxreason.models.clip_config import TowerConfig
from jaxreason.models.places import Place
from jaxreason.models.reward_head import RewardHead

UNUSED = (
    "blip.text_encoder.embeddings.position_ids",
    *(f"blip.{part}_proj.{end}" for part in ("vision", "text") for end in ("weight", "bias")),
)
"""What the published file may hold besides: a buffer, and projections that no reward needs."""

_VISION = "blip.visual_encoder."
_TEXT = "blip.text_encoder."


def image_reward_places(config: ImageRewardConfig) -> dict[str, Place]:
    """Name in the files to place in our parameters, for every weight that the reward needs."""
    c, v, t = config, config.vision, config.text
    patch = (v.width, 3, c.patch_size, c.patch_size)
    vision, text = ("vision",), ("text",)
    return {
        f"{_VISION}cls_token": _same((1, 1, v.width), (v.width,), *vision, "class_embedding"),
        f"{_VISION}pos_embed": _same(
            (1, c.patches + 1, v.width), (c.patches + 1, v.width), *vision, "positions"
        ),
        f"{_VISION}patch_embed.proj.weight": _turned(patch, patch[::-1], *vision, "patch"),
        f"{_VISION}patch_embed.proj.bias": _same((v.width,), (v.width,), *vision, "patch_bias"),
        **_vision_layers(v),
        **_norm(f"{_VISION}norm", v.width, *vision, "final_norm"),
        f"{_TEXT}embeddings.word_embeddings.weight": _same(
            (c.vocabulary_size, t.width), (c.vocabulary_size, t.width), *text, "embedding"
        ),
        f"{_TEXT}embeddings.position_embeddings.weight": _same(
            (c.positions, t.width), (c.positions, t.width), *text, "positions"
        ),
        **_norm(f"{_TEXT}embeddings.LayerNorm", t.width, *text, "embedding_norm"),
        **_text_layers(t, v.width),
        **_head(c.head),
    }


def _same(stored: tuple[int, ...], ours: tuple[int, ...], *path: str) -> Place:
    return Place(path, None, stored, ours, False)


def _turned(stored: tuple[int, ...], ours: tuple[int, ...], *path: str) -> Place:
    return Place(path, None, stored, ours, True)


def _norm(name: str, width: int, *path: str) -> dict[str, Place]:
    ends = {"weight": "scale", "bias": "bias"}
    return {f"{name}.{end}": _same((width,), (width,), *path, leaf) for end, leaf in ends.items()}


def _linear(
    name: str, layer: int, inputs: tuple[int, ...], outputs: tuple[int, ...], *path: str
) -> dict[str, Place]:
    """A linear layer whose inputs or outputs are split into heads."""
    count = _product(outputs)
    leaf = path[-1]
    weight = Place(path, layer, (count, _product(inputs)), (*inputs, *outputs), True)
    bias = Place((*path[:-1], f"{leaf}_bias"), layer, (count,), outputs, False)
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _layer_norm(name: str, layer: int, width: int, *path: str) -> dict[str, Place]:
    *branch, leaf = path
    ends = {"weight": f"{leaf}_scale", "bias": f"{leaf}_bias"}
    return {
        f"{name}.{end}": Place((*branch, ours), layer, (width,), (width,), False)
        for end, ours in ends.items()
    }


def _vision_layers(tower: TowerConfig) -> dict[str, Place]:
    width, heads = (tower.width,), (tower.heads, tower.width // tower.heads)
    places: dict[str, Place] = {}
    for i in range(tower.layers):
        root, path = f"{_VISION}blocks.{i}.", ("vision", "layers")
        places |= _layer_norm(f"{root}norm1", i, tower.width, *path, "attention_norm")
        places |= _linear(f"{root}attn.qkv", i, width, (3, *heads), *path, "joined")
        places |= _linear(f"{root}attn.proj", i, heads, width, *path, "output")
        places |= _layer_norm(f"{root}norm2", i, tower.width, *path, "mlp_norm")
        places |= _linear(f"{root}mlp.fc1", i, width, (tower.mlp_width,), *path, "up")
        places |= _linear(f"{root}mlp.fc2", i, (tower.mlp_width,), width, *path, "down")
    return places


def _text_layers(tower: TowerConfig, picture: int) -> dict[str, Place]:
    width, heads = (tower.width,), (tower.heads, tower.width // tower.heads)
    places: dict[str, Place] = {}
    for i in range(tower.layers):
        root, path = f"{_TEXT}encoder.layer.{i}.", ("text", "layers")
        for ours, theirs, source in (
            ("self", "attention", tower.width),
            ("cross", "crossattention", picture),
        ):
            at = f"{root}{theirs}."
            places |= _linear(f"{at}self.query", i, width, heads, *path, f"{ours}_query")
            places |= _linear(f"{at}self.key", i, (source,), heads, *path, f"{ours}_key")
            places |= _linear(f"{at}self.value", i, (source,), heads, *path, f"{ours}_value")
            places |= _linear(f"{at}output.dense", i, heads, width, *path, f"{ours}_output")
            places |= _layer_norm(f"{at}output.LayerNorm", i, tower.width, *path, f"{ours}_norm")
        inner = (tower.mlp_width,)
        places |= _linear(f"{root}intermediate.dense", i, width, inner, *path, "up")
        places |= _linear(f"{root}output.dense", i, inner, width, *path, "down")
        places |= _layer_norm(f"{root}output.LayerNorm", i, tower.width, *path, "mlp_norm")
    return places


def _head(head: RewardHead) -> dict[str, Place]:
    places = {}
    for i, (name, (inputs, outputs)) in enumerate(head.published_layers()):
        kernel = (inputs, outputs)
        places[f"{name}.weight"] = _turned(kernel[::-1], kernel, "head", f"kernel_{i}")
        places[f"{name}.bias"] = _same((outputs,), (outputs,), "head", f"bias_{i}")
    return places


def _product(sizes: tuple[int, ...]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
