"""The maze vocabulary: the published ids, round trips, and fast paths equal to the slow one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.astar import TIE_BREAKS, Trace
from jaxreason.mazes.formats import prompt_text, to_text
from jaxreason.mazes.generators import GENERATORS, MazeConfig, generate, generate_solved
from jaxreason.mazes.regimes import drop
from jaxreason.tokens import MazeVocabulary


def test_a_30x30_grid_has_the_944_published_ids():
    vocabulary = MazeVocabulary(30, 30)
    assert vocabulary.size == len(vocabulary.words) == 944
    assert vocabulary.words[:2] == ("c0", "c1")
    assert vocabulary.words[899:902] == ("c899", "0", "1")
    assert vocabulary.words[929:940] == (
        *("29", "start", "goal", "wall", "create", "close"),
        *("plan", "query", "reasoning", "solution", "end"),
    )
    assert vocabulary.words[940:] == ("<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>")
    specials = (vocabulary.pad, vocabulary.unk, vocabulary.bos, vocabulary.eos)
    assert specials == (940, 941, 942, 943)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (3, 5), (12, 12)])
def test_other_sizes_keep_the_order(width, height):
    vocabulary = MazeVocabulary(width, height)
    assert vocabulary.size == width * height + max(width, height) + 14
    assert [vocabulary.id(word) for word in vocabulary.words] == list(range(vocabulary.size))
    assert vocabulary.id("0") == width * height
    assert vocabulary.id("start") == width * height + max(width, height)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(GENERATORS),
    st.integers(6, 12),
    st.integers(6, 12),
    st.integers(0, 2**32),
    st.sampled_from(sorted(TIE_BREAKS)),
    st.sampled_from([0, 1, 2, 3, 4]),
)
def test_the_array_paths_equal_the_encoded_text(generator, width, height, index, tie_break, level):
    config = MazeConfig(generator, width, height)
    problem, trace = generate_solved(config, 0, index, "train", tie_break)
    trace = Trace(drop(trace.events, level), trace.plan)
    vocabulary = MazeVocabulary(width, height)
    text = to_text(problem, trace)
    prompt = vocabulary.encode_prompt(problem)
    completion = vocabulary.encode_completion(trace.events, trace.plan)
    assert prompt.dtype == completion.dtype == np.int32
    assert vocabulary.decode(prompt) == f"<|bos|> {prompt_text(problem)}"
    whole = np.concatenate([prompt, completion])
    np.testing.assert_array_equal(whole, vocabulary.encode(f"<|bos|> {text} <|eos|>"))
    assert vocabulary.decode(whole[1:-1]) == text


def test_no_events_and_none_are_the_solution_only_completion():
    problem, trace = generate_solved(MazeConfig("wilson", 9, 9), 0, 0)
    vocabulary = MazeVocabulary(9, 9)
    completion = vocabulary.encode_completion(None, trace.plan)
    np.testing.assert_array_equal(
        completion, vocabulary.encode_completion(trace.events[:0], trace.plan)
    )
    text = to_text(problem, Trace(trace.events[:0], trace.plan))
    response = text.removeprefix(prompt_text(problem)).strip()
    assert vocabulary.decode(completion) == f"{response} <|eos|>"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, MazeVocabulary(7, 5).size - 1)))
def test_ids_to_text_to_ids(ids):
    vocabulary = MazeVocabulary(7, 5)
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids


def test_a_vocabulary_serves_smaller_mazes_too():
    problem, trace = generate_solved(MazeConfig("dfs", 8, 6), 0, 0)
    vocabulary = MazeVocabulary(30, 30)
    ids = np.concatenate(
        [vocabulary.encode_prompt(problem), vocabulary.encode_completion(*_arrays(trace))]
    )
    assert vocabulary.decode(ids) == f"<|bos|> {to_text(problem, trace)} <|eos|>"


def _arrays(trace):
    return trace.events, trace.plan


def test_encoding_leaves_its_arguments_alone():
    problem, trace = generate_solved(MazeConfig("dfs", 8, 8), 0, 0)
    events, plan, floor = trace.events.copy(), trace.plan.copy(), problem.floor.copy()
    vocabulary = MazeVocabulary(8, 8)
    vocabulary.encode_prompt(problem)
    vocabulary.encode_completion(trace.events, trace.plan)
    np.testing.assert_array_equal(trace.events, events)
    np.testing.assert_array_equal(trace.plan, plan)
    np.testing.assert_array_equal(problem.floor, floor)


def test_unknown_words_are_an_error_or_unk_as_asked():
    vocabulary = MazeVocabulary(5, 5)
    with pytest.raises(InputError, match="word 1 of the text, '7', is not in the 5x5 vocabulary"):
        vocabulary.encode("plan 7 0")
    assert vocabulary.encode("plan 7", allow_unknown=True).tolist()[1] == vocabulary.unk
    with pytest.raises(InputError, match="word 'c25' is not in the 5x5"):
        vocabulary.id("c25")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: v.decode([0, v.size]), "id 44 at place 1 is outside 0..43"),
        (lambda v: v.decode([-1]), "id -1 at place 0"),
        (lambda v: v.encode_prompt(generate(MazeConfig("dfs", 6, 5), 0, 0)), "has 6x5 cells"),
        (lambda v: v.encode_completion(None, np.array([[1, 5]])), r"plan cell \(1, 5\)"),
        (
            lambda v: v.encode_completion(np.array([[1, 5, 0, 0, 0]]), np.array([[1, 1]])),
            r"event cell \(5, 0\) is outside the 5x5 grid",
        ),
        (
            lambda v: v.encode_completion(np.array([[1, 1, 0, 25, 0]]), np.array([[1, 1]])),
            "cost 25 has no word",
        ),
        (lambda v: MazeVocabulary(0, 5), "width is 0"),
    ],
)
def test_what_has_no_word_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(MazeVocabulary(5, 5))
