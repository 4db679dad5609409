"""The compiled validator against the rules written out literally, on traces and on noise."""

import random

import numpy as np
import pytest
from corruptions import CORRUPTIONS, Case, words_of
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_reference import slow_errors

from jaxreason.errors import InputError
from jaxreason.mazes import GENERATORS, MazeConfig, Problem, generate_solved, search
from jaxreason.mazes.validation import (
    LEVELS,
    REFERENCE_CODES,
    judge,
    read_ids,
    validate_plan,
    validate_trace,
)
from jaxreason.tokens.maze_vocabulary import MazeVocabulary

SIZE = 8


def case_of(generator, index, size=SIZE):
    problem, trace = generate_solved(MazeConfig(generator, size, size), 11, index)
    return Case(problem, trace.events.tolist(), [tuple(cell) for cell in trace.plan.tolist()])


def codes(problem, words):
    return [error.code for error in validate_trace(problem, words).errors]


generators = st.sampled_from(GENERATORS)
indices = st.integers(0, 10**6)
numbers = [str(n) for n in range(SIZE + 1)] + [f"c{n}" for n in range(12)]
keywords = ["create", "close", "plan", "solution", "end", "reasoning", "eos", "bos", "wall"]
odd = ["-1", "+3", "1_0", "007", "c-2", "c", "x4", "٣", "c01", "<|pad|>"]
odd += ["eosx", "replan", "closecreate"]
anything = st.sampled_from(numbers + keywords + odd)


@settings(max_examples=300, deadline=None)
@given(generators, indices, st.sampled_from(sorted(CORRUPTIONS)), st.data())
def test_corrupted_traces_give_the_oracles_errors_in_order(generator, index, name, data):
    case = case_of(generator, index)
    draws = random.Random(index)
    words = CORRUPTIONS[name].corrupt(case, draws) or words_of(case.events, case.plan)
    # On top of the corruption, a few words replaced by any others.
    for _ in range(data.draw(st.integers(0, 3))):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(anything)
    if words[0] != "reasoning":
        assert codes(case.problem, words) == slow_errors(case.problem, words)


@settings(max_examples=200, deadline=None)
@given(generators, indices, st.data())
def test_edited_events_give_the_oracles_errors_in_order(generator, index, data):
    case = case_of(generator, index)
    events = [list(event) for event in case.events]
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(events) - 1))
        column = data.draw(st.integers(0, 4))
        by = data.draw(st.integers(-3, 3))
        events[place][column] = (events[place][0] + by) % 2 if column == 0 else (
            events[place][column] + by)  # fmt: skip
        events.insert(data.draw(st.integers(0, len(events))), list(events[place]))
    words = words_of(events, case.plan)
    assert codes(case.problem, words) == slow_errors(case.problem, words)


@settings(max_examples=300, deadline=None)
@given(indices, st.lists(anything, max_size=60))
def test_random_words_never_crash_nor_validate_and_agree_with_the_oracle(index, words):
    case = case_of("drunkards_walk", index)
    verdict = judge(case.problem, words)
    assert not any(verdict.trace(level).valid for level in LEVELS)
    if words[:1] != ["reasoning"]:
        assert [e.code for e in verdict.reference.errors] == slow_errors(case.problem, words)
    for level in LEVELS:
        assert all(error.detail for error in verdict.trace(level).errors)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_judged(text):
    case = case_of("wilson", 0)
    assert not judge(case.problem, text).strict.valid
    validate_plan(case.problem, text)


def test_thousands_of_random_token_strings_never_validate():
    vocabulary = MazeVocabulary(SIZE, SIZE)
    random_numbers = np.random.default_rng(0)
    case = case_of("wilson", 3)
    for _ in range(3000):
        ids = random_numbers.integers(0, vocabulary.size, random_numbers.integers(0, 200))
        verdict = judge(case.problem, read_ids(ids, vocabulary.words))
        assert not verdict.plan_valid
        assert not any(verdict.trace(level).valid for level in LEVELS)


@settings(max_examples=100, deadline=None)
@given(generators, indices, st.integers(0, 3))
def test_ids_words_and_text_get_the_same_verdict(generator, index, edits):
    vocabulary = MazeVocabulary(SIZE, SIZE)
    case = case_of(generator, index)
    draws = random.Random(index)
    words = words_of(case.events, case.plan)
    for _ in range(edits):
        words[draws.randrange(len(words))] = draws.choice(vocabulary.words)
    text = " ".join(words)
    for level in LEVELS:
        expected = validate_trace(case.problem, words, level).errors
        assert validate_trace(case.problem, text, level).errors == expected
        ids = read_ids(vocabulary.encode(text), vocabulary.words)
        assert validate_trace(case.problem, ids, level).errors == expected


def test_levels_nest():
    assert set(LEVELS) == {"reference", "strict", "exact"}
    case = case_of("searchformer", 1)
    words = words_of(case.events[1:], case.plan)
    found = {level: [e.code for e in validate_trace(case.problem, words, level).errors]
             for level in LEVELS}  # fmt: skip
    assert [code for code in found["strict"] if code in REFERENCE_CODES] == found["reference"]
    assert found["exact"] == [*found["strict"], "search_mismatch"]


@pytest.mark.parametrize("tie_break", ["searchformer", "searchformer_random"])
def test_a_search_that_creates_the_start_is_right_where_it_is_named(tie_break):
    problem = case_of("searchformer", 3).problem
    trace = search(problem, tie_break)
    events, plan = trace.events.tolist(), [tuple(cell) for cell in trace.plan.tolist()]
    named = judge(problem, words_of(events, plan), tie_break)
    assert named.strict.valid
    assert named.exact.valid
    assert named.reference.first_error == "first_create_not_last_closed"
    assert (
        judge(problem, words_of(events, plan)).strict.first_error == "first_create_not_last_closed"
    )
    without = judge(problem, words_of(events[1:], plan), tie_break)
    assert without.strict.valid
    assert without.exact.first_error == "search_mismatch"
    for column in range(1, 5):
        wrong = [list(event) for event in events]
        wrong[0][column] += 1
        assert not judge(problem, words_of(wrong, plan), tie_break).strict.valid


def test_what_comes_around_the_response_does_not_matter():
    case = case_of("wilson", 5)
    words = words_of(case.events, case.plan)
    around = ["reasoning", *words, "<|eos|>", "<|pad|>", "<|pad|>"]
    plain, wrapped = judge(case.problem, words), judge(case.problem, around)
    assert plain.exact.valid
    assert wrapped.exact.valid
    assert wrapped.plan_valid
    assert wrapped.trace_tokens == plain.trace_tokens == 5 * len(case.events)
    assert wrapped.response_tokens == plain.response_tokens == len(words)


def test_a_solution_only_response_has_a_plan_and_no_trace():
    case = case_of("kruskal", 2)
    verdict = judge(case.problem, words_of([], case.plan))
    assert (verdict.plan_valid, verdict.optimal, verdict.ended) == (True, True, True)
    assert (verdict.has_trace, verdict.trace_tokens) == (False, 0)
    assert [e.code for e in verdict.reference.errors] == [
        "goal_not_reached",
        "plan_length_mismatch",
    ]


def test_a_cut_off_response_is_known_by_its_missing_end():
    case = case_of("kruskal", 2)
    words = words_of(case.events, case.plan)[:-4]
    verdict = judge(case.problem, words)
    assert not verdict.ended
    assert verdict.plan_error == "goal_not_reached"
    assert verdict.trace_tokens == 5 * len(case.events)
    assert not judge(case.problem, []).ended


def test_an_error_names_its_event_and_its_word():
    case = case_of("wilson", 7)
    events = [list(event) for event in case.events]
    place = case.places(1)[2]
    events[place][3] += 7
    first = validate_trace(case.problem, words_of(events, case.plan)).first
    assert (first.code, first.event_index) == ("close_not_in_open_list", place)
    assert f"word {5 * place}" in first.detail


def test_numbers_too_large_for_sums_are_malformed():
    case = case_of("wilson", 0)
    words = words_of(case.events, case.plan)
    words[3] = "c" + "9" * 30
    assert validate_trace(case.problem, words).first_error == "operation_syntax_error"
    words[3] = "c" + "9" * 5000  # beyond what int() reads at all
    assert validate_trace(case.problem, words).first_error == "operation_syntax_error"


def test_unusual_spelling_of_numbers_passes_reference_and_fails_strict():
    case = case_of("wilson", 0)
    words = words_of(case.events, case.plan)
    words[1] = "0" + words[1]
    words[3] = "x0"
    assert validate_trace(case.problem, words).valid
    assert validate_trace(case.problem, words, "strict").first_error == "unusual_word"


def test_a_delimiter_inside_an_event_is_seen_by_strict_only():
    case = case_of("dfs", 4)
    words = [word for word in words_of(case.events, case.plan) if word != "solution"]
    words.insert(7, "solution")
    assert validate_trace(case.problem, words).valid
    assert validate_trace(case.problem, words, "strict").first_error == "delimiter_error"


def test_start_equal_to_goal_is_one_close_and_a_plan_of_one_cell():
    problem = Problem(np.ones((3, 3), bool), (1, 1), (1, 1))
    verdict = judge(problem, "close 1 1 c0 c0 solution plan 1 1 end")
    assert verdict.exact.valid
    assert verdict.optimal


def test_an_unreachable_goal_is_never_a_valid_trace():
    floor = np.array([[True, False, True]])
    problem = Problem(floor, (0, 0), (2, 0))
    verdict = judge(problem, "close 0 0 c0 c2 solution plan 0 0 plan 2 0 end")
    assert verdict.reference.first_error == "goal_not_reached"
    assert not verdict.exact.valid
    assert not verdict.optimal


def test_an_unknown_level_is_refused():
    case = case_of("wilson", 0)
    with pytest.raises(InputError, match="'sloppy' is unknown; expected one of reference, strict"):
        validate_trace(case.problem, [], "sloppy")
