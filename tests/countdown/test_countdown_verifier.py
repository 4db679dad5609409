"""The verifier: right answers pass, each way of being wrong has its code, garbage is harmless."""

import ast
import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.countdown import CODES, CountdownConfig, Problem, canonical_solution, generate, judge

PROBLEM = Problem((2, 3, 7), 8)

GARBAGE = st.one_of(
    st.sampled_from(
        [*"0123456789+-*/()", "10", "answer", "end", "query", "target", "<|pad|>", "<|eos|>"]
    ),
    st.sampled_from(["", " ", "²", "٣", "1e9", "0x2", "1_0", "-2", "**", "//", "2+2", "exit()"]),
    st.text(max_size=4),
)


@pytest.mark.parametrize(
    ("response", "error", "value"),
    [
        ("answer 3 + 7 - 2 end", None, 8),
        ("answer ( ( 3 ) + ( 7 - 2 ) ) end", None, 8),
        ("7 - 3 is 4 answer 7 - 2 + 3 end", None, 8),  # words before the answer are free
        ("", "no_answer", None),
        ("3 + 7 - 2 end", "no_answer", None),
        ("answer 3 + 7 - 2", "missing_end", None),
        ("end answer 3 + 7 - 2", "missing_end", None),
        ("answer end", "bad_syntax", None),
        ("answer 3 + 7 - 2 end end", "bad_syntax", None),
        ("answer 3 + 7 - 2 end answer 3 + 7 - 2 end", "bad_syntax", None),
        ("answer 3 + answer 3 + 7 - 2 end", "bad_syntax", None),
        ("answer 3 + 7 - 2 end <|pad|>", "bad_syntax", None),
        ("answer 3 + 7 2 end", "bad_syntax", None),
        ("answer 3 + 7 - end", "bad_syntax", None),
        ("answer - 2 + 3 + 7 end", "bad_syntax", None),  # no sign
        ("answer ( 3 + 7 - 2 end", "bad_syntax", None),
        ("answer 3 + 7 ) - 2 end", "bad_syntax", None),
        ("answer ( ) 3 + 7 - 2 end", "bad_syntax", None),
        ("answer 2 ( 3 + 7 ) end", "bad_syntax", None),
        ("answer 3 ** 7 - 2 end", "bad_syntax", None),
        ("answer 03 + 7 - 2 end", "bad_syntax", None),
        ("answer 8 end", "number_not_available", None),
        ("answer 3 + 7 - 4 end", "number_not_available", None),
        ("answer 3 + 7 - " + "9" * 5000 + " end", "number_not_available", None),
        ("answer 3 + 7 - 2 + 2 - 2 end", "number_reused", None),
        ("answer 2 * 2 + 8 end", "number_reused", None),  # the first misuse in reading order
        ("answer 8 + 2 * 2 end", "number_not_available", None),
        ("answer 7 + 3 end", "number_unused", None),
        ("answer 7 / ( 2 - 3 ) end", "wrong_value", -7),
        ("answer 2 / 3 * 7 end", "wrong_value", Fraction(14, 3)),
        ("answer 2 - 3 - 7 end", "wrong_value", -8),  # from left to right
        ("answer 2 + 3 * 7 end", "wrong_value", 23),  # products first
        ("answer ( 2 + 3 ) * 7 end", "wrong_value", 35),
    ],
)
def test_each_response_has_its_verdict(response, error, value):
    for form in (response, response.split()):
        verdict = judge(PROBLEM, form)
        assert (verdict.valid, verdict.error, verdict.value) == (error is None, error, value)
    assert verdict.well_formed == (error not in ("no_answer", "missing_end", "bad_syntax"))


@pytest.mark.parametrize(
    ("numbers", "expression"),
    [
        ((5, 2, 4, 2), "5 / ( 4 - 2 * 2 )"),
        ((5, 2, 4, 2, 4), "5 / ( 2 / 4 - 2 / 4 )"),
        ((0, 5), "5 / 0"),
        ((0, 0), "0 / 0"),
        ((0, 1, 5), "1 / ( 0 / 5 )"),
    ],
)
def test_a_division_by_zero_is_named(numbers, expression):
    verdict = judge(Problem(numbers, 5), f"answer {expression} end")
    assert (verdict.valid, verdict.error, verdict.value) == (False, "division_by_zero", None)


def test_equal_numbers_may_be_used_as_often_as_they_are_given():
    assert judge(Problem((4, 4), 8), "answer 4 + 4 end").valid
    assert judge(Problem((4, 4), 12), "answer 4 + 4 + 4 end").error == "number_reused"
    assert judge(Problem((4, 4), 4), "answer 4 end").error == "number_unused"
    assert judge(Problem((0, 4), 4), "answer 0 + 4 end").valid


def test_values_are_exact():
    # 1 / 3 * 3 is 0.99..9 or 1 in floating point, by luck; and 1e-5 is no zero.
    assert judge(Problem((1, 3, 3), 1), "answer 1 / 3 * 3 end").valid
    close = judge(Problem((1, 1, 1_000_000), 1), "answer 1 + 1 / 1000000 end")
    assert (close.error, close.value) == ("wrong_value", Fraction(1_000_001, 1_000_000))


# Each breaks any canonical solution; expected code by name. `w` are the words of the expression.
MUTATIONS = {
    "answer left out": (lambda w, p: [*w, "end"], "no_answer"),
    "nothing at all": (lambda w, p: [], "no_answer"),
    "end left out": (lambda w, p: ["answer", *w], "missing_end"),
    "words after the end": (lambda w, p: ["answer", *w, "end", "+"], "bad_syntax"),
    "a sign in front": (lambda w, p: ["answer", "-", *w, "end"], "bad_syntax"),
    "an operator too many": (lambda w, p: ["answer", *w, "*", "end"], "bad_syntax"),
    "a parenthesis not closed": (lambda w, p: ["answer", "(", *w, "end"], "bad_syntax"),
    "a parenthesis not opened": (lambda w, p: ["answer", *w, ")", "end"], "bad_syntax"),
    "no operator between": (lambda w, p: ["answer", *w, "1", "end"], "bad_syntax"),
    "words turned round": (lambda w, p: ["answer", "end", *w], "bad_syntax"),
    "another number": (lambda w, p: ["answer", *_another(w), "end"], "number_not_available"),
    "one more number": (lambda w, p: ["answer", *w, "+", "99999", "end"], "number_not_available"),
    "a number again": (
        lambda w, p: ["answer", *w, "+", str(p.numbers[0]), "end"],
        "number_reused",
    ),
    "one number alone": (lambda w, p: ["answer", str(p.numbers[-1]), "end"], "number_unused"),
    "divided by nothing": (
        lambda w, p: ["answer", *w, "/", "(", "5", "-", "5", ")", "end"],
        "division_by_zero",
    ),
    "twice the value": (lambda w, p: ["answer", "5", "*", "(", *w, ")", "+", "5", "end"],
                        "wrong_value"),
}  # fmt: skip


def _another(words):
    place = next(i for i, word in enumerate(words) if word.isdigit())
    return [*words[:place], "77777", *words[place + 1 :]]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_corruption_of_a_right_answer_has_its_code(mutation):
    corrupt, code = MUTATIONS[mutation]
    for index in range(40):
        problem = generate(CountdownConfig(3, 15, 60), 1, index)
        words = list(canonical_solution(problem))
        assert judge(problem, ["answer", *words, "end"]).valid
        if mutation in ("divided by nothing", "twice the value"):
            problem = Problem((*problem.numbers, 5, 5), problem.target)
        verdict = judge(problem, corrupt(words, problem))
        assert (verdict.valid, verdict.error) == (False, code)


def test_the_corruptions_cover_every_code():
    assert {code for _, code in MUTATIONS.values()} == set(CODES)


SIGNS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def python_value(node):
    """The value of an expression by Python's own grammar, exact; None if it divides by zero."""
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    left, right = python_value(node.left), python_value(node.right)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Div):
        return left / right if right else None
    return SIGNS[type(node.op)](left, right)


@st.composite
def expressions(draw):
    """Words of a well-formed expression, parentheses anywhere they may stand."""
    words = [str(draw(st.integers(0, 9)))]
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            words = ["(", *words, ")"]
        other = [str(draw(st.integers(0, 9)))]
        sign = draw(st.sampled_from("+-*/"))
        words = [*words, sign, *other] if draw(st.booleans()) else [*other, sign, *words]
    return words


@settings(max_examples=200, deadline=None)
@given(expressions())
def test_precedence_and_order_are_those_of_python(words):
    value = python_value(ast.parse(" ".join(words), mode="eval").body)
    numbers = tuple(int(word) for word in words if word.isdigit())
    verdict = judge(Problem(numbers, 10**9), ["answer", *words, "end"])
    assert verdict.value == value
    assert verdict.error == ("division_by_zero" if value is None else "wrong_value")


@settings(max_examples=300, deadline=None)
@given(st.lists(GARBAGE, max_size=14), st.booleans())
def test_garbage_has_a_verdict_too(words, framed):
    response = ["answer", *words, "end"] if framed else words
    verdict = judge(PROBLEM, response)
    assert verdict.valid == (verdict.error is None)
    assert verdict.error is None or verdict.error in CODES
    if verdict.valid:
        text = " ".join(response[response.index("answer") + 1 : -1])
        assert python_value(ast.parse(text, mode="eval").body) == PROBLEM.target


@pytest.mark.parametrize("word", ["(", ")", "2", "+", "answer", "end", "²"])
def test_very_long_responses_are_no_trouble(word):
    assert not judge(PROBLEM, ["answer", *[word] * 100_000, "end"]).valid
    assert not judge(PROBLEM, ["answer", *["(", "2", "+"] * 30_000, "end"]).valid


def test_deep_parentheses_are_read():
    depth = 50_000
    words = ["answer", *["("] * depth, "3", *[")"] * depth, "+", "7", "-", "2", "end"]
    assert judge(PROBLEM, words).valid
