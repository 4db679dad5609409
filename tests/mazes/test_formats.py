"""Text of problems and traces: exact words, round trips, and errors that name the word."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.astar import Trace, search
from jaxreason.mazes.formats import (
    FORMATS,
    parse,
    parse_json_line,
    prompt_text,
    read_events,
    read_plan,
    to_text,
)
from jaxreason.mazes.generators import GENERATORS, MazeConfig, generate, generate_solved
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.regimes import drop

CORNER = Problem(np.array([[True, True], [False, True]]), (0, 0), (1, 1))
CORNER_PROMPT = "query start 0 0 goal 1 1 wall 0 1 reasoning"
CORNER_TEXT = (
    f"{CORNER_PROMPT} close 0 0 c0 c2 create 1 0 c1 c1 close 1 0 c1 c1 create 1 1 c2 c0 "
    "close 1 1 c2 c0 solution plan 0 0 plan 1 0 plan 1 1 end"
)


def test_the_papers_format_word_for_word():
    assert to_text(CORNER, search(CORNER)) == CORNER_TEXT
    assert to_text(CORNER, None) == prompt_text(CORNER) == CORNER_PROMPT


def test_searchformers_format_word_for_word():
    assert to_text(CORNER, search(CORNER, "searchformer"), "searchformer") == (
        "start 0 0 goal 1 1 wall 0 1 create 0 0 c0 c2 close 0 0 c0 c2 create 1 0 c1 c1 "
        "close 1 0 c1 c1 create 1 1 c2 c0 close 1 1 c2 c0 plan 0 0 plan 1 0 plan 1 1"
    )


def test_walls_are_listed_row_by_row():
    problem = Problem(np.array([[True, False, False], [False, True, True]]), (0, 0), (1, 1))
    assert "wall 1 0 wall 2 0 wall 0 1" in prompt_text(problem)


def test_a_trace_without_events_is_the_solution_only_line_and_missing_costs_are_not_written():
    trace = search(CORNER)
    assert to_text(CORNER, Trace(drop(trace.events, 4), trace.plan)) == (
        f"{CORNER_PROMPT} solution plan 0 0 plan 1 0 plan 1 1 end"
    )
    assert to_text(CORNER, Trace(drop(trace.events, 2), trace.plan)) == (
        f"{CORNER_PROMPT} create 1 0 create 1 1 solution plan 0 0 plan 1 0 plan 1 1 end"
    )


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(GENERATORS),
    st.integers(6, 14),
    st.integers(6, 14),
    st.integers(0, 2**32),
    st.sampled_from(FORMATS),
    st.sampled_from([0, 1, 2, 3, 4]),
)
def test_text_to_record_to_text(generator, width, height, index, format, level):
    problem, trace = generate_solved(MazeConfig(generator, width, height), 0, index)
    trace = Trace(drop(trace.events, level), trace.plan)
    text = to_text(problem, trace, format)
    record = parse(text, width, height)
    assert record.format == format
    assert record.problem.digest() == problem.digest()
    np.testing.assert_array_equal(record.trace.events, trace.events)
    np.testing.assert_array_equal(record.trace.plan, trace.plan)
    assert to_text(record.problem, record.trace, format) == text
    assert " ".join([prompt_text(problem, format), *record.response]) == text


def test_without_sides_the_grid_is_the_smallest_square_that_holds_all_cells():
    assert parse("query start 0 0 goal 4 1 wall 2 5 reasoning").problem.floor.shape == (6, 6)
    problem = generate(MazeConfig(), 0, 0)
    assert parse(to_text(problem, None)).problem.digest() == problem.digest()


def test_the_json_keys_cols_and_rows_give_the_sides_and_arguments_go_before_them():
    line = json.dumps({"text": CORNER_TEXT, "rows": 3, "cols": 4})
    assert parse_json_line(line).problem.floor.shape == (3, 4)
    assert parse_json_line(line, width=7, height=6).problem.floor.shape == (6, 7)
    assert parse_json_line(json.dumps({"text": CORNER_TEXT})).problem.floor.shape == (2, 2)


def test_what_follows_the_prompt_is_kept_unjudged():
    record = parse(f"{CORNER_PROMPT} close banana solution plan solution end")
    assert record.trace_tokens == ["close", "banana"]
    assert record.plan_tokens == ["solution", "plan", "solution", "end"]
    assert parse(f"{CORNER_PROMPT} close 0 0").plan_tokens == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"word 0 is missing \(the text ends\); expected 'start'"),
        ("query goal 1 1", "word 1 is 'goal'; expected 'start'"),
        ("query start 0 x goal 1 1 reasoning", "word 3 is 'x'; expected a coordinate"),
        ("query start 0 -1 goal 1 1 reasoning", "word 3 is '-1'; expected a coordinate"),
        ("query start 0 ² goal 1 1 reasoning", "word 3 is '²'; expected a coordinate"),
        ("query start 0 0 goal 1", "word 6 is missing"),
        ("query start 0 0 goal 1 1 wall 0", "word 9 is missing"),
        ("query start 0 0 goal 1 1 wall 0 1", r"word 10 is missing .* expected 'reasoning'"),
        ("query start 0 0 goal 1 1 close 0 0", "word 7 is 'close'; expected 'reasoning'"),
        ("query start 0 0 goal 1 1 wall 0 0 reasoning", r"start \(0, 0\) is a wall"),
        ("query start 0 0 goal 9999999 1 reasoning", "at most 16777216 are read"),
    ],
)
def test_malformed_prompts_name_the_word(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((1, 2), r"goal \(1, 1\) is outside the 1x2 grid|wall"),
        ((2, 1), "outside the 2x1 grid"),
        ((2, None), "width and height go together"),
        ((0, 0), "expected at least 1x1"),
    ],
)
def test_sides_that_cannot_hold_the_text_are_refused(sides, message):
    with pytest.raises(InputError, match=message):
        parse(CORNER_TEXT, *sides)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "the line is no JSON"),
        ("[" * 100_000, "the line is no JSON"),
        ('{"rows": ' + "9" * 6000 + "}", "the line is no JSON"),
        ("[1]", "no string under the key 'text'"),
        ('{"text": 3}', "no string under the key 'text'"),
        ('{"text": "query", "rows": "x", "cols": 3}', "rows is 'x'"),
    ],
)
def test_malformed_json_lines_are_refused(line, message):
    with pytest.raises(InputError, match=message):
        parse_json_line(line)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("open 1 1 c0 c0", "word 0 is 'open'; expected 'create' or 'close'"),
        ("create 1", "word 2 is missing"),
        ("create 1 1 c0", r"word 4 is missing .* expected a cost"),
        ("create 1 1 c0 close 1 1", "word 4 is 'close'; expected a cost"),
        ("create 1 1 3 4", "word 3 is '3'; expected a cost such as c12"),
    ],
)
def test_words_that_are_no_events_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        read_events(words.split())


def test_words_that_are_no_plan_are_refused():
    with pytest.raises(InputError, match="word 3 is 'end'; expected 'plan'"):
        read_plan(["plan", "1", "1", "end"])


def test_an_unknown_format_is_refused():
    with pytest.raises(InputError, match="format 'xml' is unknown; expected one of paper"):
        to_text(CORNER, None, "xml")


WORDS = ("query", "start", "goal", "wall", "reasoning", "solution", "plan", "0", "1", "2", "c3")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=20))
def test_random_words_are_refused_as_a_prompt_and_kept_as_a_response(words):
    with pytest.raises(InputError):
        parse(" ".join(["reasoning", *words]))
    assert parse(" ".join([CORNER_PROMPT, *words])).response == words
