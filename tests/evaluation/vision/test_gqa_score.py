"""GQA as the official eval.py counts, over the measures that need no attention maps."""

import json

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.gqa import (
    distribution_distance,
    read_gqa_answers,
    read_gqa_choices,
    read_gqa_questions,
    score_gqa,
)


def question(answer, **changes):
    steps = [
        {"operation": "select", "dependencies": [], "argument": "dog (1)"},
        {"operation": "filter color", "dependencies": [0], "argument": "red"},
        {"operation": "query: name", "dependencies": [1], "argument": "name"},
    ]
    steps[2] = {"operation": "query", "dependencies": [1], "argument": "name"}
    return {
        "semantic": steps,
        "entailed": [],
        "equivalent": [],
        "question": "What is the red animal?",
        "imageId": "2405722",
        "isBalanced": True,
        "groups": {"global": "animal", "local": "06-dog"},
        "answer": answer,
        "semanticStr": "",
        "annotations": {},
        "types": {"detailed": "categoryThis", "semantic": "cat", "structural": "query"},
        "fullAnswer": "",
        **changes,
    }


def types(structural, semantic="attr", detailed="existAttr"):
    return {"types": {"detailed": detailed, "semantic": semantic, "structural": structural}}


QUESTIONS = {
    "1": question("dog", entailed=["1", "3", "4"]),
    "2": question("cat"),
    "3": question("yes", **types("verify"), groups={"global": None, "local": "x"}),
    "4": question("no", **types("logical", "obj"), isBalanced=False),
    "5": question("color", **types("compare", detailed="twoCommon"), entailed=["4"]),
}
ANSWERS = {"1": "dog", "2": "dog", "3": "yes", "4": "yes", "5": "shape"}
CHOICES = {
    "1": {"valid": ["dog", "cat"], "plausible": ["dog"]},
    "2": {"valid": ["dog", "cat"], "plausible": ["cat"]},
    "3": {"valid": ["yes", "no"], "plausible": ["yes", "no"]},
    "4": {"valid": [], "plausible": []},
    "5": {"valid": [], "plausible": []},
}


@pytest.fixture
def files(tmp_path):
    predictions = [{"questionId": k, "prediction": v} for k, v in ANSWERS.items()]
    paths = []
    for name, document in (
        ("questions", QUESTIONS),
        ("predictions", predictions),
        ("choices", CHOICES),
    ):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(document))
    return paths


def test_official_files_are_scored(files):
    read = read_gqa_answers(files[1]), read_gqa_questions(files[0]), read_gqa_choices(files[2])
    report = score_gqa(*read, consistent=True)
    assert report.metrics == pytest.approx(
        {
            "binary": 50.0,  # verify right, compare wrong; the logical one is not balanced
            "open": 50.0,
            "accuracy": 50.0,
            "consistency": 50.0,  # of question 1 only: 3 right, 4 wrong, itself left out
            "validity": 100.0,  # "shape" is something that two things may have in common
            "plausibility": 75.0,
            # animal: dog 1 of 1 but predicted twice, cat 1 predicted never, "shape" never right;
            # color: predicted never
            "distribution": ((1 + 1 + 1) * 3) / 3 / 100,
        }
    )
    assert report.count == 4
    tables = {section.title: section.rows for section in report.sections}
    assert tables["accuracy by semantic type, %"] == (("attribute", 50.0, 2), ("category", 50.0, 2))
    assert tables["accuracy by structural type, %"][-1] == ("verify", 100.0, 1)
    assert tables["accuracy by words, %"] == (("5", 50.0, 4),)


@pytest.mark.parametrize(
    ("operation", "argument", "counted"),
    [
        ("exist", "?", 0),
        ("query", "name", 0),
        ("choose name", "a|b", 0),
        ("query", "color", 1),
        ("select", "existence", 0),  # the words are looked for anywhere in "operation: argument"
        ("relate", "dog,on,s (2)", 1),
    ],
)
def test_steps_that_do_not_count(tmp_path, operation, argument, counted):
    step = {"operation": operation, "argument": argument}
    path = tmp_path / "q.json"
    path.write_text(json.dumps({"1": question("dog", semantic=[step])}))
    assert read_gqa_questions(path)["1"].steps == counted


def test_answers_are_compared_letter_by_letter(files):
    questions = read_gqa_questions(files[0])
    for wrong in ("Dog", "dog.", " dog", "a dog", ""):
        assert score_gqa({"1": wrong}, questions).metrics["accuracy"] == 0
    report = score_gqa({"1": "dog"}, questions)
    assert report.metrics["accuracy"] == 100
    for undefined in ("binary", "consistency", "validity", "plausibility"):
        assert report.metrics[undefined] is None


def test_the_distribution_is_a_weighted_chi_square():
    gold = {"a": {"x": 4, "y": 1}, "b": {"z": 2}}
    assert distribution_distance(gold, gold) == 0
    predicted = {"a": {"x": 2, "w": 3}, "b": {"z": 4}}
    expected = ((4 / 4 + 1 / 1) * 5 + (4 / 2) * 2) / 7 / 100
    assert distribution_distance(gold, predicted) == pytest.approx(expected)
    assert distribution_distance({}, {}) is None


def test_consistency_needs_every_entailed_question(files):
    questions = read_gqa_questions(files[0])
    with pytest.raises(InputError, match=r"'4', which '1' entails, has no prediction"):
        score_gqa({k: v for k, v in ANSWERS.items() if k != "4"}, questions, consistent=True)
    fewer = {k: v for k, v in questions.items() if k != "4"}
    answers = {k: v for k, v in ANSWERS.items() if k != "4"}
    with pytest.raises(InputError, match=r"'4', which '1' entails, is not in the data"):
        score_gqa(answers, fewer, consistent=True)


def test_what_does_not_fit_is_named(files):
    questions, choices = read_gqa_questions(files[0]), read_gqa_choices(files[2])
    with pytest.raises(InputError, match="question '9' is answered but is not in the data"):
        score_gqa({"9": ""}, questions)
    with pytest.raises(InputError, match="no balanced question is answered"):
        score_gqa({"4": "no"}, questions)
    with pytest.raises(InputError, match="question '1' is not in the choices"):
        score_gqa({"1": "dog"}, questions, {"2": choices["2"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q.pop("types"), "question '1' lacks 'types'"),
        (lambda q: q["types"].pop("semantic"), "question '1', types lacks 'semantic'"),
        (lambda q: q["groups"].update({"global": 3}), "global 3; expected text"),
        (lambda q: q.update(isBalanced=1), "isBalanced 1; expected true or false"),
        (lambda q: q.update(entailed=[2]), "has 2 in entailed; expected texts"),
        (lambda q: q["semantic"].append(0), "step 3 is 0; expected an object"),
        (lambda q: q.update(answer=None), "answer None; expected text"),
    ],
)
def test_questions_of_another_form_are_named(tmp_path, change, message):
    changed = question("dog")
    change(changed)
    path = tmp_path / "q.json"
    path.write_text(json.dumps({"1": changed}))
    with pytest.raises(InputError, match=message):
        read_gqa_questions(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="expected an object of questions by id"):
        read_gqa_questions(path)
