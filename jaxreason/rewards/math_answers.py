"""Rewards of mathematical answers: GSM8K, MATH and whatever has an answer that can be computed.

Answers are compared by math-verify (extra `math`), so 1/2 equals 0.5 and `\\frac{1}{2}`, 1,000
equals 1000, and 50\\% equals both 0.5 and 50, as it cannot be known which was meant.

Values are compared, not how they are written: `\\boxed{2+2}` is right where 4 is expected, so a
policy can earn the reward for a sum that it leaves to the judge. Numbers between commas are a set:
`\\boxed{3,2,1}` equals 1,2,3.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from jaxreason.errors import InputError
from jaxreason.rewards.answer_formats import (
    FORMS,
    after_reasoning,
    check_weights,
    form_breakdown,
    last_boxed,
    weighted,
)
from jaxreason.rewards.math_judge import INTEGER, MathJudge
from jaxreason.rewards.reasoning import tagged_answer
from jaxreason.rewards.reward import Reward

AnswerPlace = Literal["any", "boxed", "tagged", "hashes"]

LONGEST_ANSWER = 500
"""Characters; nobody writes a longer answer to such a question, and reading it takes long."""

LONGEST_TAIL = 2000
"""Characters at the end of a text that an answer without any mark is looked for in."""

VERDICTS = ("correct", "answered", "undecided")

RECIPES: Mapping[str, Mapping[str, float]] = {
    "correct": {"correct": 1.0},
    "mmada": {"correct": 2.0, "think_strict": 0.5},
    "d1": {"correct": 2.0, "integer": 0.5, "tags_strict": 0.5, "tags_soft": 0.5, "tag_count": 1.0},
    "r1": {"correct": 1.0, "think_answer": 1.0},
    "boxed": {"correct": 1.0, "boxed": 0.1},
}
"""Weights by name: MMaDA (Yang et al. 2025, arXiv 2505.15809, section 2.3.2); d1 on GSM8K (Zhao et
al. 2025, arXiv 2504.12216; with `place="tagged"`); DeepSeek-R1 as it is commonly rebuilt (the paper
names both rewards and no weights). `boxed` is ours.
"""

_UNITS = re.compile(
    r"(?P<number>-?\s*(?:\\?\$)?\s*(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)\s+"
    r"(?!(?:pi|sqrt|times|over|choose|mod|cdot|ln|log|sin|cos|tan|to|and|or)\b)[A-Za-z]{2,}"
    r"(?:\s+[A-Za-z]{2,})*\.?"
)
_FORMULA = re.compile(r"(?P<mark>\${1,2})(?P<inside>(?:[^$\\]|\\.)*)(?P=mark)", re.DOTALL)
"""A single formula and nothing else, dollars around it."""

_judges: dict[float, MathJudge] = {}
_lock = threading.Lock()


def gold_answer(text: str) -> str:
    """The expected answer in a solution of GSM8K (after the last `####`) or MATH (in the last box);
    any other text is the answer itself.

    Raises:
        InputError: there is nothing, or a box that is never closed.
    """
    if "####" in text:
        answer = text.rpartition("####")[2].strip()
        answer = answer.splitlines()[0].strip() if answer else ""
    elif re.search(r"\\(?:boxed|fbox)\b", text):
        boxed = last_boxed(text)
        if boxed is None:
            raise InputError(f"answer {text[-80:]!r} has a \\boxed{{ that is never closed")
        answer = boxed
    else:
        answer = text.strip()
    formula = _FORMULA.fullmatch(answer)
    if formula:
        answer = formula["inside"].strip()
    elif answer.count("$") == 1:
        answer = answer.lstrip("$ ")
    if not answer.strip("$ "):
        raise InputError(f"answer {text[-80:]!r} holds nothing after its mark; expected an answer")
    return answer


class Found(NamedTuple):
    """An answer in a text.

    Attributes:
        text: the answer, or text to look for it in; "" if there is none.
        marked: whether a box, a tag or `####` said that this is the answer, and nothing else.
    """

    text: str
    marked: bool


def find_answer(text: str, place: AnswerPlace = "any") -> Found:
    """The part of a completion that is judged.

    Args:
        text: the completion. What is still in `<think>` is no answer.
        place: "boxed": the last balanced `\\boxed{}`; "tagged": the last `<answer> </answer>`,
            and the box in it if there is one; "hashes": after the last `####`; "any": the first of
            these that there is, else the end of the text, where an expression is looked for.
    """
    rest = after_reasoning(text)
    if rest is None:
        return Found("", False)
    tagged = "<answer>" in rest and "</answer>" in rest
    if place == "tagged" or (place == "any" and tagged):
        inside = tagged_answer(rest) if tagged else ""
        return _marked(last_boxed(inside) or inside)
    boxed = last_boxed(rest) if place in ("any", "boxed") else None
    if boxed is not None or place == "boxed":
        return _marked(boxed or "")
    _, hashes, after = rest.rpartition("####")
    if place == "hashes" or hashes:
        lines = after.strip().splitlines() if hashes else []
        return _marked(lines[0] if lines else "")
    return Found(rest[-LONGEST_TAIL:], False)


def _marked(answer: str) -> Found:
    return Found("" if len(answer) > LONGEST_ANSWER else without_units(answer), True)


def without_units(answer: str) -> str:
    """A number without the plain words that follow it; anything else as it is, stripped."""
    answer = answer.strip()
    units = _UNITS.fullmatch(answer)
    return re.sub(r"[\\$\s]", "", units["number"]) if units else answer


def math_reward(
    answers: Sequence[str],
    texts: Sequence[str],
    weights: Mapping[str, float] = RECIPES["correct"],
    *,
    place: AnswerPlace = "any",
    seconds: float = 5.0,
) -> Reward:
    """The weighted sum of verdict and forms.

    The breakdown always holds `correct`, `answered` (something could be read as an answer),
    `undecided` (time, memory or an error ended the comparison: not correct) and every form of
    `answer_formats.FORMS`.

    Args:
        answers: the expected answers, or solutions that hold them; see `gold_answer`.
        texts: completions as text, one for each answer.
        weights: name in the breakdown to what it earns.
        place: where answers are looked for; see `find_answer`.
        seconds: limit of one comparison.

    Raises:
        InputError: lengths that differ, unknown names, no answer, or math-verify is missing.
        FailureError: the processes that compare cannot be started.
    """
    if len(answers) != len(texts):
        raise InputError(f"there are {len(answers)} answers for {len(texts)} texts")
    check_weights(weights, dict.fromkeys([*VERDICTS, *FORMS]))
    if place not in get_args(AnswerPlace):
        raise InputError(f"place is {place!r}; expected {', '.join(get_args(AnswerPlace))}")
    golds = [without_units(gold_answer(answer)) for answer in answers]
    candidates = [_expression(find_answer(text, place)) for text in texts]
    verdicts = np.array(math_judge(seconds)(golds, candidates), np.float32)
    columns = verdicts.reshape(-1, len(VERDICTS)).T
    breakdown = {**dict(zip(VERDICTS, columns, strict=True)), **form_breakdown(texts)}
    return weighted(weights, breakdown)


def _expression(found: Found) -> str:
    """As the judge reads it: whole numbers as they are, other marked answers in a box."""
    plain = not found.marked or not found.text or INTEGER.fullmatch(found.text)
    return found.text if plain else rf"\boxed{{{found.text}}}"


def math_judge(seconds: float = 5.0) -> MathJudge:
    """The judge that all rewards with this limit share.

    Raises:
        InputError: math-verify is missing.
    """
    with _lock:
        if seconds not in _judges:
            _judges[seconds] = MathJudge(seconds)
        return _judges[seconds]
