"""The solver against brute force, and against the known number of expressions."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.countdown import MOST_NUMBERS, Problem, canonical_solution, judge, solutions
from jaxreason.countdown.solver import _forms
from jaxreason.errors import InputError


def trees(numbers):
    """(value, fully parenthesised words) of every binary tree over every order of the numbers."""
    for order in set(itertools.permutations(numbers)):
        yield from _over(order)


def _over(leaves):
    if len(leaves) == 1:
        yield Fraction(leaves[0]), (str(leaves[0]),)
        return
    for cut in range(1, len(leaves)):
        for (a, left), (b, right) in itertools.product(_over(leaves[:cut]), _over(leaves[cut:])):
            values = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}
            for sign, value in values.items():
                if value is not None:
                    yield value, ("(", *left, sign, *right, ")")


def answered(problem, words):
    return judge(problem, ["answer", *words, "end"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=3))
def test_what_can_be_made_is_what_brute_force_makes(numbers):
    reachable = {value for value, _ in trees(numbers)}
    assert {form.value for form in _forms(tuple(sorted(numbers)))} == reachable
    whole = {int(value) for value in reachable if value.denominator == 1 and value >= 0}
    for target in range(max(whole, default=0) + 2):
        assert bool(solutions(Problem(tuple(numbers), target))) == (target in whole)


@pytest.mark.parametrize("numbers", [(1, 3, 4, 6), (2, 2, 5, 5), (0, 3, 8, 8)])
def test_four_numbers_make_what_brute_force_makes(numbers):
    assert {form.value for form in _forms(numbers)} == {value for value, _ in trees(numbers)}


def test_the_verifier_values_every_tree_as_brute_force_does():
    problem = Problem((2, 3, 8), 14)
    valid = 0
    for value, words in trees(problem.numbers):
        verdict = answered(problem, words)
        assert verdict.value == value
        assert verdict.valid == (value == 14)
        valid += verdict.valid
    assert valid


@pytest.mark.parametrize(("count", "expressions"), [(1, 1), (2, 6), (3, 68), (4, 1170)])
def test_numbers_without_relations_make_the_known_number_of_values(count, expressions):
    # OEIS A140606: inequivalent expressions of n operands under + - * /.
    numbers = (2, 7, 1009, 100_003)[:count]
    forms = _forms(numbers)
    assert len({form.value for form in forms}) == expressions
    # Only the signs of two differences can be exchanged without changing a value, and that takes
    # four numbers: before that no expression appears twice.
    assert len(forms) == expressions or count == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.data())
def test_every_solution_verifies_and_none_appears_twice(numbers, data):
    values = {f.value for f in _forms(tuple(sorted(numbers))) if f.value.denominator == 1}
    whole = sorted(int(value) for value in values if value >= 0)
    problem = Problem(tuple(numbers), data.draw(st.sampled_from(whole)) if whole else 10**6)
    found = solutions(problem)
    assert all(answered(problem, words).valid for words in found)
    assert len(set(found)) == len(found)
    lengths = [len(words) for words in found]
    assert lengths == sorted(lengths)
    if found:
        assert canonical_solution(problem) == found[0]


@pytest.mark.parametrize(
    ("numbers", "target", "first", "count"),
    [
        ((3,), 3, "3", 1),
        ((8, 8, 3, 3), 24, "8 / ( 3 - 8 / 3 )", 1),  # through a fraction only
        ((2, 2), 4, "2 + 2", 2),  # a sum before a product
        ((5, 20, 20), 80, "5 * 20 - 20", 2),
        ((1, 9, 10), 20, "1 + 9 + 10", 1),
        ((2, 3, 7), 8, "3 + 7 - 2", 2),
        ((4, 6, 6), 25, None, 0),
    ],
)
def test_worked_examples(numbers, target, first, count):
    found = solutions(Problem(numbers, target))
    assert len(found) == count
    assert (" ".join(found[0]) if found else None) == first


def test_what_cannot_be_solved_is_refused():
    with pytest.raises(InputError, match="target is 25, which 4, 6, 6 cannot make"):
        canonical_solution(Problem((4, 6, 6), 25))
    with pytest.raises(InputError, match=f"has 6 numbers; the solver takes at most {MOST_NUMBERS}"):
        solutions(Problem((1, 2, 3, 4, 5, 6), 9))
