"""Write image_reward.npz: what transformers' BLIP computes for weights anyone can make again.

Needs torch and transformers (extra `oracle`): `python tests/golden/generate_image_reward.py`. Every
weight is drawn from a seed that is the CRC-32 of its published name (see `weights`); only results
are stored.
"""

import zlib
from pathlib import Path

import numpy as np

from jaxreason.models.blip_config import ImageRewardConfig
from jaxreason.models.blip_names import image_reward_places
from jaxreason.models.clip_config import TowerConfig
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.models.reward_head import RewardHead

GOLDEN = Path(__file__).with_name("image_reward.npz")
CONFIG = ImageRewardConfig(
    vision=TowerConfig(layers=2, width=24, heads=3, mlp_width=40),
    text=TowerConfig(layers=2, width=32, heads=4, mlp_width=48),
    vocabulary_size=31,
    positions=16,
    text_length=9,
    image_size=16,
    patch_size=8,
    head=RewardHead(inputs=32, widths=(12, 8, 6, 4)),
)
_GENERATOR = np.random.default_rng(5)
TOKENS = _GENERATOR.integers(1, 31, (4, 9)).astype(np.int32)
LENGTHS = np.array([9, 3, 6, 1])
MASK = np.arange(9) < LENGTHS[:, None]
TOKENS[~MASK] = 0
PICTURES = [
    _GENERATOR.integers(0, 256, (*size, 3)).astype(np.uint8)
    for size in ((16, 16), (31, 57), (40, 33), (16, 19))
]


def weights() -> dict[str, np.ndarray]:
    """A state dict: matrices divided by the root of their inputs, norms near 1, biases small."""
    arrays = {}
    for name, place in image_reward_places(CONFIG).items():
        generator = np.random.RandomState(zlib.crc32(name.encode()))
        drawn = np.asarray(generator.standard_normal(place.stored))
        if drawn.ndim > 1:
            drawn = drawn / np.sqrt(np.prod(drawn.shape[1:])) * (3 if "embed" in name else 1)
        else:
            drawn = 0.1 * drawn + name.endswith("weight")
        arrays[name] = drawn.astype(np.float32)
    return arrays


_RENAMED = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "blocks.": "encoder.layers.",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
}


def _vision_name(name: str) -> str:
    for ours, theirs in _RENAMED.items():
        name = name.replace(ours, theirs)
    return name.replace("norm.", "post_layernorm.") if name.startswith("norm.") else name


def reference(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Picture, text features and rewards by transformers in float32."""
    import torch
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    c = CONFIG
    vision = BlipVisionModel(
        BlipVisionConfig(
            hidden_size=c.vision.width,
            intermediate_size=c.vision.mlp_width,
            num_hidden_layers=c.vision.layers,
            num_attention_heads=c.vision.heads,
            image_size=c.image_size,
            patch_size=c.patch_size,
            layer_norm_eps=c.vision_epsilon,
        )
    ).eval()
    text = BlipTextModel(
        BlipTextConfig(
            vocab_size=c.vocabulary_size,
            hidden_size=c.text.width,
            encoder_hidden_size=c.vision.width,
            intermediate_size=c.text.mlp_width,
            num_hidden_layers=c.text.layers,
            num_attention_heads=c.text.heads,
            max_position_embeddings=c.positions,
            layer_norm_eps=c.text_epsilon,
        ),
        add_pooling_layer=False,
    ).eval()
    parts: dict[str, dict[str, torch.Tensor]] = {"visual_encoder": {}, "text_encoder": {}}
    for name, array in state.items():
        if name.startswith("blip."):
            _, part, rest = name.split(".", 2)
            parts[part][rest] = torch.tensor(array)
    vision.load_state_dict({_vision_name(n): t for n, t in parts["visual_encoder"].items()})
    text.load_state_dict(parts["text_encoder"])
    pixels = clip_pixels(PICTURES, c.image_size, round_middle=True)
    with torch.no_grad():
        seen = vision(torch.tensor(pixels).movedim(-1, 1)).last_hidden_state
        features = text(
            torch.tensor(TOKENS.astype(np.int64)),
            attention_mask=torch.tensor(MASK.astype(np.int64)),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long),
        ).last_hidden_state[:, 0]
        x = features
        for name, _ in c.head.published_layers():
            x = torch.nn.functional.linear(
                x, torch.tensor(state[f"{name}.weight"]), torch.tensor(state[f"{name}.bias"])
            )
    reward = (x[:, 0] - c.head.mean) / c.head.deviation
    return {
        "pixels": pixels,
        "picture": seen.numpy(),
        "features": features.numpy(),
        "reward": reward.numpy(),
    }


def main() -> None:
    """Compute and store the golden values."""
    np.savez_compressed(GOLDEN, **reference(weights()))  # type: ignore[arg-type]
    print(f"{GOLDEN.name}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
