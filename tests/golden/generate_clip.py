"""Write clip.npz: what transformers' CLIP computes for weights anyone can make again.

Needs torch and transformers (extra `oracle`): `python tests/golden/generate_clip.py`. Every weight
is drawn from a seed that is the CRC-32 of its published name (see `weights`); only results are
stored.
"""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxreason.models.clip_config import ClipConfig, TowerConfig, clip_settings
from jaxreason.models.clip_names import clip_places
from jaxreason.models.clip_pixels import DEVIATION, MEAN, clip_pixels

GOLDEN = Path(__file__).with_name("clip.npz")
HIGHEST = ClipConfig(
    TowerConfig(layers=2, width=24, heads=3, mlp_width=40),
    TowerConfig(layers=3, width=32, heads=4, mlp_width=48),
    projection=20,
    vocabulary_size=37,
    text_length=9,
    image_size=24,
    patch_size=8,
)
CONFIGS = {
    "highest": HIGHEST,
    "end": replace(HIGHEST, end_token=30, activation="gelu"),
}
_GENERATOR = np.random.default_rng(11)
TOKENS = _GENERATOR.integers(0, 29, (4, 8)).astype(np.int32)
for _row, _end in enumerate((7, 3, 5, 2)):
    # the first end token counts, whatever follows it
    TOKENS[_row, _end:] = 30
PICTURES = [
    _GENERATOR.integers(0, 256, (*size, 3)).astype(np.uint8)
    for size in ((24, 24), (31, 57), (90, 33), (10, 12))
]


def weights(config: ClipConfig) -> dict[str, np.ndarray]:
    """A state dict: matrices divided by the root of their inputs, norms near 1, biases small."""
    arrays = {}
    for name, place in clip_places(config).items():
        generator = np.random.RandomState(zlib.crc32(name.encode()))
        drawn = np.asarray(generator.standard_normal(place.stored))
        if drawn.ndim > 1:
            drawn = drawn / np.sqrt(np.prod(drawn.shape[1:]))
        else:
            drawn = 0.1 * drawn + name.endswith(("weight", "logit_scale"))
        arrays[name] = drawn.astype(np.float32)
    return arrays


def reference(config: ClipConfig, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pixels, features, logits and loss by transformers in float32."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig(**clip_settings(config))).float().eval()
    model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    pixels = reference_pixels(config.image_size)
    texts = torch.tensor(TOKENS.astype(np.int64))
    images = torch.tensor(clip_pixels(PICTURES, config.image_size)).movedim(-1, 1)
    with torch.no_grad():
        out = model(input_ids=texts, pixel_values=images, return_loss=True)
        text = model.text_projection(model.text_model(texts).pooler_output)
        image = model.visual_projection(model.vision_model(images).pooler_output)
    return {
        "pixels": pixels,
        "text_features": text.numpy(),
        "image_features": image.numpy(),
        "logits": out.logits_per_image.numpy(),
        "loss": out.loss.numpy(),
    }


def reference_pixels(size: int) -> np.ndarray:
    """Transformers' preprocessing with Pillow, channels last."""
    import transformers

    processor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=MEAN.tolist(),
        image_std=DEVIATION.tolist(),
    )
    made = [processor(picture, return_tensors="np")["pixel_values"][0] for picture in PICTURES]
    return np.moveaxis(np.stack(made), 1, -1)


def main() -> None:
    """Compute and store the golden values of every configuration."""
    arrays = {
        f"{name}/{key}": value
        for name, config in CONFIGS.items()
        for key, value in reference(config, weights(config)).items()
    }
    np.savez_compressed(GOLDEN, **arrays)  # type: ignore[arg-type]
    print(f"{GOLDEN.name}: {len(arrays)} arrays, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
