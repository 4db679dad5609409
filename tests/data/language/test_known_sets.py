"""Each provided data set, from a few rows in the layout its publishers use."""

import json

import pytest
from language_files import turn, write_rows

from jaxreason.data.language import DataConfig, read_records
from jaxreason.data.language.known import KNOWN
from jaxreason.data.language.known.mathematics import last_boxed
from jaxreason.errors import FailureError, InputError

GSM8K = {
    "question": "A hen lays 16 eggs a day. How many in 100 days?",
    "answer": "She lays 16*100=<<16*100=1600>>1600 eggs.\n#### 1,600",
}
MATH = {
    "problem": "What is $\\frac12 + \\frac12$, and $x$ if $\\boxed{x}$ holds?",
    "level": "Level 1",
    "type": "Algebra",
    "solution": "First \\boxed{2}, but then \\[\\boxed{\\frac{3}{\\sqrt{4}}}.\\]",
}


def read(name, path, kind, **fields):
    return read_records(DataConfig(known=name, path=str(path), kind=kind, **fields))


@pytest.mark.parametrize("file", ["train.jsonl", "train-00000-of-00001.parquet"])
def test_gsm8k(tmp_path, file):
    write_rows(tmp_path / file, [GSM8K, {**GSM8K, "answer": "#### -3"}])
    prompts = read("gsm8k", tmp_path, "prompts", split="train")
    assert [record.answer for record in prompts] == ["1600", "-3"]
    assert prompts[0].messages == (turn("user", GSM8K["question"]),)
    assert prompts[0].data == {"solution": "She lays 16*100=<<16*100=1600>>1600 eggs."}
    chat = read("gsm8k", tmp_path / file, "chat")
    assert chat[0].messages[1] == turn("assistant", GSM8K["answer"])


def test_math_in_files_by_subject_and_in_tables(tmp_path):
    for split, subject, number in (
        ("train", "algebra", 10),
        ("train", "algebra", 2),
        ("train", "geometry", 1),
        ("test", "algebra", 5),
    ):
        folder = tmp_path / "MATH" / split / subject
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.json").write_text(json.dumps({**MATH, "level": str(number)}))
    records = read("math", tmp_path / "MATH", "prompts", split="train")
    assert [record.data["level"] for record in records] == ["2", "10", "1"]
    assert records[0].answer == r"\frac{3}{\sqrt{4}}"
    assert records[0].where.endswith("train/algebra/2.json")
    assert records[0].messages == (turn("user", MATH["problem"]),)
    assert len(read("math", tmp_path / "MATH" / "test", "chat")) == 1
    table = write_rows(
        tmp_path / "a.parquet", [{**MATH, "answer": None}, {**MATH, "answer": "1.5"}]
    )
    assert [r.answer for r in read("math", table, "prompts")] == [r"\frac{3}{\sqrt{4}}", "1.5"]
    assert read("math", table, "chat")[0].messages[1] == turn("assistant", MATH["solution"])


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"$\boxed{4}$ and $\boxed{5}$.", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"so $\boxed 7$.", "7"),
        (r"\fbox{ yes }", "yes"),
        (r"\boxed{\text{(A)}}", r"\text{(A)}"),
        (r"\boxed{1", None),
        ("4", None),
        (r"\boxedness{3}", None),
    ],
)
def test_the_last_box_is_the_answer(solution, answer):
    assert last_boxed(solution) == answer


def test_math500(tmp_path):
    row = {**MATH, "answer": "1.5", "subject": "Algebra", "unique_id": "test/algebra/1.json"}
    (record,) = read("math500", write_rows(tmp_path / "test.jsonl", [row]), "prompts")
    assert (record.answer, record.data["unique_id"]) == ("1.5", "test/algebra/1.json")


def test_ultrafeedback(tmp_path):
    talk = [turn("user", "Hi?"), turn("assistant", "Good")]
    row = {
        "prompt": "Hi?",
        "prompt_id": "abc",
        "chosen": talk,
        "rejected": [talk[0], turn("assistant", "Bad")],
        "messages": talk,
        "score_chosen": 8.5,
        "score_rejected": 3.0,
    }
    write_rows(tmp_path / "train_prefs-00000-of-00001.parquet", [row] * 2)
    write_rows(tmp_path / "train_sft-00000-of-00001.parquet", [row] * 3)
    records = read("ultrafeedback", tmp_path, "preference", split="train_prefs")
    assert len(records) == 2
    assert records[0].prompt == (turn("user", "Hi?"),)
    assert records[0].rejected == (turn("assistant", "Bad"),)
    assert len(read("ultrafeedback", tmp_path, "chat", split="train_sft")) == 3


@pytest.mark.parametrize("words", ["synset_words.txt", "LOC_synset_mapping.txt", "words.txt"])
def test_imagenet_captions(tmp_path, words):
    mark = "\t" if words == "words.txt" else " "
    names = ("n01440764", "tench, Tinca tinca"), ("n01443537", "goldfish, Carassius auratus")
    (tmp_path / words).write_text("".join(f"{s}{mark}{n}\n" for s, n in names))
    for synset, count in (("n01443537", 2), ("n01440764", 1)):
        (tmp_path / "train" / synset).mkdir(parents=True)
        for i in range(count):
            (tmp_path / "train" / synset / f"{synset}_{i}.JPEG").write_bytes(b"jpeg")
    records = read("imagenet_captions", tmp_path, "image_text", split="train")
    assert [record.caption for record in records] == ["tench", "goldfish", "goldfish"]
    assert all(record.image.is_file() for record in records)
    assert records[2].image == tmp_path / "train/n01443537/n01443537_1.JPEG"
    assert records[2].data["names"] == "goldfish, Carassius auratus"
    beside = read("imagenet_captions", tmp_path / "train", "image_text")
    assert beside[1].image == records[1].image
    (tmp_path / "train" / "n00000001").mkdir()
    with pytest.raises(InputError, match=r"class 'n00000001' .* has no name"):
        read("imagenet_captions", tmp_path / "train", "image_text")
    (tmp_path / words).write_text("tench\n")
    with pytest.raises(InputError, match="line 1: 'tench'; expected a class and its names"):
        read("imagenet_captions", tmp_path / "train", "image_text")


def test_llava(tmp_path):
    row = {
        "id": "000000033471",
        "image": "coco/train2017/000000033471.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat colour is the bus?"},
            {"from": "gpt", "value": "White and red."},
            {"from": "human", "value": "Is it moving?"},
            {"from": "gpt", "value": "No."},
        ],
    }
    without = {"id": "text", "conversations": row["conversations"][2:]}
    path = write_rows(tmp_path / "llava_instruct_150k.json", [row, without])
    records = read("llava", path, "image_text", images="pictures")
    assert str(records[0].image) == "pictures/coco/train2017/000000033471.jpg"
    assert [message["role"] for message in records[0].messages] == ["user", "assistant"] * 2
    assert records[0].data == {"id": "000000033471"}
    assert records[1].image is None


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "train.jsonl"])
def test_geoqa_in_the_form_of_r1v(tmp_path, name):
    image = {"bytes": b"png", "path": None} if name.endswith("parquet") else "1.png"
    row = {"image": image, "problem": "Find x.", "solution": "<answer> 145° </answer>"}
    write_rows(tmp_path / name, [row])
    (prompt,) = read("geoqa", tmp_path, "prompts", split="train")
    assert (prompt.answer, prompt.data) == ("145°", {"image": image})
    assert prompt.messages == (turn("user", "<image>\nFind x."),)
    (record,) = read("geoqa", tmp_path / name, "image_text")
    assert record.image == (b"png" if name.endswith("parquet") else tmp_path / "1.png")
    assert record.messages == (turn("user", "<image>\nFind x."), turn("assistant", "145°"))


def test_clevr(tmp_path):
    question = {
        "split": "train",
        "image_index": 0,
        "image_filename": "CLEVR_train_000000.png",
        "question": "Are there more big green things than large purple shiny cubes?",
        "answer": "yes",
        "program": [{"function": "scene", "inputs": [], "value_inputs": []}],
        "question_index": 0,
        "question_family_index": 2,
    }
    info = {"split": "train", "license": "Creative Commons Attribution (CC BY 4.0)"}
    (tmp_path / "questions").mkdir()
    content = {"info": info, "questions": [question, {**question, "answer": "2"}]}
    (tmp_path / "questions/CLEVR_train_questions.json").write_text(json.dumps(content))
    records = read("clevr", tmp_path, "image_text", split="train")
    assert records[0].image == tmp_path / "images/train/CLEVR_train_000000.png"
    assert records[1].messages[1] == turn("assistant", "2")
    (first, _) = read("clevr", tmp_path, "prompts", split="train")
    assert (first.answer, first.data["image_filename"]) == ("yes", "CLEVR_train_000000.png")
    with pytest.raises(FailureError, match=r"CLEVR_val_questions\.json"):
        read("clevr", tmp_path, "image_text", split="val")
    with pytest.raises(InputError, match=r"data\.split is ''; clevr has train and val"):
        read("clevr", tmp_path, "image_text")
    del question["answer"]
    content = {"info": info, "questions": [question]}
    (tmp_path / "questions/CLEVR_test_questions.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="item 1: no answer; CLEVR's test split has none"):
        read("clevr", tmp_path, "image_text", split="test")


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_other_files_are_refused_with_what_they_have(tmp_path, name):
    known = KNOWN[name]
    assert known.source
    assert known.licence
    assert known.disk
    path = write_rows(tmp_path / "a.jsonl", [{"text": "a", "label": 3}])
    with pytest.raises((InputError, FailureError), match=r"'text'|a\.jsonl"):
        read(name, path, known.kinds[0], split="train" if name == "clevr" else "")
    with pytest.raises(InputError, match=f"data.kind is 'text'; {name} has"):
        read(name, path, "text")
    with pytest.raises(InputError, match=r"data\.path is ''; expected "):
        read_records(DataConfig(known=name, kind=known.kinds[0]))


def test_settings_that_a_known_layout_does_not_need(tmp_path):
    with pytest.raises(InputError, match=r"data\.known is 'gsm'; expected one of gsm8k, math"):
        read("gsm", tmp_path, "chat")
    with pytest.raises(InputError, match="says what the columns mean"):
        read("gsm8k", tmp_path, "chat", columns={"question": "q"})
    with pytest.raises(InputError, match="says what the columns mean"):
        read("gsm8k", tmp_path, "prompts", answer_mark="=")
