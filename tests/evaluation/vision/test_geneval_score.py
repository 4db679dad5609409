"""GenEval's verdicts and its report, by the rules of the official scripts."""

import json
import math

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.geneval import read_pictures, read_prompts, score_geneval
from jaxreason.evaluation.vision.geneval_rules import (
    Detection,
    Prompt,
    Wanted,
    judge,
    kept,
    relations,
)


def at(x, y, side=10, score=0.95, colour=None):
    return Detection((x - side / 2, y - side / 2, x + side / 2, y + side / 2), score, colour)


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (-50, 0, {"left of"}),
        (50, 0, {"right of"}),
        (0, -50, {"above"}),  # y grows downwards
        (0, 50, {"below"}),
        (50, 50, {"right of", "below"}),
        (50, 26, {"right of"}),  # (48, 24) shortened by 2, over hypot(50, 26)
        (1.9, 1.9, set()),  # within a tenth of both sizes
        (2.1, 0, set()),  # 0.1 / 2.1
        (0, 0, set()),
        (4.1, 0, {"right of"}),  # 2.1 / 4.1
        (3.9, 0, set()),  # 1.9 / 3.9
    ],
)
def test_where_one_object_is_seen_from_another(x, y, found):
    assert relations(at(x, y), at(0, 0)) == found


def test_the_offset_is_shortened_by_a_tenth_of_both_sizes():
    # centres 30 apart; widths 100 and 40 take 14; 16 / 30 > 0.5, with 45 more of width not
    assert relations(at(30, 0, 100), at(0, 0, 40)) == {"right of"}
    assert relations(at(30, 0, 100), at(0, 0, 60)) == set()
    x, y = 40.0, 20.0
    expected = (y - 2) / math.hypot(x, y) > 0.5
    assert ("below" in relations(at(x, y), at(0, 0))) == expected


def test_what_counts_is_confident_and_the_most_confident_first():
    seen = {
        "dog": [at(0, 0, score=s) for s in (0.3, 0.31, 0.95, 0.9)],
        "cat": [at(0, 0, score=0.1)],
        "cow": [at(0, 0, score=0.5 + i / 100) for i in range(20)],
    }
    found = kept(seen, "two_object")
    assert [one.score for one in found["dog"]] == [0.95, 0.9, 0.31]
    assert "cat" not in found
    assert len(found["cow"]) == 16
    assert found["cow"][0].score == pytest.approx(0.69)
    assert [one.score for one in kept(seen, "counting")["dog"]] == [0.95]
    overlapping = {"dog": [at(0, 0), at(1, 0, score=0.94), at(50, 0, score=0.93)]}
    assert len(kept(overlapping, "counting")["dog"]) == 3
    assert [one.score for one in kept(overlapping, "counting", 0.5)["dog"]] == [0.95, 0.93]


def prompt(tag, *include, exclude=()):
    return Prompt(tag, "a photo", tuple(include), tuple(exclude))


def test_objects_and_counts():
    two = prompt("two_object", Wanted("dog", 1), Wanted("cat", 1))
    assert judge(two, {"dog": [at(0, 0)], "cat": [at(0, 0)]}).correct
    verdict = judge(two, {"dog": [at(0, 0)]})
    assert not verdict.correct
    assert verdict.reason == "1 cat wanted, 0 seen"
    three = prompt("counting", Wanted("dog", 3), exclude=[Wanted("dog", 4)])
    for count in range(6):
        assert judge(three, {"dog": [at(0, 0)] * count}).correct == (count == 3)


def test_colours_are_those_of_the_most_confident():
    red = prompt("colors", Wanted("dog", 1, "red"))
    assert judge(red, {"dog": [at(0, 0, colour="red"), at(0, 0, colour="blue")]}).correct
    assert not judge(red, {"dog": [at(0, 0, colour="blue"), at(0, 0, colour="red")]}).correct
    both = prompt("color_attr", Wanted("dog", 1, "red"), Wanted("cat", 1, "blue"))
    seen = {"dog": [at(0, 0, colour="blue")], "cat": [at(0, 0, colour="red")]}
    assert judge(both, seen).reason == "1 red dog wanted, 0 seen; 1 blue cat wanted, 0 seen"


def test_places_are_relative_to_the_objects_of_an_earlier_clause():
    left = prompt("position", Wanted("cat", 1), Wanted("dog", 1, None, ("left of", 0)))
    cat = [at(100, 0)]
    assert judge(left, {"cat": cat, "dog": [at(0, 0)]}).correct
    verdict = judge(left, {"cat": cat, "dog": [at(200, 0), at(0, 0)]})
    assert verdict.reason == "dog wanted left of the other, seen right of"
    assert "what was not seen" in judge(left, {"dog": [at(0, 0)]}).reason
    near = judge(left, {"cat": cat, "dog": [at(100, 0)]})
    assert near.reason.endswith("seen near")


METADATA = [
    {
        "tag": "single_object",
        "include": [{"class": "cow", "count": 1}],
        "prompt": "a photo of a cow",
    },
    {
        "tag": "colors",
        "include": [{"class": "dog", "count": 1, "color": "red"}],
        "prompt": "a photo of a red dog",
    },
    {
        "tag": "position",
        "include": [
            {"class": "cat", "count": 1},
            {"class": "dog", "count": 1, "position": ["left of", 0]},
        ],
        "prompt": "a photo of a dog left of a cat",
    },
    {
        "tag": "counting",
        "include": [{"class": "cow", "count": 2}],
        "exclude": [{"class": "cow", "count": 3}],
        "prompt": "a photo of two cows",
    },
]


def box(x, score=0.95, **more):
    return {"box": [x, 0, x + 10, 10], "score": score, **more}


def picture(which, detections, number=0):
    return {
        "filename": f"0000{which}/samples/000{number}.png",
        "metadata": METADATA[which] if number else json.dumps(METADATA[which]),
        "detections": detections,
    }


PICTURES = [
    picture(0, {"cow": [box(0)]}),
    picture(0, {"dog": [box(0)]}, 1),
    picture(1, {"dog": [box(0, color="red"), box(50, 0.4, color="blue")], "cat": [box(9)]}),
    picture(2, {"dog": [box(100)], "cat": [box(0)]}),
    picture(3, {"cow": [box(0), box(30), box(60, 0.8)]}),  # the third is not confident enough
]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_detector_s_file_becomes_the_official_numbers(tmp_path):
    prompts = read_prompts(write(tmp_path / "metadata.jsonl", METADATA))
    report = score_geneval(read_pictures(write(tmp_path / "seen.jsonl", PICTURES), prompts))
    assert report.metrics == pytest.approx(
        {
            "overall": (0.5 + 1 + 1 + 0) / 4,
            "single_object": 0.5,
            "counting": 1.0,
            "colors": 1.0,
            "position": 0.0,
            "correct_images": 3 / 5,
            "correct_prompts": 3 / 4,
            "prompts": 4,
        }
    )
    assert report.count == 5
    assert "not in the mean: two_object, color_attr" in report.notes[1]
    few = write(tmp_path / "few.jsonl", PICTURES[:3])
    with pytest.raises(InputError, match=r"no picture for the prompt 'a photo of a dog left of a"):
        read_pictures(few, prompts)
    with pytest.raises(InputError, match="'a photo of a cow', which is not in the data"):
        read_pictures(few, prompts[1:])


def test_official_results_are_taken_as_judged(tmp_path):
    lines = [
        {
            "filename": "x.png",
            "tag": METADATA[i]["tag"],
            "prompt": METADATA[i]["prompt"],
            "correct": correct,
            "reason": "",
            "metadata": json.dumps(METADATA[i]),
            "details": "{}",
        }
        for i, correct in ((0, True), (0, True), (1, False), (2, True))
    ]
    report = score_geneval(read_pictures(write(tmp_path / "results.jsonl", lines)))
    assert report.metrics["overall"] == pytest.approx(2 / 3)
    assert report.metrics["correct_images"] == 0.75
    with pytest.raises(InputError, match="no picture to score"):
        score_geneval([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("detections"), "line 1 needs one of 'detections'"),
        (lambda p: p.update(correct=True), "line 1 needs one of 'detections'"),
        (lambda p: p.update(metadata="{"), "metadata that are no JSON"),
        (lambda p: p.update(metadata=3), "metadata 3; expected a line of"),
        (lambda p: p["metadata"].update(tag="style"), "tag 'style'; expected one of single_object"),
        (lambda p: p["metadata"]["include"][0].update(count=0), "inclusion 0 has count 0"),
        (lambda p: p["metadata"]["include"][0].update(color="mauve"), "color 'mauve'; expected"),
        (
            lambda p: p["metadata"]["include"][0].update(position=["left of", 0]),
            r"position \['left of', 0\]; expected a relation",
        ),
        (lambda p: p["detections"].update(dog=3), "'dog' holds 3; expected a list of detections"),
        (lambda p: p["detections"]["dog"][0].update(box=[1, 2]), r"box \[1, 2\]; expected left"),
        (lambda p: p["detections"]["dog"][0].update(score=1.5), "score 1.5; expected 0 to 1"),
        (lambda p: p["detections"]["dog"][0].pop("color"), "a dog of color None, and its prompt"),
    ],
)
def test_pictures_of_another_form_are_named(tmp_path, change, message):
    line = json.loads(json.dumps({**PICTURES[2], "metadata": METADATA[1]}))
    change(line)
    with pytest.raises(InputError, match=message):
        read_pictures(write(tmp_path / "seen.jsonl", [line]))
