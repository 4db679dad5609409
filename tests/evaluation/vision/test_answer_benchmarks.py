"""From official questions to official answers with a tiny image-text model."""

import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="install the extra `hf`")

from jaxreason.cli.main import main
from jaxreason.errors import InputError
from jaxreason.evaluation.vision.answer_settings import SETTINGS, AnswerSettings
from jaxreason.evaluation.vision.answering import (
    Answerer,
    answer_questions,
    vision_tokens,
)
from jaxreason.evaluation.vision.asked import read_asked, write_answers
from jaxreason.evaluation.vision.mme import read_mme
from jaxreason.evaluation.vision.pictures import fitted, read_picture
from jaxreason.evaluation.vision.pope import read_pope
from jaxreason.evaluation.vision.vqav2 import read_answers
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.tokens.layouts import LayoutConfig, mmu_inference
from jaxreason.tokens.multimodal_vocabulary import mmada_ids
from jaxreason.training.diffusion.image_codec import published_codec
from jaxreason.training.pretrained import tokenizer_of
from jaxreason.training.runs import load_run

_spec = importlib.util.spec_from_file_location(
    "tiny_seeing", Path(__file__).with_name("tiny_seeing.py")
)
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

SHORT = AnswerSettings(" Say.", length=4, steps=4, block=4, temperature=1.0, resolution=tiny.SIDE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    tiny.write_model(folder)
    tiny.write_benchmarks(folder)
    return folder


@pytest.fixture(scope="module")
def answerer(folder):
    run = load_run(folder / "model")
    tokenizer = tokenizer_of(folder / "model")
    codec = published_codec(folder / "pictures", tiny.SIDE)
    tokens = vision_tokens(run.experiment, tokenizer, codec, tiny.IDS)
    return Answerer(run.experiment, run.model, run.params, Numbers(tokenizer), codec, tokens)


class Numbers:
    """A tokenizer that gives ids as numbers, so that no two answers look alike."""

    def __init__(self, tokenizer):
        self.size, self.bos, self.encode = tokenizer.size, tokenizer.bos, tokenizer.encode

    def decode(self, ids):
        return " ".join(map(str, ids))


def ask(answerer, folder, out, settings=SHORT, questions=None, **more):
    questions = read_asked("pope", folder / "pope.json") if questions is None else questions
    images = folder / "pope_images"
    more = {"about": {"run": "tiny"}, "batch_size": 2} | more
    return answer_questions(answerer, questions, images, settings, out, **more)


def test_the_prompt_is_that_of_the_layouts(answerer):
    ids = mmada_ids()
    codes, text = np.array([5, 8191, 0]), [1, 2, 126_346, 3]
    tokens = answerer.tokens._replace(
        mmu=ids.mmu, soi=ids.soi, eoi=ids.eoi, bos=ids.bos, image_offset=ids.image_offset
    )

    class Spelled:
        def encode(self, given):
            assert given == "a text"
            return np.array(text, np.int32)

    made = replace(answerer, tokens=tokens, tokenizer=Spelled()).prompt(codes, "a text")
    np.testing.assert_array_equal(made, mmu_inference(LayoutConfig(9, 3, ids), text, codes))
    assert SETTINGS["gqa"].settings.prompt("Who?") == (
        "<|start_header_id|>user<|end_header_id|>\nWho?\nAnswer the question using a single word "
        "or phrase.<eot_id><|start_header_id|>assistant<|end_header_id|>\n"
    )


def test_an_answer_is_that_of_the_model_asked_alone_and_without_padding(answerer, folder, tmp_path):
    greedy = replace(SHORT, temperature=0.0)
    asked = read_asked("pope", folder / "pope.json")
    asked[2] = asked[2]._replace(text=asked[0].text)
    found = ask(answerer, folder, tmp_path / "out", greedy, asked, batch_size=3)
    config = TextDiffusionConfig(length=4, block=4, steps=4, mask_mode="full")
    known = answerer.known
    sampler = diffusion_text(
        answerer.model, config, mask_id=known.mask, eos=known.eos, eot=known.eot, pad=known.eos
    )
    for number, question in enumerate(asked):
        picture = read_picture(folder / "pope_images" / f"{number}.jpg")
        codes = answerer.codec.encode(fitted(picture, tiny.SIDE, "crop")[None])[0]
        ids = answerer.prompt(codes, greedy.prompt(question.text))
        prompts = {"tokens": ids[None], "lengths": np.array([len(ids)])}
        alone = sampler(answerer.params, prompts, jax.random.key(9))
        written = np.asarray(alone.tokens[0, : int(alone.lengths[0])])
        written = written[~np.isin(written, [known.eos, known.eot])]
        assert found[question.key] == answerer.tokenizer.decode(written)
    # the pictures are seen: two with the same question have different answers
    assert len(set(found.values())) == 3


def test_an_interrupted_command_goes_on_to_the_same_answers(answerer, folder, tmp_path):
    whole = ask(answerer, folder, tmp_path / "whole")
    lines = (tmp_path / "whole" / "answers.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    for kept, torn in ((1, b'{"question_id": 2, "ans'), (2, lines[2][:-1])):
        out = tmp_path / f"after_{kept}"
        out.mkdir()
        shutil.copy(tmp_path / "whole" / "answers.json", out)
        (out / "answers.jsonl").write_bytes(b"".join(lines[:kept]) + torn)
        calls = []
        again = ask(answerer, folder, out, on_progress=lambda *done: calls.append(done))  # noqa: B023
        assert again == whole
        assert (out / "answers.jsonl").read_bytes() == b"".join(lines)
        assert calls == [(2, 3), (3, 3)]
    assert ask(answerer, folder, tmp_path / "other", seed=1) != whole


def test_answers_of_other_settings_are_not_mixed(answerer, folder, tmp_path):
    out, first = tmp_path / "out", read_asked("pope", folder / "pope.json")[:1]
    ask(answerer, folder, out, questions=first)
    for change, name in (
        ({"settings": replace(SHORT, suffix="")}, "settings"),
        ({"seed": 1}, "seed"),
        ({"batch_size": 3}, "batch_size"),
        ({"about": {"run": "another"}}, "run"),
    ):
        with pytest.raises(InputError, match=f"has answers of another {name} "):
            ask(answerer, folder, out, **change)
    (out / "answers.json").unlink()
    with pytest.raises(InputError, match=r"answers.jsonl is there without answers.json"):
        ask(answerer, folder, out)
    with pytest.raises(InputError, match="batch_size is 0"):
        ask(answerer, folder, out, batch_size=0)


def test_a_picture_outside_its_folder_is_not_read(answerer, folder, tmp_path):
    tiny.write_picture(tmp_path / "secret.jpg", 1)
    os.symlink(tmp_path / "secret.jpg", folder / "pope_images" / "link.jpg")
    question = read_asked("pope", folder / "pope.json")[0]
    for name, message in (
        ("../secret.jpg", "is no name of a file inside"),
        (str(tmp_path / "secret.jpg"), "is no name of a file inside"),
        ("link.jpg", "is a link that leads out of"),
        ("absent.jpg", "is not in"),
        ("x" * 5000, "is not in"),
        ("a\0b", "is no name of a file inside"),
        ("", "is no name of a file inside"),
    ):
        with pytest.raises(InputError, match=message):
            ask(answerer, folder, tmp_path / "o", questions=[question._replace(images=(name,))])
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("benchmark", sorted(SETTINGS))
def test_every_benchmark_from_questions_to_scores(benchmark, folder, tmp_path, capsys):
    data = folder / ("mme" if benchmark == "mme" else f"{benchmark}.json")
    out = tmp_path / "out"
    command = [
        *("answer", str(folder / "model"), "--benchmark", benchmark, "--data", str(data)),
        *("--images", str(folder / f"{benchmark}_images"), "--out", str(out)),
        *("--image-tokenizer", str(folder / "pictures"), "--resolution", "8"),
        *("--ids", *map(str, tiny.IDS), "--batch-size", "2"),
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "published: " in said
    assert "changed: resolution 8" in said
    path = Path(said.splitlines()[-1].removeprefix("answers: "))
    references = [str(data)]
    if benchmark == "vqav2":
        assert list(read_answers(path)) == [7000, 7001, 7002]
        people = [{"answer": "yes", "answer_id": i} for i in range(10)]
        kinds = {"question_type": "what", "answer_type": "other", "answers": people}
        annotations = [{"question_id": 7000 + i, **kinds} for i in range(3)]
        references = [str(tiny.write(tmp_path / "people.json", {"annotations": annotations}))]
    elif benchmark == "pope":
        assert len(read_pope(data, path)[0]) == 3
    elif benchmark == "mme":
        assert set(read_mme(path)) == {"existence", "color"}
    more = ["--partial"] if benchmark == "mme" else []
    command = ["score", benchmark, "--predictions", str(path), "--data", *references, "--json"]
    assert main([*command, *more]) == 0
    document = json.loads(capsys.readouterr().out)
    counts = {"vqav2": 3, "pope": 3, "gqa": 2, "mme": 4}
    assert (document["benchmark"], document["count"]) == (benchmark, counts[benchmark])
    assert {"questions", "model", "weights"} <= json.loads(
        (out / "answers.json").read_text()
    ).keys()


def test_mme_s_answers_are_written_in_pairs(folder, tmp_path):
    answers = {"color/0": "Yes,\tit is\n so", "color/1": "no", "existence/0": "Yes"}
    path = write_answers("mme", folder / "mme", answers, tmp_path)
    found = read_mme(path)
    assert set(found) == {"color"}
    assert [line.answer for line in found["color"]] == ["Yes, it is so", "no"]


def test_models_that_cannot_be_asked_are_refused(answerer, folder):
    known, tokenizer, codec = answerer.known, answerer.tokenizer, answerer.codec
    cases = (
        (object(), codec, tiny.IDS, "the model is of kind 'maze'; expected imported weights"),
        (replace(known, image_offset=None, image_codes=0), codec, tiny.IDS, "has no image tokens"),
        (known, codec, None, "a vocabulary of 320 ids is not MMaDA's"),
        (known, codec, (10, 11, 302), "ids has 302; expected ids of text, 0 to 301"),
        (replace(known, image_codes=8), codec, tiny.IDS, "has 16 codes and the model 8"),
    )
    for model, pictures, ids, message in cases:
        with pytest.raises(InputError, match=message):
            vision_tokens(model, tokenizer, pictures, ids)


def test_the_published_offset_is_the_tokenizer_s_length(answerer):
    wide = replace(answerer.known.model, vocabulary_size=mmada_ids().size)
    known = replace(answerer.known, model=wide, image_offset=None, image_codes=0)

    class Codec:
        codes = 8192

    class Published:
        size, bos = 126_349, 126_080

    found = vision_tokens(known, Published(), Codec())
    assert found == (126_089, 126_084, 126_085, 126_080, 126_349)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmark", "mmmu"], "benchmark is 'mmmu'; expected one of vqav2"),
        (["--benchmark", "pope", "--limit", "0"], "limit is 0"),
        (["--benchmark", "pope", "--fit", "x"], "fit is 'x'"),
        (["--benchmark", "pope"], "images no is no folder"),
    ],
)
def test_the_command_says_what_does_not_fit(options, message, capsys):
    more = ["--data", "x", "--images", "no", "--image-tokenizer", "y", "--out", "z"]
    assert main(["answer", "nowhere", *more, *options]) == 2
    assert message in capsys.readouterr().err
