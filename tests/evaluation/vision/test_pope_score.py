"""POPE as the official evaluate.py counts."""

import json
import random

import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.vision.pope import (
    category_of,
    pope_metrics,
    read_pope,
    read_pope_questions,
    says_yes,
    score_pope,
)


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes", True),
        ("No", False),
        ("no", False),
        ("NO", True),  # only these three words are a no
        ("No, there is no dog.", False),
        ("There is not.", False),
        ("Yes. No.", True),  # the first sentence only
        ("no,", False),
        ("no!", True),
        ("no\n", True),  # words are what spaces separate
        ("Yes and no", False),
        ("nothing", True),
        ("", True),  # what is not a no is a yes
        (".no", True),
        ("isn't", True),
        ("Non, il n'y en a pas", True),
    ],
)
def test_yes_is_what_is_not_no(answer, yes):
    assert says_yes(answer) is yes


def test_metrics_are_those_of_the_confusion_matrix():
    draw = random.Random(1)
    for _ in range(50):
        said = [draw.random() < 0.6 for _ in range(30)]
        true = [draw.random() < 0.5 for _ in range(30)]
        cells = {(a, b): 0 for a in (0, 1) for b in (0, 1)}
        for a, b in zip(said, true, strict=True):
            cells[int(a), int(b)] += 1
        precision = cells[1, 1] / (cells[1, 1] + cells[1, 0])
        recall = cells[1, 1] / (cells[1, 1] + cells[0, 1])
        assert pope_metrics(said, true) == pytest.approx(
            {
                "accuracy": (cells[1, 1] + cells[0, 0]) / 30,
                "precision": precision,
                "recall": recall,
                "f1": 2 / (1 / precision + 1 / recall),
                "yes_ratio": (cells[1, 1] + cells[1, 0]) / 30,
            }
        )


def test_what_is_not_defined_is_none():
    never = pope_metrics([False, False], [True, False])
    assert (never["precision"], never["recall"], never["f1"]) == (None, 0, None)
    wrong = pope_metrics([True, False], [False, True])
    assert (wrong["precision"], wrong["recall"], wrong["f1"]) == (0, 0, None)
    with pytest.raises(InputError, match="0 answers and 0 labels"):
        pope_metrics([], [])
    with pytest.raises(InputError, match="1 answers and 2 labels"):
        pope_metrics([True], [True, True])


LINES = [
    {"question_id": i + 1, "image": "COCO_val2014_000000310196.jpg", "text": text, "label": label}
    for i, (text, label) in enumerate(
        [
            ("Is there a snowboard in the image?", "yes"),
            ("Is there a backpack in the image?", "no"),
            ("Is there a person in the image?", "yes"),
            ("Is there a car in the image?", "no"),
        ]
    )
]
ANSWERS = ["Yes, there is.", "No.", "not that I can see", "Yes"]


def write(path, lines):
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def test_answers_belong_to_lines_or_to_ids(tmp_path):
    questions = write(tmp_path / "coco_pope_popular.json", LINES)
    assert category_of(questions) == "popular"
    assert category_of(tmp_path / "mine.jsonl") == "mine"
    assert read_pope_questions(questions)[3].present
    official = [
        {"question": line["text"], "answer": answer}
        for line, answer in zip(LINES, ANSWERS, strict=True)
    ]
    ids = [{"question_id": i + 1, "answer": answer} for i, answer in enumerate(ANSWERS)]
    expected = [True, False, False, True], [True, False, True, False]
    assert read_pope(questions, write(tmp_path / "a", official)) == expected
    assert read_pope(questions, write(tmp_path / "b", ids[::-1])) == expected
    assert read_pope(questions, write(tmp_path / "c", ids[1:2]), partial=True) == ([False], [False])
    with pytest.raises(InputError, match=r"question 1 has no prediction \(3 of 4\)"):
        read_pope(questions, write(tmp_path / "d", ids[1:2]))
    with pytest.raises(InputError, match=r"3 answers without question_id, and .* 4 questions"):
        read_pope(questions, write(tmp_path / "e", official[1:]))
    with pytest.raises(InputError, match=r"line 1 answers 'Is there a car in the image\?'; that"):
        read_pope(questions, write(tmp_path / "f", official[::-1]))


def test_categories_stand_side_by_side_with_their_mean():
    said = [True, False, False, True], [True, False, True, False]
    report = score_pope([("random", *said), ("popular", said[1], said[1])])
    assert report.metrics["random_f1"] == 0.5
    assert report.metrics["popular_f1"] == 1
    assert report.metrics["mean_f1"] == 0.75
    assert report.count == 8
    assert [row[0] for row in report.sections[0].rows] == ["random", "popular", "mean"]
    assert "mean_f1" not in score_pope([("random", *said)]).metrics
    undefined = score_pope([("random", [False], [True]), ("popular", *said)])
    assert undefined.metrics["mean_f1"] is None
    with pytest.raises(InputError, match="no file to score"):
        score_pope([])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            '{"question_id": 1, "image": "a", "text": "b", "label": "Yes"}',
            InputError,
            "label 'Yes'",
        ),
        ('{"image": "a", "text": "b", "label": "yes"}', InputError, "line 1 lacks 'question_id'"),
        ("[1]", InputError, r"line 1 is \[1\]; expected an object"),
        ("\n{", FailureError, "line 2 cannot be read as JSON"),
        ('{"a": NaN}', FailureError, "NaN is no number of JSON"),
        ('{"a": 1, "a": 2}', FailureError, "has the key 'a' twice"),
        ("[" * 100_000, FailureError, "it nests too deeply"),
        ("", InputError, "holds no questions"),
    ],
)
def test_questions_of_another_form_are_named(tmp_path, text, error, message):
    (tmp_path / "q").write_text(text)
    with pytest.raises(error, match=message):
        read_pope_questions(tmp_path / "q")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FailureError, match=r"none cannot be read: No such file"):
        read_pope_questions(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(FailureError, match=r"latin is no UTF-8 text"):
        read_pope_questions(tmp_path / "latin")
