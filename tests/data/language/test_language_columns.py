"""Columns in the spellings of published data sets, and what cannot be understood."""

import pytest
from language_files import turn

from jaxreason.data.language import DataConfig
from jaxreason.data.language.columns import kinds_of, record_of
from jaxreason.data.language.records import ImageTextRecord
from jaxreason.errors import InputError

ASKED, SAID = turn("user", "2+2?"), turn("assistant", "4")
WRONG = turn("assistant", "5")


def read(row, kind="chat", **fields):
    return record_of(row, DataConfig(kind=kind, **fields), "f, line 1")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, SAID], "prompt": "ignored", "id": 3},
        {"messages": [{**ASKED, "name": None}, {**SAID, "tool_calls": None}]},
        {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [ASKED, SAID]},
        {"prompt": "2+2?", "completion": "4"},
        {"prompt": [ASKED], "completion": [SAID]},
        {"prompt": "2+2?", "response": "4"},
        {"instruction": "2+2?", "input": "", "output": "4", "text": "template of both"},
        {"instruction": "2+2?", "output": "4"},
        {"question": "2+2?", "answer": "4"},
        {"problem": "2+2?", "solution": "4", "level": 1},
    ],
)
def test_conversations(row):
    assert read(row).messages == (ASKED, SAID)


def test_what_stands_around_a_conversation():
    row = {"instruction": "Add.", "input": "2, 2", "output": "4", "system": "Be brief."}
    expected = [turn("system", "Be brief."), turn("user", "Add.\n\n2, 2 Think."), SAID]
    assert list(read(row, system="unused", suffix=" Think.").messages) == expected
    assert read({"messages": [ASKED, SAID]}, system="s").messages[0] == turn("system", "s")
    calls = {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}
    kept = read({"messages": [ASKED, calls, turn("tool", "4"), SAID]}).messages
    assert kept[1] == {**calls, "content": ""}
    parts = [{"type": "image"}, {"type": "text", "text": "2+2?"}]
    asked = read({"messages": [{"role": "user", "content": parts}, SAID]}, suffix="!").messages[0]
    assert asked["content"] == [*parts, {"type": "text", "text": "!"}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "chosen": "4", "rejected": "5", "score": 1.0},
        {"question": "2+2?", "chosen": "4", "rejected": "5"},
        {"prompt": [ASKED], "chosen": [SAID], "rejected": [WRONG]},
        {"prompt": "2+2?", "chosen": [SAID], "rejected": [WRONG]},
        {"chosen": [ASKED, SAID], "rejected": [ASKED, WRONG]},
        {
            "prompt": "2+2?",
            "prompt_id": "ab",
            "chosen": [ASKED, SAID],
            "rejected": [ASKED, WRONG],
            "messages": [ASKED, SAID],
            "score_chosen": 8.0,
        },
    ],
)
def test_preferences(row):
    record = read(row, "preference")
    assert (record.prompt, record.chosen, record.rejected) == ((ASKED,), (SAID,), (WRONG,))


def test_prompts_that_two_answers_have_in_common():
    record = read({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "preference")
    assert record.prompt == (turn("user", "The sky is"),)
    assert record.chosen == (turn("assistant", " blue."),)
    # Equal answers have the whole conversation in common, but the last turn is the answer.
    talk = [ASKED, SAID, turn("user", "Sure?"), turn("assistant", "Yes")]
    record = read({"chosen": talk, "rejected": talk}, "preference")
    assert (len(record.prompt), record.chosen, record.rejected) == (
        3,
        (turn("assistant", "Yes"),),
        (turn("assistant", "Yes"),),
    )


def test_labels():
    for row in (
        {"prompt": "2+2?", "completion": "4", "label": True},
        {"prompt": [ASKED], "completion": [SAID], "label": 1},
        {"messages": [ASKED, SAID], "label": True},
    ):
        record = read(row, "labelled")
        assert (record.prompt, record.completion, record.desirable) == ((ASKED,), (SAID,), True)


def test_prompts_and_their_answers():
    record = read({"question": "2+2?", "answer": 4, "level": 2}, "prompts", suffix=" Box it.")
    assert record.messages == (turn("user", "2+2? Box it."),)
    assert (record.answer, record.data) == ("4", {"level": 2})
    record = read({"problem": "2+2?", "answer": "so\n#### 4"}, "prompts", answer_mark="####")
    assert (record.answer, record.data) == ("4", {"solution": "so"})
    record = read({"prompt": [ASKED]}, "prompts", columns={"answer": ""})
    assert (record.messages, record.answer) == ((ASKED,), "")


def test_pictures():
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat"}]
    record = read({"image": "a/b.png", "conversations": talk}, "image_text", images="root")
    assert str(record.image) == "root/a/b.png"
    assert record.messages == (turn("user", "<image>\nWhat?"), turn("assistant", "A cat"))
    row = {"image": {"bytes": b"png", "path": "x"}, "question": "What?", "answer": "A cat"}
    assert read(row, "image_text").image == b"png"
    row = {"image": {"bytes": None, "path": "x.png"}, "caption": "A cat", "source": "s"}
    record = read(row, "image_text", path="folder/data.jsonl")
    assert record == ImageTextRecord(record.image, (), "A cat", {"source": "s"}, "f, line 1")
    assert str(record.image) == "folder/x.png"
    assert read({"conversations": talk}, "image_text").image is None


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "a/../../b", "gs://a/b", "..\\a", "a\0"]
)
def test_pictures_stay_inside_their_folder(name):
    with pytest.raises(InputError, match="expected a name inside the folder 'root'"):
        read({"image": name, "caption": "x"}, "image_text", images="root")


def test_columns_can_be_renamed():
    row = {"q": "2+2?", "a": "4", "messages": [ASKED, WRONG]}
    assert read(row, columns={"question": "q", "answer": "a"}).messages == (ASKED, SAID)
    both = {"messages": [ASKED, SAID], "conversations": [ASKED, WRONG]}
    assert read(both, columns={"messages": "messages"}).messages == (ASKED, SAID)
    assert read(both, columns={"conversations": "conversations"}).messages == (ASKED, WRONG)


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("chat", {"txt": "a"}, "columns are 'txt'; kind 'chat' expects one of: messages; conv"),
        ("chat", {"messages": [], "conversations": []}, "as messages or conversations; name the"),
        ("chat", {"messages": []}, r"messages is \[\]; expected a list of messages"),
        ("chat", {"messages": "a"}, "messages is 'a'"),
        ("chat", {"messages": [3]}, "message 1 of messages is 3; expected an object"),
        ("chat", {"messages": [{"role": "user"}]}, "message 1 of messages has content None"),
        ("chat", {"messages": [{"text": "a"}]}, "has 'text'; expected role and content"),
        ("chat", {"messages": [turn("robot", "a")]}, "role 'robot'; expected one of system"),
        ("chat", {"messages": [turn(["user"], "a")]}, "role .'user'."),
        ("chat", {"conversations": [{"from": "me", "value": "a"}]}, "from 'me'; expected one of"),
        ("chat", {"messages": [ASKED]}, "no turn of the assistant"),
        ("chat", {"prompt": "a", "completion": None}, "completion is null"),
        ("chat", {"prompt": [SAID], "completion": "b"}, "prompt ends with a turn of the assistant"),
        ("chat", {"prompt": "a", "completion": [ASKED]}, "completion begins with a turn of the u"),
        ("preference", {"chosen": [SAID], "rejected": [SAID]}, "have no prompt in common"),
        ("preference", {"chosen": "a", "rejected": "b"}, "begin differently"),
        ("preference", {"prompt": "a", "chosen": "a", "rejected": [SAID]}, "one is text"),
        (
            "preference",
            {"prompt": "3?", "chosen": [ASKED, SAID], "rejected": [ASKED, WRONG]},
            "another prompt than the column",
        ),
        ("labelled", {"prompt": "a", "completion": "b", "label": "yes"}, "label is 'yes'"),
        ("labelled", {"prompt": "a", "completion": "b", "label": [1]}, r"label is \[1\]"),
        ("labelled", {"messages": [SAID], "label": True}, "a single message"),
        ("prompts", {"prompt": "a", "question": "b", "answer": "c"}, "as prompt . answer or quest"),
        ("prompts", {"prompt": "a"}, "expects one of: prompt . answer; question . answer"),
        ("prompts", {"prompt": "a", "answer": ["b"]}, "answer is .'b'.; expected text"),
        ("image_text", {"image": 3, "caption": "a"}, "image is int"),
    ],
)
def test_rows_that_cannot_be_understood(kind, row, message):
    with pytest.raises(InputError, match=f"^f, line 1: .*{message}"):
        read(row, kind)


def test_the_kinds_a_row_can_be_of():
    assert kinds_of({"text": "a"}) == ["text"]
    assert kinds_of({"prompt": 1, "chosen": 2, "rejected": 3, "messages": 4})[0] == "preference"
    assert kinds_of({"prompt": 1, "completion": 2, "label": 3})[0] == "labelled"
    assert kinds_of({"image": 1, "conversations": 2})[0] == "image_text"
    assert kinds_of({"conversations": 2}) == ["chat"]
    assert set(kinds_of({"question": 1, "answer": 2})) == {"chat", "prompts"}
    assert kinds_of({"a": 1}) == []
