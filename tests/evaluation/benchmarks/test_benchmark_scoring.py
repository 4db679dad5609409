"""What is taken for an answer, and whether it is the right one."""

import pytest

from jaxreason.evaluation.benchmarks.scoring import (
    NOTHING,
    choose,
    plain_number,
    score,
)

GOLD = "She sells 3 * 411 + 1.\n#### 1,234"


def one(metric, text, gold):
    return tuple(score(metric, [text], [gold])[0])


@pytest.mark.parametrize(
    ("text", "found", "correct"),
    [
        ("#### 1234", "1234", True),
        ("so\n#### 1,234", "1,234", True),
        ("#### 1,234.", "1,234.", True),
        ("#### 1234 apples\n#### 7", "1234", True),  # the first mark counts
        ("#### 1,234.0", "1,234.0", False),  # texts are compared, not values
        ("#### $1,234", NOTHING, False),
        ("####1234", NOTHING, False),
        ("The answer is 1,234.", NOTHING, False),
        ("#### -1234", "-1234", False),
        ("", NOTHING, False),
    ],
)
def test_the_strict_rule_of_gsm8k_wants_the_mark(text, found, correct):
    assert one("strict-match", text, GOLD) == (found, correct)


@pytest.mark.parametrize(
    ("text", "gold", "found", "correct"),
    [
        ("It is $18", "#### 18", "$18", True),
        ("It is $18.", "#### 18", "$18.", True),
        ("It is 18.00", "#### 18", "18.00", False),
        ("First 3, then 5, so 8", "#### 8", "8", True),
        ("It is 8 and not 9", "#### 8", "9", False),
        ("The total is 1,234 dollars.", GOLD, "1,234", True),
        ("minus: -7", "#### -7", "-7", True),
        ("It is 7", "#### -7", "7", False),
        ("10-7", "#### 3", "-7", False),
        ("#### 5\nSo it goes ...", "#### 5", "...", False),  # two dots look like a number
        ("seven", "#### 7", NOTHING, False),
    ],
)
def test_the_flexible_rule_takes_the_last_number(text, gold, found, correct):
    assert one("flexible-extract", text, gold) == (found, correct)


@pytest.mark.parametrize(
    ("metric", "text", "found", "correct"),
    [
        ("strict-cot", "The answer is 1,234.", "1,234", True),
        ("strict-cot", "The answer is 1234", "123", False),  # the rule wants one character more
        ("strict-cot", "#### 1234", NOTHING, False),
        ("last-number", "So 3 of 1234\nQuestion: what is 9?", "1234", True),
        ("last-number", "1234.0", "1234.0", True),
        ("last-number", "It is 1,234", "234", False),
        ("last-number", "none", NOTHING, False),
    ],
)
def test_other_rules_of_gsm8k(metric, text, found, correct):
    assert one(metric, text, GOLD) == (found, correct)


def test_what_does_not_matter_is_left_out():
    assert plain_number("So it is.\n#### $1,234.") == "1234"
    assert plain_number("A.B.") == "a.b"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B", "B"),
        ("b", "B"),
        ("b.", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B) the liver", "B"),
        (" B: the liver", "B"),
        ("**B**", "B"),
        ("The answer is (c).", "C"),
        ("Answer: d", "D"),
        ("The answer is B, not A.", "B"),
        ("I think that (A) is wrong; the answer is (D)", "D"),
        ("\\boxed{C}", "C"),
        ("so A. But $\\boxed{\\text{(B)}}$", "B"),
        ("It must be C", "C"),
        ("A car is no bone, so it is B", "B"),
        ("I would say D", "D"),
        ("The answer is a car", NOTHING),
        ("none of them", NOTHING),
        ("", NOTHING),
    ],
)
def test_the_letter_that_is_named(text, found):
    assert one("letter", text, "B") == (found, found == "B")


@pytest.mark.parametrize(
    ("text", "gold", "correct"),
    [
        ("So $\\boxed{\\dfrac12}$.", "\\frac{1}{2}", True),
        ("So \\boxed{0.5}", "\\frac{1}{2}", True),
        ("\\boxed{\\frac{1}{3}}", "\\frac{1}{2}", False),
        ("\\boxed{3} and then \\boxed{4}", "4", True),
        ("\\boxed{1234}", GOLD, True),
        ("<answer>\\boxed{-7}</answer>", "-7", True),
        ("no idea", "4", False),
    ],
)
def test_expressions_are_compared_by_value(text, gold, correct):
    assert one("math-verify", text, gold)[1] == correct


def test_the_likeliest_choice_is_taken_and_the_first_of_equal_ones():
    assert choose([-3.0, -1.0, -1.0], ["a", "b", "c"]) == 1
    assert choose([-4.0, -3.0], ["four words are long", "two"]) == 1
    assert choose([-4.0, -3.0], ["four words are long", "two"], normalised=True) == 0
