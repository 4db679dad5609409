"""VQAv2 as the official scorer counts: normalisation, ten answers, files."""

import itertools
import json
import random

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.vqa_words import CONTRACTIONS, normalise
from jaxreason.evaluation.vision.vqav2 import (
    Annotation,
    check_questions,
    read_annotations,
    read_answers,
    read_questions,
    score_vqav2,
    vqa_accuracy,
)


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("two", "2"),
        ("None", "0"),
        ("eleven", "eleven"),  # the table ends at ten
        ("a man", "man"),
        ("The  end of an era", "end of era"),
        ("dont", "don't"),
        ("it's", "it's"),
        ("its", "its"),  # not in the table
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("Im", "im"),  # the official table has it in upper case only, and answers are lowered
        ("somebody'd", "somebodyd"),  # an official oddity
        ("1,000", "1000"),
        ("1,000 people/day", "1000 peopleday"),  # a comma in a number takes all marks out
        ("people/day", "people day"),
        ("red, white and blue", "red white and blue"),
        ("red,white", "red white"),
        ("red,white, blue", "redwhite blue"),  # a mark beside a space anywhere takes it out
        ("3.5", "3.5"),
        ("3.", "3"),
        ("U.S.A.", "usa"),
        ("5:30", "5:30"),  # no mark of the list
        ("$5", "$5"),
        ("50%", "50%"),
        ("t-shirt", "t shirt"),
        ("what?!", "what"),
        ("'hello'", "'hello'"),
        ("", ""),
        (" . ", ""),
        ("Café", "café"),
        ("ÉCOLE", "école"),
        ("東京", "東京"),
        ("a", ""),
        ("one-two", "1 2"),
        ("." * 40, "." * 8),  # the first 32 only
    ],
)
def test_an_answer_is_normalised_as_the_official_code_does(answer, same):
    assert normalise(answer) == same


def test_contractions_lack_one_apostrophe_and_get_it_back():
    assert len(CONTRACTIONS) == 114  # of the official table, without those that change nothing
    for short, full in CONTRACTIONS.items():
        if short != "somebody'd":
            assert short.replace("'", "") == full.replace("'", "")
            assert short.count("'") == full.count("'") - 1


def by_leaving_one_out(answer, answers):
    """The published definition word by word: each set of nine, min(matches / 3, 1), averaged."""
    sets = itertools.combinations(range(len(answers)), len(answers) - 1)
    values = [min(sum(answers[i] == answer for i in nine) / 3, 1) for nine in sets]
    return sum(values) / len(values)


def test_accuracy_is_that_of_all_sets_of_nine():
    draw = random.Random(0)
    for _ in range(300):
        answers = [draw.choice(["cat", "dog", "cow"]) for _ in range(10)]
        if len(set(answers)) > 1:
            found = vqa_accuracy("cat", answers)
            assert found == pytest.approx(by_leaving_one_out("cat", answers))


@pytest.mark.parametrize(
    ("times", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)]
)
def test_accuracy_by_annotators_that_agree(times, accuracy):
    answers = ["yes"] * times + ["no"] * (10 - times)
    assert vqa_accuracy("Yes", answers) == pytest.approx(accuracy)
    assert vqa_accuracy("yes.", answers) == pytest.approx(accuracy)


def test_where_all_agree_nothing_is_normalised_as_in_the_official_code():
    assert vqa_accuracy("Yes", ["yes"] * 10) == 0
    assert vqa_accuracy(" yes\n", ["yes"] * 10) == 1
    assert vqa_accuracy("Yes", ["yes"] * 10, normalise_unanimous=True) == 1
    assert vqa_accuracy("2", ["two"] * 10) == 0
    assert vqa_accuracy("2", ["two"] * 9 + ["2"]) == 1
    # what differs by white space only is unanimous
    assert vqa_accuracy("Yes", ["yes", "yes\t"] * 5) == 0


def test_ties_and_empty_answers():
    five = ["left"] * 5 + ["right"] * 5
    assert vqa_accuracy("left", five) == vqa_accuracy("right", five) == 1
    assert vqa_accuracy("", five) == 0
    assert vqa_accuracy("the", [""] * 2 + ["x"] * 8) == pytest.approx(0.6)
    with pytest.raises(InputError, match="there is no reference answer"):
        vqa_accuracy("x", [])


def annotation(question, answers, kind="other", words="what is"):
    return {
        "question_type": words,
        "multiple_choice_answer": answers[0],
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": i + 1}
            for i, answer in enumerate(answers)
        ],
        "image_id": question // 1000,
        "answer_type": kind,
        "question_id": question,
    }


@pytest.fixture
def files(tmp_path):
    about = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": "val2014"}
    annotations = [
        annotation(262148000, ["down"] * 3 + ["at table"] * 7),
        annotation(262148001, ["Two"] * 2 + ["3"] * 8, "number", "how many"),
        annotation(393225000, ["no"] * 9 + ["yes"], "yes/no", "is the"),
    ]
    questions = [
        {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
        {"image_id": 262148, "question": "How many?", "question_id": 262148001},
        {"image_id": 393225, "question": "Is the dog wet?", "question_id": 393225000},
    ]
    results = [
        {"question_id": 262148000, "answer": "Down!"},
        {"question_id": 262148001, "answer": "2"},
        {"question_id": 393225000, "answer": "No"},
    ]
    paths = []
    for name, document in (
        ("questions", {**about, "task_type": "Open-Ended", "questions": questions}),
        ("annotations", {**about, "annotations": annotations}),
        ("results", results),
    ):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(document))
    return paths


def test_official_files_are_scored(files):
    subtype, questions = read_questions(files[0])
    assert subtype == "val2014"
    assert questions[2] == (393225000, 393225, "Is the dog wet?")
    report = score_vqav2(read_answers(files[2]), read_annotations(files[1]))
    assert report.metrics == pytest.approx(
        {
            "accuracy": 100 * (0.9 + 0.6 + 1) / 3,
            "accuracy_other": 90,
            "accuracy_number": 60,
            "accuracy_yes/no": 100,
            "accuracy_always_normalised": 100 * 2.5 / 3,
        }
    )
    assert report.count == 3
    assert ("how many", pytest.approx(60), 1) in report.sections[1].rows


def test_answers_and_questions_have_to_fit():
    known = {1: Annotation("a", "b", ("x", "y")), 2: Annotation("a", "b", ("x", "y"))}
    check_questions({1: "", 2: ""}, known, partial=False)
    check_questions({1: ""}, known, partial=True)
    with pytest.raises(InputError, match=r"question 2 has no prediction \(1 of 2\)"):
        check_questions({1: ""}, known, partial=False)
    with pytest.raises(InputError, match=r"question 3 is answered but is not in the data"):
        check_questions({1: "", 3: ""}, known, partial=True)
    with pytest.raises(InputError, match="there is no prediction"):
        check_questions({}, known, partial=True)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (2, lambda d: d[0].pop("answer"), r"results.json, result 0 lacks 'answer'; expected text"),
        (2, lambda d: d[1].update(answer=2), "result 1 has answer 2; expected text"),
        (2, lambda d: d[1].update(question_id="7"), "question_id '7'; expected a whole number"),
        (2, lambda d: d[1].update(question_id=True), "question_id True; expected a whole number"),
        (2, lambda d: d.append(d[0]), "result 3 has the key 262148000 again"),
        (2, lambda d: d.append("x"), "result 3 is 'x'; expected an object"),
        (1, lambda d: d.pop("annotations"), "annotations.json lacks 'annotations'"),
        (1, lambda d: d["annotations"][1].pop("answers"), "annotation 1 lacks 'answers'"),
        (1, lambda d: d["annotations"][1].update(answers=[]), "annotation 1 has no answers"),
        (
            1,
            lambda d: d["annotations"][0]["answers"][3].update(answer_id=1),
            r"annotation 0, answer 3 has the key 1 again",
        ),
        (0, lambda d: d["questions"][2].pop("image_id"), "question 2 lacks 'image_id'"),
    ],
)
def test_files_of_another_form_are_named(files, which, change, message):
    document = json.loads(files[which].read_text())
    change(document)
    files[which].write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        (read_questions, read_annotations, read_answers)[which](files[which])
