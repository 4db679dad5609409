"""Rewards of answers in words: CLEVR's, multiple choice, yes or no."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from jaxreason.errors import InputError
from jaxreason.rewards.answer_formats import FORMS, check_weights, form_breakdown, weighted
from jaxreason.rewards.math_answers import RECIPES, VERDICTS, AnswerPlace, find_answer, gold_answer
from jaxreason.rewards.reward import Reward

_SPACES = re.compile(r"\s+")


def plain_answer(text: str) -> str:
    """An answer as it is compared: lower case, single spaces, without marks around it.

    >>> plain_answer(" (B) ")
    'b'
    """
    return _SPACES.sub(" ", text).strip().strip("\"'`*.,;:!()[] ").casefold()


def word_reward(
    answers: Sequence[str],
    texts: Sequence[str],
    weights: Mapping[str, float] = RECIPES["correct"],
    *,
    place: AnswerPlace = "any",
) -> Reward:
    """The weighted sum of verdict and forms, as `math_reward`; answers are equal or not.

    Without any mark the whole text after the reasoning is the answer: "It is blue" is not "blue".

    Args:
        answers: the expected answers, or solutions that hold them; see `gold_answer`.
        texts: completions as text, one for each answer.
        weights: name in the breakdown to what it earns.
        place: where answers are looked for; see `find_answer`.

    Raises:
        InputError: lengths that differ, unknown names, or no answer.
    """
    if len(answers) != len(texts):
        raise InputError(f"there are {len(answers)} answers for {len(texts)} texts")
    check_weights(weights, dict.fromkeys([*VERDICTS, *FORMS]))
    golds = [plain_answer(gold_answer(answer)) for answer in answers]
    found = [plain_answer(find_answer(text, place).text) for text in texts]
    pairs = zip(golds, found, strict=True)
    breakdown = {
        "correct": np.array([bool(said) and said == gold for gold, said in pairs], np.float32),
        "answered": np.array([bool(said) for said in found], np.float32),
        "undecided": np.zeros(len(texts), np.float32),
        **form_breakdown(texts),
    }
    return weighted(weights, breakdown)
