"""`jaxreason score`: files in, a table, a document and a folder out; pictures scored by models."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxreason.cli.main import main
from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.vision.benchmarks import check_document
from jaxreason.evaluation.vision.picture_scores import clip_numbers, read_pairs, score_pictures
from jaxreason.evaluation.vision.pictures import fitted, picture_path, read_picture
from jaxreason.models.blip_names import image_reward_places
from jaxreason.models.clip_names import from_clip
from jaxreason.models.places import gather
from jaxreason.training.diffusion.image_reward_scorer import load_image_reward_scorer
from jaxreason.training.diffusion.picture_scorers import load_clip_scorer
from jaxreason.weights.clip import export_clip
from jaxreason.weights.image_reward import export_image_reward

GOLDEN = Path(__file__).parents[1] / "golden"


def script(name):
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


@pytest.fixture
def pope(tmp_path):
    questions = [
        {"question_id": i, "image": "a.jpg", "text": f"Is there a {i}?", "label": label}
        for i, label in enumerate(("yes", "no", "yes"))
    ]
    answers = [{"question_id": i, "answer": a} for i, a in enumerate(("Yes", "Yes", "no"))]
    return (
        lines(tmp_path / "coco_pope_random.json", questions),
        lines(tmp_path / "answers.jsonl", answers),
    )


def test_a_table_a_document_and_a_folder(pope, tmp_path, capsys):
    command = ["score", "pope", "--predictions", pope[1], "--data", pope[0]]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for part in ("POPE, %", "random", "33.33", "66.67", "paper: POPE 86.1 of MMaDA-8B-Max"):
        assert part in said
    document = check_document(tmp_path / "out" / "pope.json")
    assert document["metrics"]["random_accuracy"] == pytest.approx(1 / 3)
    assert document["metrics"]["random_precision"] == 0.5
    assert document["files"] == {"predictions": [pope[1]], "data": [pope[0]]}
    page = (tmp_path / "out" / "pope.md").read_text()
    assert "| random | 33.33 | 50.00 | 50.00 | 50.00 | 66.67 | 3 |" in page
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_what_is_not_defined_is_a_dash(pope, tmp_path, capsys):
    never = lines(tmp_path / "n", [{"question_id": i, "answer": "no"} for i in range(3)])
    assert main(["score", "pope", "--predictions", never, "--data", pope[0]]) == 0
    assert "–" in capsys.readouterr().out


def test_parts_are_scored_when_asked_for(pope, tmp_path, capsys):
    first = lines(tmp_path / "n", [{"question_id": 0, "answer": "yes"}])
    command = ["score", "pope", "--predictions", first, "--data", pope[0]]
    assert main(command) == 2
    assert "question 1 has no prediction (2 of 3)" in capsys.readouterr().err
    assert main([*command, "--partial"]) == 0
    assert "over what is answered only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mmlu", "--predictions", "x"], "benchmark is 'mmlu'; expected one of vqav2, pope"),
        (["pope", "--predictions", "x", "y", "--data", "z"], "predictions has 2 files and data 1"),
        (["vqav2", "--predictions", "x"], "data has 0 files; expected the annotations"),
        (["vqav2", "--predictions", "x", "y", "--data", "z"], "predictions has 2 files; expected"),
        (["gqa", "--predictions", "x"], "expected the questions file"),
        (["mme", "--predictions", "x"], "x is no folder"),
        (["geneval", "--predictions", "x"], "expected evaluation_metadata.jsonl"),
        (["pope", "--predictions", "x", "--consistency"], "consistency is of gqa; pope has none"),
        (["pope", "--predictions", "x", "--model", "y"], "--model is not for pope"),
        (["clip", "--predictions", "x", "--data", "y"], "--data is not for clip"),
        (["clip", "--predictions", "x", "--images", "y"], "clip needs --model"),
        (
            ["image_reward", "--predictions", "x", "--images", "y", "--clipscore-prompt"],
            "--clipscore-prompt is not for image_reward",
        ),
        (["pope", "--predictions", "x", "--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_what_does_not_fit_is_said(words, message, capsys):
    assert main(["score", *words]) == 2
    assert message in capsys.readouterr().err


def test_documents_of_another_kind_are_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="expected what `jaxreason score` writes"):
        check_document(tmp_path / "x.json")


def test_the_forms_in_which_cosines_are_reported():
    found = clip_numbers(np.array([0.3, -0.1, 0.4]))
    assert found == pytest.approx(
        {"clip": 20.0, "clip_floored": 100 * 0.7 / 3, "clipscore": 2.5 * 0.7 / 3}
    )


TEXTS = ["3 1 4 1", "5", "9 2 6"]
PIXELS = [
    np.random.default_rng(i).integers(0, 256, (20 + i, 26, 3)).astype(np.uint8) for i in range(3)
]


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(tmp_path / "images" / f"{i}.png")
    values = [{"image": f"{i}.png", "text": text} for i, text in enumerate(TEXTS)]
    return lines(tmp_path / "pairs.jsonl", values), str(tmp_path / "images")


def test_clip_scores_pictures(pairs, tmp_path, capsys):
    tokenizers = pytest.importorskip("tokenizers", reason="install the extra `hf`")
    golden = script("generate_clip")
    config = golden.CONFIGS["end"]
    export_clip(from_clip(golden.weights(config), config), tmp_path / "clip", config)
    words = {str(i): i for i in range(29)} | {"<start>": 29, "<end>": 30}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 30)]
    )
    made.save(str(tmp_path / "clip" / "tokenizer.json"))
    options = ["--images", pairs[1], "--model", str(tmp_path / "clip"), "--batch-size", "2"]
    assert main(["score", "clip", "--predictions", pairs[0], *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    cosines = load_clip_scorer(tmp_path / "clip", scale=1.0, batch_size=2)(TEXTS, PIXELS)
    assert np.std(cosines) > 0.01
    assert document["metrics"]["clip"] == pytest.approx(100 * cosines.mean(), abs=1e-3)
    spread = 100 * cosines.std(ddof=1) / np.sqrt(3)
    assert document["metrics"]["standard_error"] == pytest.approx(spread, abs=1e-3)
    assert main(["score", "clip", "--predictions", pairs[0], *options, "--clipscore-prompt"]) == 0
    depicted = [f"A photo depicts {text}" for text in TEXTS]
    again = load_clip_scorer(tmp_path / "clip", scale=1.0, batch_size=2)(depicted, PIXELS)
    assert f"{100 * again.mean():.4f}" in capsys.readouterr().out


def test_image_reward_scores_pictures(pairs, tmp_path, capsys):
    tokenizers = pytest.importorskip("tokenizers", reason="install the extra `hf`")
    golden = script("generate_image_reward")
    params = gather(golden.weights(), image_reward_places(golden.CONFIG))
    export_image_reward(params, tmp_path / "model", golden.CONFIG)
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {str(i): 4 + i for i in range(10)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    options = ["--images", pairs[1], "--model", str(tmp_path / "model"), "--batch-size", "2"]
    assert main(["score", "image_reward", "--predictions", pairs[0], *options]) == 0
    expected = load_image_reward_scorer(tmp_path / "model", batch_size=2)(TEXTS, PIXELS)
    said = capsys.readouterr().out
    assert f"{expected.mean():.4f}" in said
    assert "paper: ImageReward 1.15" in said


def test_pictures_are_found_in_their_folder_only(pairs, tmp_path):
    os.symlink(pairs[0], tmp_path / "images" / "out.png")
    os.symlink("0.png", tmp_path / "images" / "in.png")
    assert picture_path(tmp_path / "images", ["in.png"]).name == "in.png"
    for name, message in (
        ("../pairs.jsonl", "no name of a file inside"),
        ("out.png", "a link that leads out"),
        ("9.png", "is not in"),
    ):
        path = lines(tmp_path / "p.jsonl", [{"image": name, "text": "x"}])
        with pytest.raises(InputError, match=rf"p\.jsonl, line 1: the picture .* {message}"):
            read_pairs(path, pairs[1])
    with pytest.raises(InputError, match="holds no pairs"):
        read_pairs(lines(tmp_path / "p.jsonl", []), pairs[1])
    with pytest.raises(InputError, match="images nowhere is no folder"):
        read_pairs(pairs[0], "nowhere")


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(FailureError, match=r"x\.png cannot be read"):
        read_picture(tmp_path / "x.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png has (20000 x 20000|too many) pixels"):
        read_picture(tmp_path / "huge.png")
    Image.new("LA", (3, 2), (200, 0)).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").tolist() == [[[200] * 3] * 3] * 2


def test_crop_and_squash():
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    assert (fitted(wide, 4, "crop") == 255).all()
    squashed = fitted(wide, 4, "squash")
    assert squashed.shape == (4, 4, 3)
    assert squashed[0, 0, 0] < 40
    assert squashed[0, 3, 0] < 40


def test_a_score_that_is_no_number_is_named(pairs):
    read = read_pairs(*pairs)
    with pytest.raises(FailureError, match=r"the score of .*1\.png is nan"):
        score_pictures("clip", read, lambda texts, pictures: np.array([1.0, np.nan, 0.0]))
    report = score_pictures("image_reward", read[:1], lambda texts, pictures: np.array([1.5]))
    assert report.metrics == {"image_reward": 1.5, "standard_error": None}
