"""Whether an answer makes its target, as reward."""

from collections.abc import Sequence

import numpy as np

from jaxreason.countdown import CODES, Problem, judge
from jaxreason.errors import InputError
from jaxreason.rewards.reward import Reward
from jaxreason.tokens import CountdownVocabulary
from jaxreason.types import Completions


def countdown_reward(
    problems: Sequence[Problem], completions: Completions, vocabulary: CountdownVocabulary
) -> Reward:
    """1 if the answer is correct and the completion ended, else 0.

    A well-formed wrong answer earns nothing (TinyZero gives 0.1 for it). The breakdown holds
    `valid` (correct, ended or not), `well_formed`, `finished`, and for every code of
    `jaxreason.countdown.CODES` the completions it was the error of, so that `valid` and the codes
    sum to 1 per completion.

    Args:
        problems: the problem of each completion.
        completions: tokens, lengths and finished, as numpy arrays.
        vocabulary: the words of the numbers.

    Raises:
        InputError: not one problem per completion.
    """
    finished = np.asarray(completions.finished, bool)
    tokens, lengths = np.asarray(completions.tokens), np.asarray(completions.lengths)
    if len(problems) != len(tokens):
        raise InputError(
            f"there are {len(problems)} problems for {len(tokens)} completions; expected one each"
        )
    verdicts = [
        judge(problem, vocabulary.decode_words(row[: length - int(ended)]))
        for problem, row, length, ended in zip(problems, tokens, lengths, finished, strict=True)
    ]
    valid = np.array([verdict.valid for verdict in verdicts], bool)
    named = {
        "valid": valid,
        "well_formed": np.array([verdict.well_formed for verdict in verdicts], bool),
        "finished": finished,
        **{code: np.array([v.error == code for v in verdicts], bool) for code in CODES},
    }
    return Reward(
        (valid & finished).astype(np.float32),
        {name: value.astype(np.float32) for name, value in named.items()},
    )
