"""Questions are read from official files, and bad ones are named by file and line."""

import json

import numpy as np
import pyarrow
import pytest
from benchmark_files import GSM8K, MATH500, write_lines, write_mmlu
from pyarrow import parquet

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.benchmarks.questions import read_questions


def test_gsm8k_and_math500(tmp_path):
    found = read_questions("gsm8k", write_lines(tmp_path / "test.jsonl", GSM8K)).questions
    assert len(found) == 12
    assert (found[-1].name, found[-1].text) == ("11", GSM8K[-1]["question"])
    assert found[-1].answer.endswith("#### 1,500")
    first = read_questions("math500", write_lines(tmp_path / "math.jsonl", MATH500)).questions[0]
    assert (first.answer, first.subject) == ("\\frac{1}{2}", "Prealgebra")
    assert first.name == "test/prealgebra/1.json"
    assert first.solution.startswith("It is")


def test_mmlu_of_the_authors_and_as_rows(tmp_path):
    folder = write_mmlu(tmp_path / "test", "test")
    found = read_questions("mmlu", folder).questions
    assert [q.subject for q in found] == ["anatomy", "anatomy", "high_school_physics"]
    assert [q.answer for q in found] == ["A", "B", "C"]
    assert found[1].text == "Where is the heart, \nroughly?"
    assert found[1].choices == ("in the hand", "in the chest", "a, b", "none")
    rows = [
        {"question": q.text, "subject": q.subject, "choices": q.choices, "answer": place}
        for place, q in enumerate(found)
    ]
    again = read_questions("mmlu", write_lines(tmp_path / "mmlu.jsonl", rows)).questions
    assert [(q.text, q.choices, q.answer) for q in again] == [
        (q.text, q.choices, q.answer) for q in found
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "mmlu.parquet")
    assert read_questions("mmlu", str(tmp_path / "mmlu.parquet")).questions == again


def test_other_choices_in_both_of_their_layouts(tmp_path):
    texts, labels = ["dry", "wet", "cold"], ["A", "B", "C"]
    hub = {
        "id": "Q1",
        "question": "How is rain?",
        "choices": {"text": texts, "label": labels},
        "answerKey": "B",
    }
    pairs = [{"text": t, "label": x} for t, x in zip(texts, labels, strict=True)]
    authors = {
        "id": "Q1",
        "question": {"stem": "How is rain?", "choices": pairs},
        "answerKey": "B",
    }
    read = [
        read_questions("arc_challenge", write_lines(tmp_path / "arc.jsonl", [row])).questions[0]
        for row in (hub, authors)
    ]
    assert read[0] == read[1]
    assert (read[0].name, read[0].answer, read[0].solution) == ("Q1", "B", "wet")
    hub = {"question": "Is it?", "mc1_targets": {"choices": ["yes", "no"], "labels": [0, 1]}}
    authors = {"question": "Is it?", "mc1_targets": {"yes": 0, "no": 1}}
    (tmp_path / "mc_task.json").write_text(json.dumps([authors]))
    one = read_questions("truthfulqa_mc1", write_lines(tmp_path / "tqa.jsonl", [hub])).questions
    assert one == read_questions("truthfulqa_mc1", str(tmp_path / "mc_task.json")).questions
    assert one[0].answer == "B"


def test_the_digest_tells_files_apart(tmp_path):
    digests = {
        read_questions("gsm8k", write_lines(tmp_path / f"{n}.jsonl", GSM8K[:n])).digest
        for n in (1, 2)
    }
    digests.add(read_questions("mmlu", write_mmlu(tmp_path / "a", "test")).digest)
    digests.add(read_questions("mmlu", write_mmlu(tmp_path / "b", "test", 2)).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("benchmark", "row", "words"),
    [
        ("gsm8k", {"question": "a", "answer": "no mark"}, "has nothing after '####'"),
        ("gsm8k", {"question": "a", "answer": "#### "}, "has nothing after '####'"),
        ("gsm8k", {"question": " ", "answer": "#### 1"}, "question is empty"),
        ("gsm8k", {"problem": "a", "answer": "#### 1"}, "lacks 'question'; expected str"),
        ("math500", {"problem": "a", "answer": "1"}, "lacks 'solution'"),
        ("mmlu", {"question": "a", "choices": ["b"] * 4, "answer": 4}, "number 4 of 4 choices"),
        ("mmlu", {"question": "a", "choices": ["b"] * 3, "answer": 1}, "3 choices; expected 4"),
        ("mmlu", {"question": "a", "choices": ["b"] * 4, "answer": "E"}, "answer 'E'"),
        ("mmlu", {"question": "a", "choices": "bcde", "answer": 0}, "expected a list of texts"),
        ("mmlu", {"question": "a", "choices": ["b", 1, "c", "d"], "answer": 0}, "list of texts"),
        (
            "arc_challenge",
            {"question": "a", "choices": {"text": ["b", "c"], "label": ["1", "2"]}, "answerKey": 1},
            "answerKey 1; expected str",
        ),
        (
            "truthfulqa_mc1",
            {"question": "a", "mc1_targets": {"choices": ["b", "c"], "labels": [1, 1]}},
            "expected a single 1",
        ),
    ],
)
def test_a_bad_question_is_named(tmp_path, benchmark, row, words):
    path = tmp_path / "bad.jsonl"
    write_lines(path, [row])
    with pytest.raises(InputError, match=words) as found:
        read_questions(benchmark, str(path))
    assert str(found.value).startswith(f"{path}, line 1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c,d,A\n", "line 1: 5 columns; expected question, four choices"),
        ("q,a,b,c,d,A\nq,a,b,c,d,E\n", "line 2: has answer 'E'"),
        ('q,"a"x,b,c,d,A\n', "line 1"),
    ],
)
def test_a_bad_line_of_mmlu_is_named(tmp_path, text, words):
    (tmp_path / "anatomy_test.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_questions("mmlu", str(tmp_path))


def test_a_thousand_damaged_files_give_a_sentence_each(tmp_path):
    folder = write_mmlu(tmp_path / "mmlu", "test")
    good = (tmp_path / "mmlu" / "anatomy_test.csv").read_bytes()
    random = np.random.default_rng(0)
    said, path = [], tmp_path / "mmlu" / "anatomy_test.csv"
    for _ in range(1000):
        data = bytearray(good)
        for place in random.integers(0, len(data), 3):
            data[place] = random.choice(list(b'"\n\r,\x00\xff E'))
        path.write_bytes(bytes(data[: random.integers(1, len(data) + 1)]))
        try:
            read_questions("mmlu", folder)
        except (InputError, FailureError) as error:
            said.append(str(error))
    assert len(said) > 500
    assert all("anatomy_test.csv" in words and "\n" not in words for words in said)


def test_what_cannot_be_read(tmp_path):
    folder = write_mmlu(tmp_path / "mmlu", "test")
    with pytest.raises(InputError, match="no CSV file with 'dev' in its name"):
        read_questions("mmlu", folder, "dev")
    with pytest.raises(FailureError, match=r"nothing.csv cannot be read"):
        read_questions("mmlu", str(tmp_path / "nothing.csv"))
    with pytest.raises(FailureError, match="no such file"):
        read_questions("gsm8k", str(tmp_path / "nothing.jsonl"))
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe,b")
    with pytest.raises(FailureError, match=r"a\.csv cannot be read"):
        read_questions("mmlu", str(tmp_path))
