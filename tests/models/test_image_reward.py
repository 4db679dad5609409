"""ImageReward against transformers' BLIP, stored and live; published names, sizes and texts."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models.blip import ImageReward
from jaxreason.models.blip_config import ImageRewardConfig, config_from_json, config_from_med
from jaxreason.models.blip_names import UNUSED, image_reward_places
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.models.places import gather, scatter

_SCRIPT = Path(__file__).parents[1] / "golden" / "generate_image_reward.py"
_spec = importlib.util.spec_from_file_location("generate_image_reward", _SCRIPT)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

MODEL = ImageReward(golden.CONFIG)
PARAMS = gather(golden.weights(), image_reward_places(golden.CONFIG))


@jax.jit
def run(tokens, mask, pixels):
    picture = MODEL.picture(PARAMS, pixels)
    features = MODEL.features(PARAMS, tokens, mask, picture)
    return picture, features, MODEL.score(PARAMS, tokens, mask, pixels)


def assert_parity(expected):
    pixels = clip_pixels(golden.PICTURES, 16, round_middle=True)
    np.testing.assert_allclose(pixels, expected["pixels"], atol=0.02)  # Pillow's versions
    picture, features, reward = run(golden.TOKENS, golden.MASK, expected["pixels"])
    np.testing.assert_allclose(picture, expected["picture"], atol=2e-5)
    np.testing.assert_allclose(features, expected["features"], atol=2e-5)
    np.testing.assert_allclose(reward, expected["reward"], atol=2e-5)


def test_picture_features_and_reward_are_those_of_transformers():
    stored = dict(np.load(golden.GOLDEN))
    assert_parity(stored)
    # what is compared varies: with the text, its padding and the picture
    assert np.ptp(stored["reward"]) > 0.1
    assert np.ptp(stored["features"], axis=0).min() > 0.1


@pytest.mark.oracle
def test_the_same_with_the_installed_transformers_blip():
    pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")
    pytest.importorskip("transformers", reason="transformers is missing; install extra `oracle`")
    assert_parity(golden.reference(golden.weights()))


def test_padding_is_not_seen():
    stored = np.load(golden.GOLDEN)
    noisy = np.where(golden.MASK, golden.TOKENS, 17)
    again = run(noisy, golden.MASK, stored["pixels"])
    np.testing.assert_array_equal(again[2], run(golden.TOKENS, golden.MASK, stored["pixels"])[2])
    seen = run(noisy, np.ones_like(golden.MASK), stored["pixels"])
    assert not np.allclose(again[2][1:], seen[2][1:])


def test_published_sizes_and_names():
    config = ImageRewardConfig()
    places = image_reward_places(config)
    shapes = jax.eval_shape(ImageReward(config).init, jax.random.key(0))
    # ViT-L/16 at 224, BERT-base without token types and pooler but with attention to the picture's
    # 1,024 numbers in every layer, and five linear layers
    vision = 1024 * (3 * 256 + 1) + 1024 + 197 * 1024 + 2 * 1024
    vision += 24 * (4 * 1024 + 3 * 1024**2 + 3 * 1024 + 1024**2 + 1024 + 8 * 1024**2 + 5 * 1024)
    self_attention = 4 * (768**2 + 768) + 2 * 768
    cross_attention = 2 * (768**2 + 768) + 2 * (1024 * 768 + 768) + 2 * 768
    mlp = 768 * 3072 * 2 + 3072 + 768 + 2 * 768
    text = (30_524 + 512 + 2) * 768 + 12 * (self_attention + cross_attention + mlp)
    head = 768 * 1024 + 1024 + 1024 * 128 + 128 + 128 * 64 + 64 + 64 * 16 + 16 + 16 + 1
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == vision + text + head
    assert len(places) == 4 + 24 * 12 + 2 + 4 + 12 * 26 + 10
    assert places["blip.visual_encoder.blocks.23.attn.qkv.weight"].stored == (3072, 1024)
    cross = "blip.text_encoder.encoder.layer.11.crossattention.self.key.weight"
    assert places[cross].stored == (768, 1024)
    assert places["mlp.layers.7.weight"].stored == (1, 16)
    assert not set(UNUSED) & set(places)


def test_parameters_go_there_and_back():
    weights = golden.weights()
    back = scatter(PARAMS, image_reward_places(golden.CONFIG))
    assert set(back) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
    drawn = jax.eval_shape(MODEL.init, jax.random.key(0))
    assert jax.tree.map(np.shape, drawn) == jax.tree.map(np.shape, PARAMS)


@pytest.mark.parametrize(("longer", "first"), [(16, 0), (17, 0), (19, 2), (21, 2), (23, 4)])
def test_the_middle_is_where_torchvision_cuts(longer, first):
    # round((longer - 16) / 2), halves to the even number: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4
    picture = np.zeros((16, longer, 3), np.uint8)
    picture[:, first] = 255
    pixels = clip_pixels([picture], 16, round_middle=True)[0]
    assert (pixels[:, 0] > 1).all()
    assert (pixels[:, 1:] < 0).all()


def test_the_published_configuration_of_the_text_is_read():
    published = {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": 30524,
        "encoder_width": 768,
        "add_cross_attention": True,
    }
    assert config_from_med(published) == ImageRewardConfig()
    smaller = config_from_med({**published, "num_hidden_layers": 3, "layer_norm_eps": 1e-5})
    assert (smaller.text.layers, smaller.text_epsilon) == (3, 1e-5)
    with pytest.raises(InputError, match="hidden_act 'relu'; expected 'gelu'"):
        config_from_med({**published, "hidden_act": "relu"})
    with pytest.raises(InputError, match="field 'chunks', which is not known"):
        config_from_med({**published, "chunks": 1})
    with pytest.raises(InputError, match=r"text.layers is 10000000000; it must be at most 1000"):
        config_from_med({**published, "num_hidden_layers": 10**10})
    with pytest.raises(InputError, match="layers 'x'; expected a whole number"):
        config_from_med({**published, "num_hidden_layers": "x"})


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="head takes 768 numbers; the text tower gives 32"):
        ImageRewardConfig(text=golden.CONFIG.text)
    with pytest.raises(InputError, match="text_length is 99; the model has 16 positions"):
        config_from_json({**_fields(), "text_length": 99})
    with pytest.raises(InputError, match="'more' too much or too little"):
        config_from_json({**_fields(), "more": 1})
    with pytest.raises(InputError, match=r"pictures have shape \(1, 8, 8, 3\)"):
        MODEL.picture(PARAMS, np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(InputError, match="texts have 17 tokens; the model takes up to 16"):
        MODEL.features(PARAMS, np.zeros((1, 17), int), np.ones((1, 17), bool), np.zeros((1, 5, 24)))


def _fields():
    import dataclasses

    return dataclasses.asdict(golden.CONFIG)
