"""Records as batches: what is learnt, what is cut, nothing mixed up, resumed bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_files import turn, write_rows
from language_tokens import Characters

from jaxreason.data.language import (
    ChatRecord,
    DataConfig,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
    language_source,
    prompt_source,
    read_records,
)
from jaxreason.data.pipeline import training_batches
from jaxreason.data.streams import merge_states
from jaxreason.errors import InputError

TOKENIZER = Characters()
TALK = (turn("user", "ab"), turn("assistant", "c"), turn("user", "d"), turn("assistant", "efg"))


def chat(*messages, where="f, line 1"):
    return ChatRecord(messages, where)


def learnt(source, index=0):
    example = source[index]
    return TOKENIZER.decode(example["tokens"][example["targets_mask"]])


def batches(records, *, length=32, learn="all", **fields):
    source = language_source(records, TOKENIZER, learn=learn)
    fields = {"batch_size": 2, "prefetch": 0, "seed": 3, **fields}
    return training_batches(source, pad_id=0, length=length, **fields)


def test_what_is_learnt_of_a_conversation_and_of_a_text():
    assert learnt(language_source([chat(*TALK)], TOKENIZER)) == "cefg"
    assert learnt(language_source([chat(*TALK)], TOKENIZER, learn="last")) == "efg"
    source = language_source([TextRecord("abc")], TOKENIZER)
    assert source[0]["tokens"].tolist() == [*TOKENIZER.encode("abc"), 4]
    assert source[0]["targets_mask"].all()
    plain = language_source([chat(*TALK[:2])], TOKENIZER, template="plain")
    assert plain[0]["tokens"].tolist() == [*TOKENIZER.encode("abc"), 4]
    assert plain[0]["targets_mask"].tolist() == [False, False, True, True]


def test_batches_learn_what_the_records_say_and_all_if_asked():
    batch = next(iter(batches([chat(*TALK)], batch_size=1, epochs=1)))
    assert TOKENIZER.decode(batch["tokens"][batch["targets_mask"]]) == "cefg"
    assert (batch["tokens"][batch["targets_mask"]] == 4).sum() == 2
    batch = next(iter(batches([chat(*TALK)], batch_size=1, loss_on="all", epochs=1)))
    assert batch["targets_mask"].sum() == len(TOKENIZER.encode_chat(TALK)) - 1


def test_requests_that_mean_nothing():
    with pytest.raises(InputError, match="learn is 'first'"):
        language_source([], TOKENIZER, learn="first")
    with pytest.raises(InputError, match="template is 'chatml'"):
        language_source([], TOKENIZER, template="chatml")
    preference = PreferenceRecord(TALK[:1], TALK[1:2], TALK[3:], "f, line 3")
    with pytest.raises(InputError, match="f, line 3: PreferenceRecord cannot be learnt from"):
        language_source([preference], TOKENIZER)[0]
    with pytest.raises(InputError, match="f, line 1: the template has no tool"):
        language_source([chat(*TALK, turn("tool", "x"))], TOKENIZER)[0]
    with pytest.raises(InputError, match="'plain' has no turns; the prompt has user, assistant"):
        language_source([chat(*TALK)], TOKENIZER, template="plain")[0]


@pytest.mark.parametrize(
    ("overflow", "kept"), [("truncate_left", "fghij"), ("truncate_right", "bcdef")]
)
def test_long_examples_are_cut_on_the_side_that_is_named_and_counted(overflow, kept):
    records = [TextRecord("abcdefghij"), TextRecord("xy")]
    iterator = iter(batches(records, length=6, overflow=overflow, epochs=1, packing="padded"))
    rows = np.concatenate([batch["tokens"] for batch in iterator])
    texts = {TOKENIZER.decode(row) for row in rows} - {""}
    assert texts == {"fghij" if overflow == "truncate_left" else "abcdef", "xy"}
    targets = next(iter(batches(records[:1], length=6, overflow=overflow, batch_size=1)))
    assert TOKENIZER.decode(targets["tokens"][targets["targets_mask"]]) == kept[-5:].replace(
        "fghij", "ghij"
    )
    assert (iterator.truncated, iterator.dropped, iterator.examples) == (1, 0, 2)


def test_what_is_cut_so_that_nothing_is_left_to_learn_is_dropped():
    long = chat(turn("user", "a" * 40), turn("assistant", "b"))
    iterator = iter(batches([long, chat(*TALK)], overflow="truncate_right", epochs=1))
    assert sum(int(batch["targets_mask"].sum()) for batch in iterator) == 6
    assert (iterator.truncated, iterator.dropped, iterator.examples) == (0, 1, 1)
    iterator = iter(batches([long, chat(*TALK)], overflow="truncate_left", epochs=1))
    assert sum(int(batch["targets_mask"].sum()) for batch in iterator) == 8
    assert (iterator.truncated, iterator.dropped) == (1, 0)
    with pytest.raises(InputError, match=r"none of the 1 examples .* has no target left"):
        next(iter(batches([long], overflow="truncate_right")))


@st.composite
def conversations(draw):
    rounds = draw(st.integers(1, 3))
    texts = draw(st.lists(st.text("abcdefg", max_size=5), min_size=2 * rounds, max_size=2 * rounds))
    roles = ("user", "assistant") * rounds
    return chat(*(turn(role, text) for role, text in zip(roles, texts, strict=True)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(conversations(), min_size=4, max_size=12),
    st.sampled_from(["packed", "padded", "buckets"]),
    st.sampled_from(["all", "last"]),
)
def test_masks_lie_with_their_examples_whatever_is_packed_beside_them(records, packing, learn):
    source = language_source(records, TOKENIZER, learn=learn)
    expected = sorted(
        (tuple(e["tokens"]), tuple(e["targets_mask"]))
        for e in (source[i] for i in range(len(source)))
    )
    found = []
    for batch in batches(records, length=64, learn=learn, packing=packing, epochs=1):
        for row in range(len(batch["tokens"])):
            for segment in range(1, batch["segments"][row].max() + 1):
                where = batch["segments"][row] == segment
                found.append(
                    (tuple(batch["tokens"][row][where]), tuple(batch["targets_mask"][row][where]))
                )
        assert not batch["targets_mask"][batch["segments"] == 0].any()
    assert sorted(found) == expected


def test_a_resumed_run_sees_the_same_batches_and_shares_make_up_the_whole(tmp_path):
    rows = [{"prompt": "a" * (i % 7 + 1), "completion": "b" * (i % 11)} for i in range(41)]
    path = str(write_rows(tmp_path / "a.jsonl", rows))

    def opened(**fields):
        records = read_records(DataConfig(path=path))
        return batches(records, batch_size=4, length=16, overflow="truncate_right", **fields)

    whole = iter(opened(streams=2))
    first = [next(whole) for _ in range(5)]
    state = whole.get_state()
    later = [next(whole) for _ in range(5)]
    again = iter(opened(streams=2))
    again.set_state(state)
    for batch in later:
        for name, array in next(again).items():
            np.testing.assert_array_equal(array, batch[name])
    assert again.get_state() == whole.get_state()
    assert whole.truncated > 0

    shares = [iter(opened(streams=2, share_index=i, share_count=2)) for i in range(2)]
    for batch in (*first, *later):
        parts = [next(share) for share in shares]
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), batch[name])
    merged = merge_states([share.get_state() for share in shares])
    assert merged == whole.get_state()
    assert sum(share.truncated for share in shares) == whole.truncated


def test_a_position_is_not_taken_for_another_tokenizer_or_data_set(tmp_path):
    def opened(rows, tokenizer=TOKENIZER):
        records = read_records(
            DataConfig(path=str(write_rows(tmp_path / "a.jsonl", rows)), kind="text")
        )
        source = language_source(records, tokenizer)
        return iter(training_batches(source, pad_id=0, length=8, batch_size=1, prefetch=0))

    rows = [{"text": "ab"}, {"text": "cd"}]
    iterator = opened(rows)
    next(iterator)
    state = iterator.get_state()
    opened(rows).set_state(state)
    other = Characters()
    other.identity = {"size": 3}
    for changed in (opened(rows, other), opened([rows[0], {"text": "ce"}])):
        with pytest.raises(InputError, match="belongs to a pipeline with source"):
            changed.set_state(state)


def test_states_from_before_anything_was_cut_are_taken():
    iterator = iter(batches([TextRecord("ab"), TextRecord("cd")], length=4))
    next(iterator)
    state = iterator.get_state()
    expected = next(iterator)
    for stream in state["streams"].values():
        del stream["truncated"]
    again = iter(batches([TextRecord("ab"), TextRecord("cd")], length=4))
    again.set_state(state)
    np.testing.assert_array_equal(next(again)["tokens"], expected["tokens"])


def test_prompts():
    records = [
        PromptRecord((turn("user", "a" * size),), str(size), where=f"f, line {size}")
        for size in (3, 9, 5)
    ]
    source = prompt_source(records, TOKENIZER, 12)
    assert (len(source), source.longest, source.dropped) == (3, 12, 0)
    assert source[1]["tokens"].tolist() == [2, *TOKENIZER.encode("a" * 9), 4, 3]
    assert source[1]["prompt_length"] == 12
    with pytest.raises(InputError, match="f, line 9: the prompt has 12 tokens, but length is 11"):
        prompt_source(records, TOKENIZER, 11)
    dropped = prompt_source(records, TOKENIZER, 11, overflow="drop")
    assert [dropped.problem(i).answer for i in range(len(dropped))] == ["3", "5"]
    assert (dropped.dropped, dropped.truncated) == (1, 0)
    cut = prompt_source(records, TOKENIZER, 11, overflow="truncate_left")
    assert cut[1]["tokens"].tolist() == [*TOKENIZER.encode("a" * 9), 4, 3]
    assert (cut.dropped, cut.truncated) == (0, 1)
    with pytest.raises(InputError, match="none of the 3 prompts fits into length 2"):
        prompt_source(records, TOKENIZER, 2, overflow="drop")
    plain = prompt_source(records, TOKENIZER, 12, template="plain")
    assert plain[0]["tokens"].tolist() == TOKENIZER.encode("aaa").tolist()
