"""Preferences as the arrays that the preference objectives take."""

import numpy as np
import pytest
from language_files import turn
from language_tokens import Characters

from jaxreason.data.language import LabelledRecord, PreferenceRecord, TextRecord, pair_arrays
from jaxreason.errors import InputError
from jaxreason.objectives.pairs import check_preferences

TOKENIZER = Characters()


def preference(prompt, chosen, rejected, where="f, line 1"):
    return PreferenceRecord(
        (turn("user", prompt),), (turn("assistant", chosen),), (turn("assistant", rejected),), where
    )


def answers(arrays, row):
    """The learnt texts of both halves."""
    tokens, targets = arrays["tokens"][row], arrays["targets_mask"][row]
    return [TOKENIZER.decode(tokens[half][targets[half]]) for half in range(2)]


def test_pairs_share_their_prompt_and_learn_their_answers():
    records = [preference("ab", "c", "defg"), preference("h" * 50, "i", "i")]
    arrays, summary = pair_arrays(records, TOKENIZER, 100)
    check_preferences(arrays, reference=False)
    assert arrays["tokens"].shape == (2, 2, 64)
    assert [answers(arrays, row) for row in range(2)] == [["c", "defg"], ["i", "i"]]
    assert summary == {"examples": 2, "dropped": 0, "truncated": 0, "identical": 1}
    first = arrays["segments"][0, 0]
    assert first.sum() == len(TOKENIZER.encode_chat([turn("user", "ab"), turn("assistant", "c")]))
    np.testing.assert_array_equal(arrays["positions"][0, 0][first > 0], np.arange(first.sum()))
    assert (arrays["tokens"][0, 0][first == 0] == TOKENIZER.pad).all()


def test_only_the_last_answer_of_a_conversation_is_learnt():
    prompt = (turn("user", "a"), turn("assistant", "b"), turn("user", "c"))
    record = PreferenceRecord(prompt, (turn("assistant", "d"),), (turn("assistant", "e"),))
    assert answers(pair_arrays([record], TOKENIZER, 100).arrays, 0) == ["d", "e"]
    record = PreferenceRecord(prompt, (turn("assistant", "d"),) * 2, (turn("assistant", "e"),), "x")
    with pytest.raises(InputError, match="x: the answer has 2 messages; expected one"):
        pair_arrays([record], TOKENIZER, 100)


def test_pairs_that_are_too_long():
    records = [preference("a" * 20, "b", "c" * 5, "f, line 2"), preference("a", "b", "c")]
    with pytest.raises(InputError, match="f, line 2: a sequence has 29 tokens, but length is 20"):
        pair_arrays(records, TOKENIZER, 20)
    arrays, summary = pair_arrays(records, TOKENIZER, 20, overflow="drop")
    assert (len(arrays["tokens"]), summary["dropped"]) == (1, 1)
    arrays, summary = pair_arrays(records, TOKENIZER, 20, overflow="truncate_left")
    assert answers(arrays, 0) == ["b", "ccccc"]
    # The same part of the prompt is left in both halves.
    halves = [TOKENIZER.decode(half).rstrip("bc") for half in arrays["tokens"][0]]
    assert halves == ["a" * 12] * 2
    assert summary["truncated"] == 1
    arrays, summary = pair_arrays(records, TOKENIZER, 26, overflow="truncate_right")
    assert answers(arrays, 0) == ["b", "ccc"]
    assert summary == {"examples": 2, "dropped": 0, "truncated": 1, "identical": 0}
    # Cut inside the prompt there is nothing left to learn; cut off by the answer neither.
    arrays, summary = pair_arrays(records, TOKENIZER, 20, overflow="truncate_right")
    assert (len(arrays["tokens"]), summary["dropped"]) == (1, 1)
    arrays, summary = pair_arrays(records, TOKENIZER, 6, overflow="truncate_left")
    assert (len(arrays["tokens"]), summary["dropped"]) == (1, 1)
    with pytest.raises(InputError, match="none of the 1 pairs fits"):
        pair_arrays(records[:1], TOKENIZER, 6, overflow="drop")


def test_labelled_records_stand_beside_the_answer_of_another():
    records = [
        LabelledRecord((turn("user", "p" * i),), (turn("assistant", str(i)),), i % 2 == 0)
        for i in range(5)
    ]
    arrays, _ = pair_arrays(records, TOKENIZER, 100, seed=1)
    check_preferences(arrays, reference=False, labels=True)
    assert arrays["desirable"].tolist() == [True, False, True, False, True]
    pairs = [answers(arrays, row) for row in range(5)]
    assert [own for own, _ in pairs] == list("01234")
    assert sorted(other for _, other in pairs) == list("01234")
    assert all(own != other for own, other in pairs)
    assert [
        answers(pair_arrays(records, TOKENIZER, 100, seed=1).arrays, r) for r in range(5)
    ] == pairs
    with pytest.raises(InputError, match="label is True of all 2 records"):
        pair_arrays([records[0], records[2]], TOKENIZER, 100)
    with pytest.raises(InputError, match="a single record"):
        pair_arrays(records[:1], TOKENIZER, 100)


def test_what_is_no_preference():
    with pytest.raises(InputError, match="TextRecord; expected kind 'preference' or 'labelled'"):
        pair_arrays([TextRecord("a", "f")], TOKENIZER, 10)
    with pytest.raises(InputError, match="overflow is 'cut'"):
        pair_arrays([], TOKENIZER, 10, overflow="cut")
    with pytest.raises(InputError, match="there is no record"):
        pair_arrays([], TOKENIZER, 10)
