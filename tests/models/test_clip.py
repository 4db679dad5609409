"""CLIP against transformers' numbers, stored and live; published sizes, names and pixels."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models.clip import Clip, contrastive_loss
from jaxreason.models.clip_config import (
    CLIP_PRESETS,
    TowerConfig,
    clip_settings,
    config_from_settings,
)
from jaxreason.models.clip_names import BUFFERS, clip_places, from_clip, to_clip
from jaxreason.models.clip_pixels import clip_pixels

_SCRIPT = Path(__file__).parents[1] / "golden" / "generate_clip.py"
_spec = importlib.util.spec_from_file_location("generate_clip", _SCRIPT)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def assert_parity(config, expected):
    model = Clip(config)
    params = from_clip(golden.weights(config), config)

    @jax.jit
    def run(params, tokens, pixels):
        text = model.text_features(params, tokens)
        image = model.image_features(params, pixels)
        logits = model.logits(params, text, image)
        return text, image, logits, contrastive_loss(logits), model.similarity(text, image)

    pixels = clip_pixels(golden.PICTURES, config.image_size)
    # Pillow's rounding to bytes may differ by one step where versions do
    np.testing.assert_allclose(pixels, expected["pixels"], atol=0.02)
    text, image, logits, loss, similarity = run(params, golden.TOKENS, expected["pixels"])
    np.testing.assert_allclose(text, expected["text_features"], atol=2e-5)
    np.testing.assert_allclose(image, expected["image_features"], atol=2e-5)
    np.testing.assert_allclose(logits, expected["logits"], atol=2e-5)
    np.testing.assert_allclose(loss, expected["loss"], atol=2e-5)
    scale = np.exp(golden.weights(config)["logit_scale"])
    np.testing.assert_allclose(similarity * scale, np.diagonal(expected["logits"]), atol=2e-5)


@pytest.mark.parametrize("name", golden.CONFIGS)
def test_features_logits_and_loss_are_those_of_transformers(name):
    stored = np.load(golden.GOLDEN)
    expected = {key[len(name) + 1 :]: stored[key] for key in stored if key.startswith(f"{name}/")}
    assert_parity(golden.CONFIGS[name], expected)


@pytest.mark.oracle
@pytest.mark.parametrize("name", golden.CONFIGS)
def test_the_same_with_the_installed_transformers(name):
    pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")
    pytest.importorskip("transformers", reason="transformers is missing; install extra `oracle`")
    config = golden.CONFIGS[name]
    assert_parity(config, golden.reference(config, golden.weights(config)))


@pytest.mark.parametrize(
    ("name", "count", "names"),
    [
        ("clip_vit_b32", 151_277_313, 398),
        ("clip_vit_b16", 149_620_737, 398),
        ("clip_vit_l14", 427_616_513, 590),
    ],
)
def test_published_sizes(name, count, names):
    config = CLIP_PRESETS[name]
    shapes = jax.eval_shape(Clip(config).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    places = clip_places(config)
    assert len(places) == names
    assert sum(int(np.prod(place.stored)) for place in places.values()) == count


def test_names_both_ways_lose_nothing():
    config = golden.HIGHEST
    weights = golden.weights(config)
    params = from_clip(weights | {name: np.arange(9)[None] for name in BUFFERS}, config)
    shapes = jax.eval_shape(Clip(config).init, jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(shapes)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    back = to_clip(params, config)
    assert list(back) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)


def test_half_precision_files_keep_their_dtype():
    config = golden.HIGHEST
    weights = {name: a.astype(np.float16) for name, a in golden.weights(config).items()}
    params = from_clip(weights, config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float16)}
    assert Clip(config).text_features(params, golden.TOKENS[:1]).dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("visual_projection.weight"), "lack 'visual_projection.weight'"),
        (lambda w: w.update({"lm_head.weight": np.zeros(1)}), "hold 'lm_head.weight'"),
        (
            lambda w: w.update({"text_projection.weight": np.zeros((20, 25))}),
            r"'text_projection.weight' has shape \(20, 25\); .* needs \(20, 24\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, message):
    weights = golden.weights(golden.HIGHEST)
    change(weights)
    with pytest.raises(InputError, match=message):
        from_clip(weights, golden.HIGHEST)


@pytest.mark.parametrize("config", [*golden.CONFIGS.values(), *CLIP_PRESETS.values()])
def test_settings_of_transformers_both_ways(config):
    assert config_from_settings({"model_type": "clip", **clip_settings(config)}) == config


def test_a_published_config_may_leave_fields_out():
    assert config_from_settings({"model_type": "clip"}) == replace(
        CLIP_PRESETS["clip_vit_b32"], end_token=49407
    )
    with pytest.raises(InputError, match="model_type 'siglip'; expected 'clip'"):
        config_from_settings({"model_type": "siglip"})


def test_what_follows_the_end_token_is_not_seen():
    config = golden.CONFIGS["end"]
    model, params = Clip(config), from_clip(golden.weights(config), config)
    tokens = golden.TOKENS.copy()
    tokens[3, 5:] = [1, 2, 3]
    features = jax.jit(model.text_features)
    before = features(params, golden.TOKENS)
    np.testing.assert_array_equal(features(params, tokens), before)
    tokens[3, 1] = 7 if tokens[3, 1] != 7 else 8
    assert np.abs(features(params, tokens)[3] - before[3]).max() > 1e-3


def test_the_loss_is_least_where_pairs_agree():
    assert contrastive_loss(np.eye(4) * 30) < 1e-6
    assert contrastive_loss(np.zeros((4, 4))) == pytest.approx(np.log(4))


CONFIG = golden.HIGHEST


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(CONFIG, patch_size=7), "patch_size 7 does not divide clip.image_size 24"),
        (lambda: replace(CONFIG, end_token=37), "end_token is 37; expected an id below 37"),
        (lambda: replace(CONFIG, activation="relu"), "activation is 'relu'; expected 'quick_gelu'"),
        (lambda: TowerConfig(1, 10, 3, 4), "heads 3 does not divide tower.width 10"),
        (lambda: TowerConfig(0, 10, 2, 4), "tower.layers is 0"),
        (lambda: clip_pixels([], 8), "there is no picture"),
        (lambda: clip_pixels([np.zeros((4, 4), np.uint8)], 8), r"picture 0 has shape \(4, 4\)"),
        (lambda: clip_pixels(np.zeros((1, 4, 4, 4), np.uint8), 8), r"expected \[rows, columns, 3"),
        (lambda: clip_pixels(np.zeros((1, 4, 4, 3)), 8), "dtype float64; expected uint8"),
        (
            lambda: Clip(CONFIG).text_features({"text": {}}, np.zeros((1, 10), int)),
            "texts have 10 tokens; the model takes up to 9",
        ),
        (
            lambda: Clip(CONFIG).image_features({"vision": {}}, np.zeros((1, 8, 8, 3))),
            r"pictures have shape \(1, 8, 8, 3\); expected \[B, 24, 24, 3\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
