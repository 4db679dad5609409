"""Does an answer make the target? Exact rational arithmetic; nothing is ever executed."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from jaxreason.countdown.problem import Problem

CODES = (
    "no_answer",
    "missing_end",
    "bad_syntax",
    "number_not_available",
    "number_reused",
    "number_unused",
    "division_by_zero",
    "wrong_value",
)
"""What can be wrong, in the order in which it is looked for (the two middle ones in reading order:
the first number that is not there, or no longer, decides)."""

_UNREADABLE = CODES[:3]
_NUMBER = re.compile("0|[1-9][0-9]*")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


@dataclass(frozen=True)
class Verdict:
    """What is wrong with an answer, if anything.

    Attributes:
        valid: no error.
        error: one of `CODES`, or None.
        value: what the expression makes; None unless it was evaluated.
    """

    valid: bool
    error: str | None
    value: Fraction | None

    @property
    def well_formed(self) -> bool:
        """Whether there is an answer that can be read, whatever it makes."""
        return self.error not in _UNREADABLE


def judge(problem: Problem, response: Sequence[str] | str) -> Verdict:
    """Judges `... answer EXPRESSION end`, the words after the prompt.

    EXPRESSION is numbers, `+ - * /` (the usual precedence, from left to right) and parentheses,
    and uses each number exactly once, as in TinyZero and Stream of Search. What comes before the
    first `answer` is not judged. Stricter than TinyZero's verifier, which evaluates Python within
    1e-5: values are exact, there is no sign, no `**` and no `//`, and one answer only. Negative and
    fractional values between are allowed.

    Args:
        problem: the numbers and the target.
        response: any words, as a list or a text.
    """
    words = response.split() if isinstance(response, str) else list(response)
    if "answer" not in words:
        return _error("no_answer")
    answer = words[words.index("answer") + 1 :]
    if "end" not in answer:
        return _error("missing_end")
    # Only the last word is taken off: an `end` before it is no part of an expression.
    postfix = _postfix(answer[:-1])
    if postfix is None:
        return _error("bad_syntax")
    if code := _misuse(problem, [word for word in answer if _NUMBER.fullmatch(word)]):
        return _error(code)
    value = _evaluate(postfix)
    if value is None:
        return _error("division_by_zero")
    if value != problem.target:
        return Verdict(False, "wrong_value", value)
    return Verdict(True, None, value)


def _error(code: str) -> Verdict:
    return Verdict(False, code, None)


def _postfix(words: Sequence[str]) -> list[str] | None:
    """The expression with each operator after its operands (Dijkstra's shunting yard).

    None if it is malformed. Not recursive, so no depth of parentheses is too much.
    """
    output: list[str] = []
    waiting: list[str] = []
    expects_operand = True
    for word in words:
        if expects_operand:
            if word == "(":
                waiting.append(word)
            elif _NUMBER.fullmatch(word):
                output.append(word)
                expects_operand = False
            else:
                return None
        elif word in _PRECEDENCE:
            while waiting and _PRECEDENCE.get(waiting[-1], 0) >= _PRECEDENCE[word]:
                output.append(waiting.pop())
            waiting.append(word)
            expects_operand = True
        elif word == ")":
            while waiting and waiting[-1] != "(":
                output.append(waiting.pop())
            if not waiting:
                return None
            waiting.pop()
        else:
            return None
    if expects_operand or "(" in waiting:
        return None
    return output + waiting[::-1]


def _misuse(problem: Problem, used: Sequence[str]) -> str | None:
    # Compared as words: a model may write more digits than Python would convert.
    left = Counter(map(str, problem.numbers))
    for word in used:
        if word not in left:
            return "number_not_available"
        left[word] -= 1
        if left[word] < 0:
            return "number_reused"
    return "number_unused" if left.total() else None


def _evaluate(postfix: Sequence[str]) -> Fraction | None:
    """The value; None if something is divided by zero."""
    values: list[Fraction] = []
    for word in postfix:
        if word not in _OPERATIONS:
            values.append(Fraction(int(word)))
            continue
        right, left = values.pop(), values.pop()
        if word == "/" and right == 0:
            return None
        values.append(_OPERATIONS[word](left, right))
    return values[0]
