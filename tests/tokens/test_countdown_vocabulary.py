"""The Countdown vocabulary: order of the ids, round trips, prompts and completions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.countdown import Problem
from jaxreason.errors import InputError
from jaxreason.tokens import CountdownVocabulary


@pytest.mark.parametrize("limit", [1, 20, 100])
def test_numbers_are_their_own_ids_and_the_rest_follows(limit):
    vocabulary = CountdownVocabulary(limit)
    assert vocabulary.size == len(vocabulary.words) == limit + 15
    assert [vocabulary.id(str(number)) for number in range(limit + 1)] == list(range(limit + 1))
    assert vocabulary.words[limit + 1 :] == (
        *("+", "-", "*", "/", "(", ")", "query", "target", "answer", "end"),
        *("<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>"),
    )
    specials = (vocabulary.pad, vocabulary.unk, vocabulary.bos, vocabulary.eos)
    assert specials == tuple(range(limit + 11, limit + 15))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 20))
def test_a_prompt_names_the_numbers_and_the_target(numbers, target):
    vocabulary = CountdownVocabulary(20)
    prompt = vocabulary.encode_prompt(Problem(tuple(numbers), target))
    listed = " ".join(map(str, sorted(numbers)))
    assert vocabulary.decode(prompt) == f"<|bos|> query {listed} target {target}"
    assert prompt.dtype == np.int32


@pytest.mark.parametrize("form", [str, str.split])
def test_a_completion_is_the_answer_and_the_end(form):
    vocabulary = CountdownVocabulary(20)
    completion = vocabulary.encode_completion(form("( 3 + 7 ) * 2"))
    assert vocabulary.decode(completion) == "answer ( 3 + 7 ) * 2 end <|eos|>"
    assert completion.dtype == np.int32


@given(st.lists(st.integers(0, CountdownVocabulary(30).size - 1)))
def test_ids_to_text_to_ids(ids):
    vocabulary = CountdownVocabulary(30)
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids


def test_unknown_words_become_unk_when_asked_for():
    vocabulary = CountdownVocabulary(9)
    assert vocabulary.encode("9 10", allow_unknown=True).tolist() == [9, vocabulary.unk]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: v.encode("3 + 10"), "word 2 of the text, '10', is not in the 0..9 countdown"),
        (lambda v: v.encode_completion("3 ^ 2"), "word 1 of the text, '\\^'"),
        (lambda v: v.id("wall"), "word 'wall' is not in the 0..9 countdown vocabulary"),
        (lambda v: v.decode([v.size]), "id 24 at place 0 is outside 0..23"),
        (lambda v: v.encode_prompt(Problem((3, 10), 4)), "number 10 of the problem has no word"),
        (lambda v: v.encode_prompt(Problem((3, 4), 12)), "target 12 of the problem has no word"),
        (lambda v: CountdownVocabulary(0), "limit is 0"),
    ],
)
def test_what_has_no_word_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(CountdownVocabulary(9))
