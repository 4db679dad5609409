"""Conversations and reasoning as text."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.tokens.chat import ChatTemplate, format_reasoning, parse_reasoning

HEADER = "<|start_header_id|>{}<|end_header_id|>\n"
USER, ASSISTANT = HEADER.format("user"), HEADER.format("assistant")
PLAIN = ChatTemplate()


def test_a_prompt_ends_in_the_header_of_the_answer():
    text = PLAIN.render([("user", "What is 2+2?")], prompt=True)
    assert text == f"{USER}What is 2+2?<|eot_id|>{ASSISTANT}"


def test_a_training_text_is_its_prompt_and_the_answer():
    question = [("system", "Be brief."), ("user", "Hi")]
    prompt = PLAIN.render(question, prompt=True)
    assert PLAIN.render([*question, ("assistant", "Hello")]) == prompt + "Hello"
    closing = dataclasses.replace(PLAIN, close_answer=True)
    assert closing.render([*question, ("assistant", "Hello")]) == prompt + "Hello<|eot_id|>"


def test_the_terminator_of_the_released_weights_can_be_asked_for():
    quirk = dataclasses.replace(PLAIN, end_of_turn="<eot_id>")
    assert quirk.render([("user", "Draw")], prompt=True) == f"{USER}Draw<eot_id>{ASSISTANT}"


def test_earlier_answers_are_closed():
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert PLAIN.render(turns, prompt=True) == (
        f"{USER}a<|eot_id|>{ASSISTANT}b<|eot_id|>{USER}c<|eot_id|>{ASSISTANT}"
    )


def test_no_turns_are_refused():
    with pytest.raises(InputError, match="no turns"):
        PLAIN.render([])


words = st.lists(st.sampled_from("abcdef"), min_size=1).map(" ".join)


@given(words, words)
def test_reasoning_and_answer_survive_the_format(reasoning, answer):
    parsed = parse_reasoning(format_reasoning(reasoning, answer))
    assert parsed == (reasoning, answer, True, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", ("a", "b", True, True)),
        ("  <think> a </think> b ", ("a", "b", True, True)),
        ("so <think> a </think> b", ("a", "b", False, True)),
        ("<think> a </think> b </think> c", ("a", "b </think> c", False, True)),
        ("<think> a <think> c </think> b", ("a <think> c", "b", False, True)),
        ("<think> </think> b", ("", "b", False, True)),
        ("<think> a </think>", ("a", "", False, False)),
        ("<think> a b", (None, "<think> a b", False, False)),
        ("a </think> b", (None, "a </think> b", False, False)),
        ("</think> a <think> b", (None, "</think> a <think> b", False, False)),
        ("b", (None, "b", False, False)),
        ("", (None, "", False, False)),
    ],
)
def test_what_counts_as_the_format(text, expected):
    assert parse_reasoning(text) == expected


def test_without_reasoning_there_is_only_the_answer():
    assert format_reasoning(None, "b") == "b"
