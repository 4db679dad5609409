"""MME as the official calculation.py counts."""

import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.mme import (
    PERCEPTION,
    SUBTASKS,
    MmeLine,
    check_mme,
    read_mme,
    said,
    score_mme,
    score_subtask,
)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("NO", "no"),
        ("Not sure", "no"),
        ("None of them", "no"),
        ("I know", "other"),  # "i kn"
        ("know", "no"),  # the first four characters hold it
        (" yes", "yes"),
        ("  yes", "other"),  # "  ye"
        ("It is.", "other"),
        ("Yes and no", "yes"),
        ("no, yes", "no"),
        ("n yes", "other"),
        ("", "other"),
        ("是", "other"),
    ],
)
def test_an_answer_is_what_its_first_four_characters_hold(answer, word):
    assert said(answer) == word


def lines(*pairs):
    return [
        MmeLine(f"{i // 2}.jpg", f"q{i}", truth, answer) for i, (truth, answer) in enumerate(pairs)
    ]


def test_both_questions_of_a_picture_count_again():
    found = score_subtask(
        lines(
            ("yes", "Yes"), ("no", "No"), ("yes", "yes"), ("no", "Yes"), ("yes", "?"), ("no", "no")
        )
    )
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.accuracy_plus == pytest.approx(1 / 3)
    assert found.score == pytest.approx(100)
    assert (found.other, found.questions) == (1, 6)
    for odd in ([], lines(("yes", "yes"))):
        with pytest.raises(InputError, match="expected two for each picture"):
            score_subtask(odd)
    with pytest.raises(InputError, match="'q1' has no answer"):
        score_subtask(lines(("yes", "yes"), ("no", None)))


def test_totals_need_all_their_subtasks():
    right, half = lines(("yes", "yes"), ("no", "no")), lines(("yes", "yes"), ("no", "yes"))
    report = score_mme(dict.fromkeys(SUBTASKS, right))
    assert (report.metrics["perception"], report.metrics["cognition"]) == (2000, 800)
    report = score_mme({**dict.fromkeys(PERCEPTION, right), "OCR": half})
    assert report.metrics["perception"] == 1850
    assert report.metrics["OCR"] == report.metrics["OCR_accuracy"] == 50
    assert report.metrics["OCR_accuracy_plus"] == 0
    assert report.metrics["cognition"] is None
    with pytest.raises(InputError, match="subtasks are sight; expected some of existence"):
        score_mme({"sight": right})


RESULT = (
    "a.jpg\tIs it red? Please answer yes or no.\tYes\tYes, it is.\n"
    "a.jpg\tIs it blue? Please answer yes or no.\tNo\tno\n"
)


def test_folders_in_the_official_form(tmp_path):
    (tmp_path / "color.txt").write_text(RESULT)
    (tmp_path / "notes.md").write_text("not read")
    found = read_mme(tmp_path)
    assert found == {
        "color": [
            MmeLine("a.jpg", "Is it red? Please answer yes or no.", "yes", "Yes, it is."),
            MmeLine("a.jpg", "Is it blue? Please answer yes or no.", "no", "no"),
        ]
    }
    assert score_subtask(found["color"]).score == 200
    (tmp_path / "color.txt").write_text(RESULT.replace("\n", "\r\n"))
    assert read_mme(tmp_path) == found
    data = tmp_path / "data"
    data.mkdir()
    asked = "".join(line.rsplit("\t", 1)[0] + "\n" for line in RESULT.splitlines())
    (data / "color.txt").write_text(asked)
    template = read_mme(data, answered=False)
    check_mme(found, template, partial=True)
    check_mme(found, None, partial=True)
    with pytest.raises(InputError, match=r"subtask existence is missing \(13 of 14\)"):
        check_mme(found, template)
    (data / "color.txt").write_text(asked.replace("blue?", "green?"))
    with pytest.raises(InputError, match="color differs from the data at line 2 of 2"):
        check_mme(found, read_mme(data, answered=False), partial=True)
    with pytest.raises(InputError, match="subtask color is answered but is not in the data"):
        check_mme(found, {}, partial=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RESULT.replace("\tno\n", "\n"), "line 2 has 3 columns; expected 4"),
        (RESULT.replace("\tNo\t", "\tNope\t"), "line 2 has the right answer 'Nope'"),
        (RESULT.replace("a.jpg\tIs it blue", "b.jpg\tIs it blue"), "line 2 is about 'b.jpg' and"),
        (RESULT.splitlines()[0], "has 1 lines; expected two for each picture"),
        ("", "has 0 lines"),
    ],
)
def test_lines_of_another_form_are_named(tmp_path, text, message):
    (tmp_path / "color.txt").write_text(text)
    with pytest.raises(InputError, match=f"color.txt.* {message}"):
        read_mme(tmp_path)


def test_folders_without_results_are_named(tmp_path):
    with pytest.raises(InputError, match=r"holds none of the files existence, count"):
        read_mme(tmp_path)
    with pytest.raises(InputError, match=r"none is no folder"):
        read_mme(tmp_path / "none")
