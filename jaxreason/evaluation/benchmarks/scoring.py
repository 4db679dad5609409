"""Whether a written answer is right, by the rules that published evaluations use."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.rewards.answer_formats import last_boxed
from jaxreason.rewards.math_answers import find_answer, math_reward

NOTHING = "[invalid]"
"""What an answer is called in which nothing was found, as lm-evaluation-harness does."""

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_STRICT_COT = re.compile(r"The answer is (\-?[0-9\.\,]+).")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_LAST = re.compile(r"-?\d+\.\d+|-?\d+")
_IGNORED = tuple(re.compile(p) for p in (",", r"\$", r"(?s).*#### ", r"\.$"))


class Scored(NamedTuple):
    """What a rule says of one answer.

    Attributes:
        found: what was taken for the answer; `NOTHING` if nothing was.
        correct: whether it is the right one.
    """

    found: str
    correct: bool


def strict_match(text: str, gold: str) -> Scored:
    """The first number after `####` (lm-evaluation-harness, gsm8k, strict-match)."""
    match = _STRICT.search(text)
    return _exact(match[1].strip() if match else NOTHING, gold)


def strict_cot(text: str, gold: str) -> Scored:
    """The first number after "The answer is" (lm-evaluation-harness, gsm8k_cot, strict-match).

    A character has to follow the number, which may be taken from its own end.
    """
    match = _STRICT_COT.search(text)
    return _exact(match[1].strip() if match else NOTHING, gold)


def flexible_extract(text: str, gold: str) -> Scored:
    """The last thing that looks like a number (lm-evaluation-harness, flexible-extract)."""
    matches = _FLEXIBLE.findall(text)
    found = next((part for part in matches[-1] if part), NOTHING) if matches else NOTHING
    return _exact(found.strip(), gold)


def last_number(text: str, gold: str) -> Scored:
    """The last number before another question; "1,234" is 234 (OpenCompass, gsm8k_postprocess)."""
    numbers = _LAST.findall(text.split("Question:")[0])
    found = numbers[-1] if numbers else NOTHING
    expected = gold.rpartition("#### ")[2].replace(",", "").strip()
    try:
        return Scored(found, found == expected or abs(float(found) - int(expected)) < 1e-6)
    except ValueError:
        return Scored(found, False)


_LETTERS = "A-J"
_CHOICE_WAYS = (
    # What is said to be the answer; then a letter alone or before the text of its choice; then
    # letters in brackets, and the last capital that stands alone and is no word.
    re.compile(
        rf"(?i)\banswer\b(?:\s+is)?\s*:?\s*(?:option\s+)?[(\[*\"']*([{_LETTERS}])\b(?!\s+\w)"
    ),
    re.compile(rf"(?i)^\W*([{_LETTERS}])\s*(?:$|[.):,\]*\n])"),
    re.compile(rf"(?i)\(([{_LETTERS}])\)"),
    re.compile(r"(?<![\w'])([B-HJ])(?![\w'])"),
)


def choice_letter(text: str, gold: str) -> Scored:
    """The letter that an answer names: in a box; after "answer is"; at its beginning, alone or
    before a mark; in brackets; else standing alone, where A and I, which are words, do not count.
    Of several found in one way the first counts. In any case but the last way's.
    """
    boxed = last_boxed(text)
    for candidate in (boxed, text) if boxed else (text,):
        for way in _CHOICE_WAYS:
            match = way.search(candidate.strip())
            if match:
                return Scored(match[1].upper(), match[1].upper() == gold)
    return Scored(NOTHING, False)


def _exact(found: str, gold: str) -> Scored:
    return Scored(found, plain_number(found) == plain_number(gold))


def plain_number(text: str) -> str:
    """A text without thousands commas, dollars, what comes before `#### ` and a full stop at its
    end, in lower case (lm-evaluation-harness, exact_match of gsm8k).
    """
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


_TEXT_RULES: Mapping[str, Callable[[str, str], Scored]] = {
    "strict-match": strict_match,
    "strict-cot": strict_cot,
    "flexible-extract": flexible_extract,
    "last-number": last_number,
    "letter": choice_letter,
}
RULES: Mapping[str, str] = {
    "strict-match": "the number after ####",
    "strict-cot": 'the number after "The answer is"',
    "flexible-extract": "the last number",
    "last-number": "the last number, commas not understood",
    "letter": "the letter that is named",
    "math-verify": "equal by math-verify: in a box, in <answer>, after ####, else at the end",
    "acc": "the choice of the highest probability",
    "acc_norm": "the same, log-probabilities divided by the characters of the choice",
}
"""What each metric takes for the answer."""


def score(metric: str, texts: Sequence[str], golds: Sequence[str]) -> list[Scored]:
    """What a rule says of answers.

    Args:
        metric: a key of `RULES`, but none of those that compare probabilities.
        texts: answers of a model.
        golds: right answers as the data have them: with GSM8K's `####`, MATH's box, a letter.

    Raises:
        InputError: math-verify is missing.
    """
    if metric != "math-verify":
        rule = _TEXT_RULES[metric]
        return [rule(text, gold) for text, gold in zip(texts, golds, strict=True)]
    right = math_reward(golds, texts).breakdown["correct"]
    places = [find_answer(text) for text in texts]
    found = [(place.text if place.marked else place.text[-80:]) or NOTHING for place in places]
    return [Scored(each, bool(yes)) for each, yes in zip(found, right, strict=True)]


def choose(nats: Sequence[float], choices: Sequence[str], normalised: bool = False) -> int:
    """The choice of the highest log-probability, the first of equal ones.

    Args:
        nats: of each choice.
        choices: their texts, by whose characters nats are divided if `normalised`.
    """
    values = np.asarray(nats, np.float64)
    if normalised:
        values = values / np.array([max(len(choice), 1) for choice in choices])
    return int(np.argmax(values))
