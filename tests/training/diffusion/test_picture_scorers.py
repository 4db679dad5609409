"""Models as scorers: CLIP batch by batch, ImageReward's form, and a CLIP trained on mazes."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.data.multimodal.maze_world import MazeWorld, MazeWorldSource
from jaxreason.errors import FailureError, InputError
from jaxreason.models.clip import Clip
from jaxreason.models.clip_names import from_clip
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.models.reward_head import RewardHead
from jaxreason.rewards.image_text import image_text_reward
from jaxreason.training.diffusion.maze_clip import MazeClipConfig, train_maze_clip
from jaxreason.training.diffusion.picture_scorers import (
    check_tokens,
    clip_scorer,
    head_scorer,
    load_clip_scorer,
)
from jaxreason.weights.clip import export_clip

_SCRIPT = Path(__file__).parents[2] / "golden" / "generate_clip.py"
_spec = importlib.util.spec_from_file_location("generate_clip", _SCRIPT)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)
CONFIG = golden.CONFIGS["end"]
MODEL, PARAMS = Clip(CONFIG), from_clip(golden.weights(CONFIG), CONFIG)
PICTURES = np.random.default_rng(3).integers(0, 256, (5, 30, 26, 3)).astype(np.uint8)
TEXTS = ["3 1 4 1", "5", "9 2 6", "28 0", "7 7 7"]


def tokenize(texts):
    rows = [[int(word) for word in text.split()] for text in texts]
    return np.array([row + [30] * (6 - len(row)) for row in rows])


def test_clip_scores_each_pair_whatever_the_batch():
    scores = clip_scorer(MODEL, PARAMS, tokenize, batch_size=2)(TEXTS, PICTURES)

    @jax.jit
    def similarity(params, tokens, pixels):
        text = MODEL.text_features(params, tokens)
        return MODEL.similarity(text, MODEL.image_features(params, pixels))

    pixels = clip_pixels(PICTURES, CONFIG.image_size)
    expected = 100 * np.asarray(similarity(PARAMS, tokenize(TEXTS), pixels))
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert scores.dtype == np.float32
    reward = image_text_reward({"clip": clip_scorer(MODEL, PARAMS, tokenize, scale=1.0)})
    values = reward(TEXTS, PICTURES).values
    np.testing.assert_allclose(values, 0.001 * expected, atol=1e-6)


def test_image_reward_s_form_takes_any_features():
    head = RewardHead(4, (3,))
    params = head.init(jax.random.key(0))

    def features(texts, pictures):
        lengths = np.array([len(text) for text in texts])
        return np.concatenate([lengths[:, None], pictures.mean(axis=(1, 2)) / 255], axis=1)

    scores = head_scorer(features, head, params)(TEXTS, PICTURES)
    np.testing.assert_allclose(scores, head.apply(params, features(TEXTS, PICTURES)), rtol=1e-5)
    assert scores.std() > 0


def test_a_reward_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"the reward model is absent: .*clip is no folder"):
        load_clip_scorer(tmp_path / "clip")


def test_the_package_that_reads_tokenizers_is_named(tmp_path):
    if importlib.util.find_spec("tokenizers"):
        pytest.skip("the package tokenizers is installed")
    with pytest.raises(InputError, match=r"needs the package tokenizers; install the extra `hf`"):
        load_clip_scorer(tmp_path)


def test_a_folder_as_published_gives_the_same_scores(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="install the extra `hf`")
    with pytest.raises(FailureError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        load_clip_scorer(tmp_path)
    export_clip(PARAMS, tmp_path / "clip", CONFIG)
    words = {str(i): i for i in range(29)} | {"<start>": 29, "<end>": 30}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 30)]
    )
    made.save(str(tmp_path / "clip" / "tokenizer.json"))
    texts = [*TEXTS[:4], " ".join(["7"] * 20)]
    longest = [*TEXTS[:4], " ".join(["7"] * 8)]

    def at_full_length(texts):
        rows = [[int(word) for word in text.split()] for text in texts]
        return np.array([row + [30] * (9 - len(row)) for row in rows])

    expected = clip_scorer(MODEL, PARAMS, at_full_length)(longest, PICTURES)
    scores = load_clip_scorer(tmp_path / "clip")(texts, PICTURES)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.full((2, 10), 30), r"ids of shape \(2, 10\); expected \[2, up to 9\]"),
        (np.full((1, 4), 30), r"ids of shape \(1, 4\); expected \[2"),
        (np.array([[1, 30], [37, 30]]), "text 1 has id 37; expected 0 to 36"),
        (np.array([[1, 30], [3, 4]]), "text 1 lacks the end token 30"),
    ],
)
def test_ids_that_do_not_fit_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        check_tokens(tokens, 2, CONFIG)


@pytest.mark.slow
def test_a_clip_trained_on_mazes_tells_its_pictures_apart():
    source = MazeWorldSource(MazeWorld(width=3, height=3, minimum_path_cells=2, count=200))
    config = MazeClipConfig(layers=1, width=32, steps=60, batch=16, learning_rate=3e-3)
    clip = train_maze_clip(source, config)
    assert clip.accuracy.shape == (60,)
    assert clip.accuracy[-10:].mean() > 2 / 16
    problems = [source.problem(i) for i in range(40)]
    pictures = source.codec.decode(np.stack([source.codes(i) for i in range(40)]))
    reward = image_text_reward({"clip": clip.scorer()}, 1.0, clip.describe)
    own, other = reward(problems, pictures), reward(problems, np.roll(pictures, 1, axis=0))
    assert (own.values > other.values).mean() > 0.8
    with pytest.raises(InputError, match="text 0 has 11 words; the model takes up to 10"):
        clip.tokenize([clip.describe(problems[0]) + " wall"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "plan"}, "task is 'plan'"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": 1}, "batch is 1; it must be at least 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        MazeClipConfig(**change)


def test_worlds_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="batch is 64; the world has 10 mazes only"):
        train_maze_clip(MazeWorldSource(MazeWorld(count=10)))
    with pytest.raises(InputError, match="CLIP takes square ones"):
        train_maze_clip(MazeWorldSource(MazeWorld(count=64, width=5, height=4)))
