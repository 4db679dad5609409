"""The Countdown reward: correct and ended earns 1, everything else 0, and it is told apart."""

import dataclasses

import numpy as np
import pytest

from jaxreason.countdown import CODES, Problem
from jaxreason.data import CountdownData, countdown_source
from jaxreason.errors import InputError
from jaxreason.rewards.countdown import countdown_reward
from jaxreason.tokens import CountdownVocabulary
from jaxreason.types import Completions

PROBLEM = Problem((2, 3, 7), 8)
VOCABULARY = CountdownVocabulary(20)


def completions(texts, vocabulary=VOCABULARY, length=24):
    """Rows as a sampler returns them; a text without eos was cut by the limit."""
    rows = [vocabulary.encode(text) for text in texts]
    tokens = np.full((len(rows), length), vocabulary.pad, np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: ids.size] = ids
    return Completions(
        tokens,
        np.zeros(tokens.shape, np.float32),
        np.array([ids.size for ids in rows], np.int32),
        np.array([text.endswith("<|eos|>") for text in texts], bool),
    )


ANSWERS = {
    "answer 3 + 7 - 2 end <|eos|>": None,
    "answer 7 + 3 - 2 end": None,
    "answer 3 + 7 + 2 end <|eos|>": "wrong_value",
    "answer 3 + 7 end <|eos|>": "number_unused",
    "answer 3 + 7 - 2 - 2 end <|eos|>": "number_reused",
    "answer 8 end <|eos|>": "number_not_available",
    "answer 3 + 7 - 2 <|eos|>": "missing_end",
    "3 + 7 - 2 end <|eos|>": "no_answer",
    "<|eos|>": "no_answer",
    "answer 3 + + 7 - 2 end <|eos|>": "bad_syntax",
    "answer 3 + 7 - 2 end end end end": "bad_syntax",
    "answer 3 + 7 - 2 end <|pad|> <|eos|>": "bad_syntax",
}


def test_each_completion_earns_what_it_should():
    reward = countdown_reward([PROBLEM] * len(ANSWERS), completions(ANSWERS), VOCABULARY)
    assert reward.values.dtype == np.float32
    assert reward.values.tolist() == [1.0] + [0.0] * (len(ANSWERS) - 1)
    breakdown = reward.breakdown
    assert set(breakdown) == {"valid", "well_formed", "finished", *CODES}
    for name, values in breakdown.items():
        assert (values.shape, values.dtype) == ((len(ANSWERS),), np.float32), name
    assert breakdown["valid"].tolist() == [float(error is None) for error in ANSWERS.values()]
    assert breakdown["finished"].tolist() == [float(t.endswith("<|eos|>")) for t in ANSWERS]
    for code in CODES:
        assert breakdown[code].tolist() == [float(error == code) for error in ANSWERS.values()]
    total = breakdown["valid"] + sum(breakdown[code] for code in CODES)
    np.testing.assert_array_equal(total, 1)
    unreadable = sum(breakdown[code] for code in ("no_answer", "missing_end", "bad_syntax"))
    np.testing.assert_array_equal(breakdown["well_formed"], 1 - unreadable)


def test_every_training_example_earns_1_for_its_own_problem_alone():
    source = countdown_source(CountdownData(count=60))
    problems = [source.problem(index) for index in range(60)]
    texts = [
        source.vocabulary.decode(example["tokens"][example["prompt_length"] :])
        for example in (source[index] for index in range(60))
    ]
    rows = completions(texts, source.vocabulary)
    assert countdown_reward(problems, rows, source.vocabulary).values.all()
    moved = [dataclasses.replace(problem, target=problem.target + 1) for problem in problems]
    wrong = countdown_reward(moved, rows, source.vocabulary)
    assert not wrong.values.any()
    assert wrong.breakdown["wrong_value"].all()


def test_what_lies_behind_a_completion_is_not_read():
    rows = completions(["answer 3 + 7 - 2 end <|eos|>", "answer 3 + 7 - 2"])
    rows.tokens[0, rows.lengths[0] :] = VOCABULARY.id("end")
    rows.tokens[1, rows.lengths[1] :] = VOCABULARY.id("end")
    reward = countdown_reward([PROBLEM] * 2, rows, VOCABULARY)
    assert reward.values.tolist() == [1.0, 0.0]
    assert reward.breakdown["missing_end"].tolist() == [0.0, 1.0]


def test_no_completions_earn_nothing():
    reward = countdown_reward([], completions([]), VOCABULARY)
    assert reward.values.shape == (0,)
    assert all(values.shape == (0,) for values in reward.breakdown.values())


@pytest.mark.parametrize("count", [1, 3])
def test_one_problem_per_completion_is_needed(count):
    rows = completions(["answer 3 end <|eos|>"] * 2)
    with pytest.raises(InputError, match=f"{count} problems for 2 completions"):
        countdown_reward([PROBLEM] * count, rows, VOCABULARY)
