"""ImageReward from a folder: its files, its texts, its place among the rewards of pictures."""

import contextlib
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.data.multimodal.maze_world import MazeWorld, MazeWorldSource
from jaxreason.errors import FailureError, InputError
from jaxreason.models.blip import ImageReward
from jaxreason.models.blip_names import image_reward_places
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.models.places import gather
from jaxreason.training.diffusion.image_reward_scorer import (
    Texts,
    bert_tokenize,
    image_reward_scorer,
    load_image_reward_scorer,
)
from jaxreason.training.diffusion.reward_models import picture_scores
from jaxreason.weights.folders import in_memory, save_weights
from jaxreason.weights.image_reward import (
    export_image_reward,
    image_reward_config,
    import_image_reward,
)

tokenizers = pytest.importorskip("tokenizers", reason="install the extra `hf`")

_SCRIPT = Path(__file__).parents[2] / "golden" / "generate_image_reward.py"
_spec = importlib.util.spec_from_file_location("generate_image_reward", _SCRIPT)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "dog", "##s", ",", "[", "]", "dec", "cafe"]
STATE = golden.weights()
PARAMS = gather(STATE, image_reward_places(golden.CONFIG))


def bert_tokenizer(path):
    """A tokenizer.json built as that of bert-base-uncased is."""
    words = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(WORDS[:4])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "model"
    export_image_reward(PARAMS, folder, golden.CONFIG)
    bert_tokenizer(folder / "tokenizer.json")
    return folder


def test_texts_are_read_as_blip_reads_them(folder):
    tokens, mask = bert_tokenize(folder / "tokenizer.json", 9)(
        ["A red DOGS, Café", "", "a a a a a a a a a a", "[DEC] dog [ENC]", "[dec"]
    )
    assert tokens.tolist() == [
        [2, 4, 5, 6, 7, 8, 12, 3, 0],
        [2, 3, 0, 0, 0, 0, 0, 0, 0],
        [2, 4, 4, 4, 4, 4, 4, 4, 3],  # cut, and the end stays
        [2, 13, 6, 14, 3, 0, 0, 0, 0],  # the two tokens that BLIP adds
        [2, 9, 11, 3, 0, 0, 0, 0, 0],
    ]
    assert mask.sum(axis=1).tolist() == [8, 2, 9, 5, 4]


def test_a_folder_gives_the_golden_rewards_whatever_the_batch(folder):
    stored = np.load(golden.GOLDEN)
    model = ImageReward(golden.CONFIG)

    def tokenize(texts):
        rows = [int(text) for text in texts]
        return Texts(golden.TOKENS[rows], golden.MASK[rows])

    score = image_reward_scorer(model, PARAMS, tokenize, batch_size=3)
    found = score(["0", "1", "2", "3"], golden.PICTURES)
    np.testing.assert_allclose(found, stored["reward"], atol=0.02)  # Pillow's versions
    assert found.dtype == np.float32
    assert score([], []).shape == (0,)
    # from the folder, with real texts: as the same ids given to the same model
    texts = ["a red dog", "dogs, a a a a a a a", "", "red"]
    tokens, mask = bert_tokenize(folder / "tokenizer.json", 9)(texts)
    pixels = clip_pixels(golden.PICTURES, 16, round_middle=True)
    expected = np.asarray(jax.jit(model.score)(PARAMS, tokens, mask, pixels))
    np.testing.assert_allclose(
        load_image_reward_scorer(folder, batch_size=3)(texts, golden.PICTURES), expected, atol=1e-4
    )


def test_files_there_and_back_and_what_else_the_published_file_holds(folder, tmp_path):
    config, params = import_image_reward(folder)
    assert config == golden.CONFIG
    more = {
        "blip.text_encoder.embeddings.position_ids": np.arange(16)[None],
        "blip.vision_proj.weight": np.zeros((5, 24), np.float32),
        "blip.text_proj.bias": np.zeros(5, np.float32),
    }
    save_weights(tmp_path / "more", in_memory(STATE | more))
    again = import_image_reward(tmp_path / "more", golden.CONFIG)[1]
    np.testing.assert_array_equal(
        params["text"]["layers"]["cross_key"], again["text"]["layers"]["cross_key"]
    )
    save_weights(tmp_path / "odd", in_memory(STATE | {"blip.extra": np.zeros(2, np.float32)}))
    with pytest.raises(InputError, match=r"ImageReward weights hold 'blip.extra'"):
        import_image_reward(tmp_path / "odd", golden.CONFIG)
    less = {n: a for n, a in STATE.items() if n != "mlp.layers.7.bias"}
    save_weights(tmp_path / "less", in_memory(less))
    with pytest.raises(InputError, match=r"ImageReward weights lack 'mlp.layers.7.bias'"):
        import_image_reward(tmp_path / "less", golden.CONFIG)
    with pytest.raises(InputError, match=r"lack .blip.visual_encoder.blocks.2.norm1.weight. \(and"):
        import_image_reward(tmp_path / "more")  # nothing there says it is not the published shape


def test_a_damaged_shape_is_refused_in_a_sentence(folder, tmp_path):
    kept = json.loads((folder / "jaxreason.json").read_text())
    med = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 31, "layer_norm_eps": 1e-12}
    values = ("null", "true", "-1", "0", "0.5", "1e400", "NaN", "9" * 19, "9" * 5000, '"x"', "[]")
    values = (*values, "{}", "[1, 2]", "[[]]", "[" * 5000, "[" + "9," * 9999 + "9]")
    for name, document, parts in (
        ("jaxreason.json", kept, ([], *([part] for part in ("vision", "text", "head")))),
        ("med_config.json", med, ([],)),
    ):
        for part in parts:
            inside = document["image_reward"] if name == "jaxreason.json" else document
            for step in part:
                inside = inside[step]
            for field in list(inside):
                for value in values:
                    before, inside[field] = inside[field], "<<hole>>"
                    text = json.dumps(document).replace('"<<hole>>"', value)
                    inside[field] = before
                    (tmp_path / name).write_text(text)
                    with contextlib.suppress(InputError, FailureError):
                        image_reward_places(image_reward_config(tmp_path))
        (tmp_path / name).write_text("[]")
        with pytest.raises((InputError, FailureError), match=name):
            image_reward_config(tmp_path)
        (tmp_path / name).unlink()


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "ImageReward.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=r"holds ImageReward\.pt .*pickle .*convert it to safe"):
        load_image_reward_scorer(tmp_path)
    with pytest.raises(InputError, match=r"the reward model is absent: .*none is no folder"):
        load_image_reward_scorer(tmp_path / "none")


def test_a_tokenizer_of_another_kind_is_named(folder, tmp_path):
    other = tmp_path / "tokenizer.json"
    with pytest.raises(FailureError, match="cannot be read as a tokenizer"):
        bert_tokenize(other, 9)
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    made.save(str(other))
    with pytest.raises(InputError, match=r"has no token \[CLS\]; expected BERT's"):
        bert_tokenize(other, 9)
    bare = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bare.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", 3)]
    )
    bare.save(str(other))
    with pytest.raises(InputError, match=r"puts no \[CLS\] before a text"):
        bert_tokenize(other, 9)(["a"])

    def far(texts):
        return Texts(np.full((len(texts), 9), 40), np.ones((len(texts), 9), bool))

    score = image_reward_scorer(ImageReward(golden.CONFIG), PARAMS, far)
    with pytest.raises(InputError, match="text 0 has id 40; expected 0 to 30"):
        score(["a"], golden.PICTURES[:1])
    with pytest.raises(InputError, match="batch_size is 0"):
        image_reward_scorer(ImageReward(golden.CONFIG), PARAMS, far, batch_size=0)


def test_drawn_mazes_are_rewarded_by_it(folder):
    world = MazeWorld(width=3, height=3, count=6, minimum_path_cells=None)
    source = MazeWorldSource(world)
    problems = [source.problem(i) for i in range(3)]
    codes = np.stack([source.codes(i, False) for i in range(3)])
    scores = picture_scores(
        source, "draw_maze", {"correct": 1.0, "image_reward": 0.1}, image_reward_folder=str(folder)
    )
    found = scores(problems, codes)
    texts = [
        source.vocabulary.decode(source.sentences.question("draw_maze", problem, chat=False))
        for problem in problems
    ]
    expected = load_image_reward_scorer(folder)(texts, source.codec.decode(codes))
    np.testing.assert_array_equal(found["image_reward"], expected)
    assert set(found) == {"image_reward"}
    with pytest.raises(InputError, match="image_reward_folder is 'x', but reward has no weight"):
        picture_scores(source, "draw_maze", {"correct": 1.0}, image_reward_folder="x")
