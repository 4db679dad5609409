"""RL on questions about pictures: what stands before the question, and what is refused."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="install the extra `hf`")

from jaxreason.data.language import DataConfig
from jaxreason.errors import FailureError, InputError
from jaxreason.rewards import Reward
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.language_experiment import DiffusionLanguageReinforcement
from jaxreason.training.diffusion.pictured_prompts import PictureConfig
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import experiment_from_json, read_config

_spec = importlib.util.spec_from_file_location(
    "tiny_seeing_here", Path(__file__).parents[2] / "evaluation/vision/tiny_seeing.py"
)
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny image-text model, its image tokenizer, and CLEVR's questions in their folder."""
    folder = tmp_path_factory.mktemp("seeing")
    tiny.write_model(folder)
    for number in range(4):
        tiny.write_picture(folder / f"clevr/images/train/{number}.png", number)
    questions = [
        {
            "question": "How many cubes are there?" + " Say." * (number % 3),
            "answer": str(number),
            "image_filename": f"{number}.png",
            "split": "train",
            "image_index": number,
        }
        for number in range(4)
    ]
    path = folder / "clevr/questions/CLEVR_train_questions.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"info": {}, "questions": questions}))
    return folder


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def experiment(folder, **fields):
    data = DataConfig(str(folder / "clevr"), known="clevr", split="train", kind="prompts")
    pictures = PictureConfig(str(folder / "pictures"), tiny.SIDE, ids=tiny.IDS)
    return DiffusionLanguageReinforcement(
        base=str(folder / "model"),
        **{
            "data": data,
            "evaluation": data,
            "pictures": pictures,
            "held_out": 2,
            "prompt_tokens": 192,
            "instruction": "none",
            "overrides": {"updates": "2"},
            "rollout": DiffusionRolloutConfig(prompts=2, group=2),
            "decoding": DecodingConfig(length=4, temperature=1.0),
            "optimizer": OptimizerConfig(learning_rate=1e-2, warmup_steps=0, total_steps=4),
            "train": TrainConfig(steps=1, log_every=1, evaluate_every=1),
            **fields,
        },
    )


def asked(e):
    shapes = e.base_shapes()
    coder = e.coder(shapes)
    pictures = e.pictures.coder(shapes.experiment, coder.tokenizer)
    return e.questions(e.records()[0], coder, e.data, pictures)


def test_a_picture_stands_before_its_question_as_mmada_has_it(folder):
    e = experiment(folder)
    task = asked(e)
    prompts = task.prompts([2, 0])
    codec, (mmu, soi, eoi) = task.pictures.codec, tiny.IDS
    for row, index in enumerate((2, 0)):
        tokens = prompts["tokens"][row, : prompts["lengths"][row]]
        assert tokens[:2].tolist() == [mmu, soi]
        codes = tokens[2 : 2 + codec.tokens] - tiny.OFFSET
        assert ((codes >= 0) & (codes < codec.codes)).all()
        assert tokens[2 + codec.tokens] == eoi
        words = task.coder.tokenizer.decode(tokens[3 + codec.tokens :], skip_special=False)
        assert words.startswith("<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nHow")
        assert "<image>" not in words
        assert prompts["lengths"][row] == task.size(index)
    assert not np.array_equal(*prompts["tokens"][:, 2 : 2 + codec.tokens])
    assert e.planned(e.base_shapes())[1]["tokens"].shape[1] >= prompts["tokens"].shape[1]


@pytest.mark.slow
def test_a_run_learns_from_answers_about_pictures(folder, tmp_path, monkeypatch):
    def counted(e):
        def reward(records, texts):
            values = np.array([float(sum(map(str.isascii, text))) for text in texts], np.float32)
            return Reward(values, {})

        return reward

    monkeypatch.setattr(DiffusionLanguageReinforcement, "text_reward", counted)
    e = experiment(folder)
    e.run(tmp_path, progress=False)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert next(row for row in rows if "loss" in row)["gradient_norm"] > 0
    assert experiment_from_json(read_config(tmp_path)) == e


def test_answers_in_words_are_compared_as_words(folder):
    e = experiment(folder, answers="words", recipe="mmada")
    record = dataclasses.replace(asked(e).problem(0).record, answer="cube")
    texts = ["<think> two </think> Cube.", "cube", "It is a cube", "<think> cube", ""]
    assert e.text_reward()([record] * 5, texts).values.tolist() == [2.5, 2.0, 0.0, 0.0, 0.0]


def test_what_does_not_fit_is_named(folder, tmp_path):
    for fields, message in (
        ({"side": 8}, "give pictures.tokenizer"),
        ({"fit": "stretch"}, "pictures.fit is 'stretch'"),
    ):
        with pytest.raises(InputError, match=message):
            PictureConfig(**fields)
    e = experiment(folder)
    for pictures, message in (
        (PictureConfig(), "asks about a picture; give pictures.tokenizer"),
        (dataclasses.replace(e.pictures, side=0), "pictures.side is 0"),
        (dataclasses.replace(e.pictures, ids=None), "ids must be given"),
    ):
        with pytest.raises(InputError, match=message):
            asked(dataclasses.replace(e, pictures=pictures))
    (folder / "clevr/images/train/3.png").rename(folder / "clevr/images/train/9.png")
    with pytest.raises(FailureError, match=r"3\.png' does not exist"):
        asked(e)
    (folder / "clevr/images/train/9.png").rename(folder / "clevr/images/train/3.png")
