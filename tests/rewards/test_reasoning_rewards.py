"""Rewards of texts with reasoning, on strings whose value can be counted."""

import pytest

from jaxreason.countdown import Problem
from jaxreason.rewards.reasoning import (
    correctness,
    countdown_answer,
    integer_answer,
    soft_format,
    strict_format,
    tag_counting,
    tagged_answer,
    think_answer,
    think_format,
)

WHOLE = "<reasoning>\n2 and 2\n</reasoning>\n<answer>\n4\n</answer>\n"
TWICE = "<reasoning>\na\n</reasoning>\n<answer>\n1\n</answer>\njunk\n<answer>\n2\n</answer>\n"
SOFT = "<reasoning>2 and 2</reasoning> <answer>4</answer> and more"


@pytest.mark.parametrize(
    ("text", "value", "answer"),
    [
        ("<think> a b </think> c", 0.5, "c"),
        ("<think> a b </think>", 0.0, ""),
        ("<think> </think> c", 0.0, "c"),
        ("x <think> a </think> c", 0.0, "c"),
        ("<think> a </think> c </think> d", 0.0, "c </think> d"),
        ("c", 0.0, "c"),
    ],
)
def test_the_think_format_is_reasoning_then_an_answer(text, value, answer):
    assert think_format(text) == value
    assert think_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "strict", "soft"),
    [
        (WHOLE, 0.5, 0.5),
        (SOFT, 0.0, 0.5),
        (WHOLE.removesuffix("\n"), 0.0, 0.5),
        (f" {WHOLE}", 0.0, 0.0),
        ("<reasoning>\na\nb\n</reasoning>\n<answer>\n1\n</answer>\n", 0.5, 0.5),
        (TWICE, 0.0, 0.5),
        ("<reasoning>\na\n<answer>\n</reasoning>\n<answer>\n1\n</answer>\n", 0.0, 0.5),
        ("<answer>4</answer> <reasoning>2 and 2</reasoning>", 0.0, 0.0),
        ("4", 0.0, 0.0),
    ],
)
def test_tagged_formats(text, strict, soft):
    assert strict_format(text) == strict
    assert soft_format(text) == soft


def test_tags_are_counted_and_words_after_the_end_cost():
    assert tag_counting(WHOLE) == pytest.approx(0.5)
    # Five characters more: both tags of the answer take off their length.
    assert tag_counting(WHOLE + "oops!") == pytest.approx(0.5 - 2 * 0.005)
    assert tag_counting(WHOLE * 2) == 0.0
    assert tag_counting("<reasoning>\n2 and 2") == pytest.approx(0.125)
    assert tag_counting("") == 0.0


def test_answers_are_taken_out_of_their_tags():
    assert tagged_answer(WHOLE) == "4"
    assert tagged_answer("<answer>3</answer><answer> 4 </answer>") == "4"
    assert tagged_answer("no tags") == "no tags"
    assert correctness(tagged_answer(WHOLE), "4") == 2.0
    assert correctness(tagged_answer(WHOLE), "4.0") == 0.0
    assert integer_answer(WHOLE) == 0.5
    assert integer_answer("<answer>4.0</answer>") == 0.0


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("(3 + 4) * 2", 1.0),
        ("(3+4)*2", 1.0),
        ("3 + 4 * 2", 0.1),
        ("7 * 2", 0.1),
        ("(3 + 4) * 2 * 1", 0.1),
        ("__import__", 0.1),
    ],
)
def test_countdown_equations(answer, value):
    problem = Problem(numbers=(3, 4, 2), target=14)
    assert countdown_answer(f"so <answer>{answer}</answer>", problem) == value
    assert countdown_answer(answer, problem) == 0.0
