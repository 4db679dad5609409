"""Mathematical answers: what is read, what equals what, and what no text can do to the judge."""

import os
import threading
import time
from typing import Any, cast

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.rewards.answer_formats import FORMS, format_reward, last_boxed
from jaxreason.rewards.math_answers import (
    RECIPES,
    find_answer,
    gold_answer,
    math_judge,
    math_reward,
)

pytest.importorskip("math_verify")


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("He has 48/2 = <<48/2=24>>24.\n#### 72", "72"),
        ("#### 5 #### 1,234", "1,234"),
        ("#### $18", "18"),
        ("so $x = \\boxed{\\frac{3}{4}}$.", "\\frac{3}{4}"),
        ("\\boxed{1} or rather \\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\fbox{7}", "7"),
        (" 3.5 ", "3.5"),
        ("$\\sqrt{2}$", "\\sqrt{2}"),
        ("$$ x^2 $$", "x^2"),
        ("$\\$5$", "\\$5"),
        ("#### $5", "5"),
        ("$x$ and $y$", "$x$ and $y$"),
    ],
)
def test_gold_answers_of_gsm8k_and_math_and_plain(text, gold):
    assert gold_answer(text) == gold


@pytest.mark.parametrize(
    "text", ["", "  ", "####", "#### \n", "$", "$$$", "\\boxed{1", "\\boxed{}"]
)
def test_a_gold_answer_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"answer '"):
        gold_answer(text)


EQUAL = [
    ("\\frac{1}{2}", "\\boxed{0.5}"),
    ("\\frac{1}{2}", "\\boxed{1/2}"),
    ("1000", "\\boxed{1,000}"),
    ("1,000", "The answer is 1000."),
    ("50\\%", "\\boxed{50\\%}"),
    ("0.5", "\\boxed{50\\%}"),
    ("4", "\\boxed{2+2}"),
    ("1,2,3", "\\boxed{3,2,1}"),
    ("42", "\\boxed{42\\text{ apples}}"),
    ("42", "\\boxed{42 apples}"),
    ("5", "\\boxed{\\$5}"),
    ("5", "#### 5 dollars"),
    ("72", "48 + 24 = 72\n#### 72"),
    ("3", "\\boxed{1}, no: \\boxed{3}"),
    ("3", "<think>\\boxed{4}</think> \\boxed{3}"),
    ("3", "so I think</think> <answer>3</answer>"),
    ("3", "<answer>\\boxed{3}</answer>"),
    ("x^2+1", "\\boxed{1 + x^2}"),
    ("(1, 2)", "\\boxed{(1,2)}"),
    ("\\{1,2\\}", "\\boxed{2, 1}"),
    ("-\\frac{2}{3}", "\\boxed{\\dfrac{-2}{3}}"),
    ("Paris", "\\boxed{\\text{paris}}"),
    ("(B)", "\\boxed{B}"),
    ("\\sqrt{2}", "$$\\boxed{2^{1/2}}$$"),
]
DIFFERENT = [
    ("3", "\\boxed{3}, no: \\boxed{1}"),
    ("3", "<think>\\boxed{3}</think> it is 4"),
    ("3", "<think> it is 3"),
    ("3", ""),
    ("3", "\\boxed{}"),
    ("3", "\\boxed{4"),
    ("3", "\\boxed{3x}"),
    ("3", "\\boxed{3 \\pi}"),
    ("1000", "\\boxed{1,00}"),
    ("Paris", "\\boxed{pairs}"),
    ("2", "I do not know"),
    ("2", "\\boxed{" + "2" * 600 + "}"),
    ("2", "\\boxed{\\frac{}{}}"),
]


def test_what_equals_the_expected_answer_and_what_does_not():
    golds, texts = zip(*EQUAL, *DIFFERENT, strict=True)
    found = math_reward(golds, texts)
    wanted = [1.0] * len(EQUAL) + [0.0] * len(DIFFERENT)
    wrong = [i for i, value in enumerate(found.values) if value != wanted[i]]
    assert not [(golds[i], texts[i]) for i in wrong]
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.breakdown["correct"], found.values)
    assert not found.breakdown["undecided"].any()


def test_texts_that_hang_sympy_end_in_time_and_the_next_one_is_judged():
    hanging = [r"\boxed{10^{10^{10}}}", r"\boxed{9999999999!}", r"\boxed{9^{9^{9^{9}}} - 1}"]
    began = time.monotonic()
    found = math_reward(["7"] * 4, [*hanging, r"\boxed{\frac{14}{2}}"], seconds=0.5)
    # Not of speed: SymPy alone would take hours, or all memory.
    assert time.monotonic() - began < 300
    assert found.values.tolist() == [0, 0, 0, 1]


def test_a_judge_survives_the_death_of_its_worker_and_works_in_threads():
    judge = math_judge(5.0)
    assert judge(["1/2"], [r"\boxed{0.5}"])[0].correct
    for worker in judge._workers:
        if worker._process is not None:
            os.kill(worker._process.pid, 9)
            worker._process.wait()
    assert judge(["1/2"], [r"\boxed{0.50}"])[0].undecided
    results: dict[int, bool] = {}

    def ask(i):
        results[i] = judge([f"{i}/2"], [rf"\boxed{{\frac{{{i}}}{{2}}}}"])[0].correct

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {1: True, 2: True, 3: True, 4: True}


def test_the_breakdown_is_the_same_for_any_texts():
    names = set(math_reward(["1"], [""]).breakdown)
    assert names == {"correct", "answered", "undecided", *FORMS}
    assert set(math_reward(["1"], ["<think>a</think> \\boxed{1}"]).breakdown) == names


def test_recipes_are_weighted_sums():
    text = "<think>one and one</think> \\boxed{2}"
    tagged = "<reasoning>\none and one\n</reasoning>\n<answer>\n2\n</answer>\n"
    assert math_reward(["2"], [text], RECIPES["mmada"]).values.tolist() == [2.5]
    assert math_reward(["3"], [text], RECIPES["mmada"]).values.tolist() == [0.5]
    values = math_reward(["2"], [tagged], RECIPES["d1"], place="tagged").values
    np.testing.assert_allclose(values, [4.0], atol=0.002)
    r1 = "<think>one</think>\n<answer>2</answer>"
    assert math_reward(["2"], [r1], RECIPES["r1"]).values.tolist() == [2.0]


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("\\boxed{a}", "a"),
        ("\\boxed {a {b} c}", "a {b} c"),
        ("\\boxed{a} \\boxed{b", "a"),
        ("\\boxed{\\}}", "\\}"),
        ("\\boxed{", None),
        ("boxed{a}", None),
        ("", None),
    ],
)
def test_the_last_balanced_box(text, box):
    assert last_boxed(text) == box


def test_forms():
    texts = [
        "<think>a</think> b",
        "so: <think>a</think> b",
        "<think>a</think><answer>b</answer>",
        "<think>a</think><answer>b</answer> and more",
        "\\boxed{3}",
        "",
    ]
    found = format_reward(texts, {"think_strict": 0.5})
    assert found.values.tolist() == [0.5, 0, 0.5, 0.5, 0, 0]
    assert found.breakdown["think_soft"].tolist() == [1, 1, 1, 1, 0, 0]
    assert found.breakdown["think_answer"].tolist() == [0, 0, 1, 0, 0, 0]
    assert found.breakdown["boxed"].tolist() == [0, 0, 0, 0, 1, 0]


def test_places_of_answers():
    text = "<answer>1</answer> \\boxed{2} #### 3"
    read = {place: find_answer(text, place).text for place in ("tagged", "boxed", "hashes", "any")}
    assert read == {"tagged": "1", "boxed": "2", "hashes": "3", "any": "1"}
    assert find_answer("1", "boxed").text == find_answer("1", "tagged").text == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: math_reward(["1"], []), "1 answers for 0 texts"),
        (lambda: math_reward(["1"], ["1"], {}), "weights is empty"),
        (lambda: math_reward(["1"], ["1"], {"corect": 1.0}), "weights has 'corect'"),
        (lambda: math_reward(["1"], ["1"], {"correct": np.nan}), "weights has nan"),
        (lambda: math_reward(["1"], ["1"], place=cast(Any, "box")), "place is 'box'"),
        (lambda: math_reward(["1"], ["1"], seconds=0), "seconds is 0"),
        (lambda: format_reward(["1"], {"correct": 1.0}), "weights has 'correct'"),
    ],
)
def test_bad_settings_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
