"""All ways to write a target with given numbers, each once, and the one shown in training.

Expressions that differ only by the order of commuting operands or by needless parentheses are one:
a sum is kept as its added and its subtracted terms, a product as its numerators and denominators,
both sorted, so that `a - (b - c)` and `c + a - b` are the same `a + c - b`.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from jaxreason.countdown.problem import Problem
from jaxreason.errors import InputError

MOST_NUMBERS = 5
"""Six numbers have about a million expressions; the solver lists them all."""

_Codes = tuple[int, ...]
_Terms = tuple[_Codes, ...]
# Whole values stay `int` where they can, which is faster than `Fraction`.
_Value = int | Fraction

# Expressions are tuples of codes, which compare fast: a number stands for itself, a symbol is
# negative.
_SYMBOLS = {-1: "+", -2: "-", -3: "*", -4: "/", -5: "(", -6: ")"}
_PLUS, _MINUS, _TIMES, _DIVIDE, _OPEN, _CLOSE = _SYMBOLS


class _Form(NamedTuple):
    """An expression; `codes` identifies it.

    `terms` is what a sum it is part of would hold (added, subtracted), `factors` what a product
    would (numerators, denominators).
    """

    value: _Value
    codes: _Codes
    terms: tuple[_Terms, _Terms]
    factors: tuple[_Terms, _Terms]


def solutions(problem: Problem) -> list[tuple[str, ...]]:
    """The words of every expression that makes the target, the simplest first.

    Simplest: the fewest words, then the fewest divisions, products, differences; what is still
    equal is ordered by its words. Values between may be fractions or negative.

    Raises:
        InputError: more than `MOST_NUMBERS` numbers.
    """
    if len(problem.numbers) > MOST_NUMBERS:
        raise InputError(
            f"the problem has {len(problem.numbers)} numbers; the solver takes at most "
            f"{MOST_NUMBERS}"
        )
    found = _enumerate(problem.numbers, problem.target)
    return [_words(form.codes) for form in sorted(found, key=_complexity)]


def canonical_solution(problem: Problem) -> tuple[str, ...]:
    """The first of `solutions`.

    Raises:
        InputError: there is none, or more than `MOST_NUMBERS` numbers.
    """
    found = solutions(problem)
    if not found:
        numbers = ", ".join(map(str, problem.numbers))
        raise InputError(f"target is {problem.target}, which {numbers} cannot make")
    return found[0]


def _complexity(form: _Form) -> tuple[int, int, int, int, _Codes]:
    codes = form.codes
    signs = (codes.count(_DIVIDE), codes.count(_TIMES), codes.count(_MINUS))
    return (len(codes), *signs, codes)


def _words(codes: _Codes) -> tuple[str, ...]:
    return tuple(_SYMBOLS[code] if code < 0 else str(code) for code in codes)


@lru_cache(maxsize=512)
def _forms(numbers: tuple[int, ...]) -> tuple[_Form, ...]:
    """Every expression that uses each of the ascending numbers once."""
    return _enumerate(numbers, None)


def _enumerate(numbers: tuple[int, ...], target: int | None) -> tuple[_Form, ...]:
    """`_forms`, but with a target only those that make it; the others are not built."""
    if len(numbers) == 1:
        alone: tuple[_Terms, _Terms] = ((numbers,), ())
        form = _Form(numbers[0], numbers, alone, alone)
        return (form,) if target in (None, numbers[0]) else ()
    found: dict[_Codes, _Form] = {}
    for left, right in _halves(numbers):
        for a in _forms(left):
            for b in _forms(right):
                for value, make, first, second in _combined(a, b):
                    if target is None or value == target:
                        form = make(value, first, second)
                        found.setdefault(form.codes, form)
    return tuple(found.values())


def _halves(numbers: tuple[int, ...]) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The ways to divide numbers in two parts; the first number is on the left."""
    places = range(1, len(numbers))
    parts = set()
    for size in range(len(numbers) - 1):
        for kept in combinations(places, size):
            left = tuple(numbers[place] for place in (0, *kept))
            right = tuple(numbers[place] for place in places if place not in kept)
            parts.add((left, right))
    return parts


_Make = Callable[[_Value, _Terms, _Terms], _Form]


def _combined(a: _Form, b: _Form) -> Iterator[tuple[_Value, _Make, _Terms, _Terms]]:
    """The expressions of two: each value, and from what which function makes the form."""
    (plus_a, minus_a), (plus_b, minus_b) = a.terms, b.terms
    yield a.value + b.value, _sum, plus_a + plus_b, minus_a + minus_b
    yield a.value - b.value, _sum, plus_a + minus_b, minus_a + plus_b
    yield b.value - a.value, _sum, plus_b + minus_a, minus_b + plus_a
    (over_a, under_a), (over_b, under_b) = a.factors, b.factors
    yield a.value * b.value, _product, over_a + over_b, under_a + under_b
    if b.value:
        yield _quotient(a.value, b.value), _product, over_a + under_b, under_a + over_b
    if a.value:
        yield _quotient(b.value, a.value), _product, over_b + under_a, under_b + over_a


def _quotient(a: _Value, b: _Value) -> _Value:
    return Fraction(a) / b if a % b else a // b


def _sum(value: _Value, added: _Terms, subtracted: _Terms) -> _Form:
    added, subtracted = _ordered(added), _ordered(subtracted)
    codes = _joined(added, _PLUS, subtracted, _MINUS)
    return _Form(value, codes, (added, subtracted), (((_OPEN, *codes, _CLOSE),), ()))


def _product(value: _Value, over: _Terms, under: _Terms) -> _Form:
    over, under = _ordered(over), _ordered(under)
    codes = _joined(over, _TIMES, under, _DIVIDE)
    return _Form(value, codes, ((codes,), ()), (over, under))


def _ordered(operands: _Terms) -> _Terms:
    return tuple(sorted(operands, key=lambda codes: (len(codes), codes)))


def _joined(first: _Terms, sign: int, second: _Terms, inverse: int) -> _Codes:
    codes = list(first[0])
    for operand in first[1:]:
        codes += (sign, *operand)
    for operand in second:
        codes += (inverse, *operand)
    return tuple(codes)
