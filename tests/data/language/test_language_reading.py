"""Files of every format give the same records, and say where something is wrong."""

import gzip
import json

import pytest
from language_files import lines, turn, write_rows

from jaxreason.data.language import DataConfig, read_records
from jaxreason.data.language.json_rows import open_json
from jaxreason.data.language.reading import data_files
from jaxreason.errors import FailureError, InputError

ROWS = [
    {"prompt": f"Wie viel ist {i} + 1? é\u2028", "completion": f"{i + 1} 😀", "id": i}
    for i in range(7)
]
FORMATS = ("a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.parquet")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_records_in_any_order(tmp_path, name):
    records = read_records(DataConfig(path=str(write_rows(tmp_path / name, ROWS))))
    assert len(records) == len(ROWS)
    for place in (6, 0, 3, 3, -1):
        row = ROWS[place]
        assert records[place].messages == (
            turn("user", row["prompt"]),
            turn("assistant", row["completion"]),
        )
    assert [record.messages for record in records[2:4]] == [records[i].messages for i in (2, 3)]
    with pytest.raises(IndexError):
        records[7]


def test_a_folder_is_its_files_in_the_order_of_their_names_or_those_of_a_split(tmp_path):
    write_rows(tmp_path / "train-00001-of-00002.parquet", ROWS[4:])
    write_rows(tmp_path / "train-00000-of-00002.parquet", ROWS[:4])
    write_rows(tmp_path / "train_extra-0.jsonl", ROWS[:1])
    (tmp_path / "README.md").write_text("not data")
    records = read_records(DataConfig(path=str(tmp_path), split="train"))
    assert [r.messages[0]["content"] for r in records] == [row["prompt"] for row in ROWS]
    assert records[5].where == f"{tmp_path}/train-00001-of-00002.parquet, row 2"
    assert len(read_records(DataConfig(path=str(tmp_path)))) == 8
    assert len(data_files(str(tmp_path / "train-*.parquet"))) == 2
    with pytest.raises(InputError, match=r"has no file .* with 'test' in its name"):
        data_files(str(tmp_path), "test")
    with pytest.raises(InputError, match=r"data\.split is 'a', but data\.path is a single file"):
        data_files(str(tmp_path / "train_extra-0.jsonl"), "a")


def test_lines_may_be_blank_end_in_crlf_and_begin_with_a_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \n{"text": "two"}')
    records = read_records(DataConfig(path=str(path), kind="text"))
    assert [(r.text, r.where) for r in records] == [
        ("one", f"{path}, line 1"),
        ("two", f"{path}, line 4"),
    ]


def test_a_list_inside_an_object_is_found_by_its_key(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"info": {"list": [1, "]"]}, "list": [{"é": 1}, {"b": [2]}]}))
    rows = open_json(path, "list")
    assert [dict(rows[i]) for i in range(len(rows))] == [{"é": 1}, {"b": [2]}]
    with pytest.raises(InputError, match=r"line 1: expected an object with a list 'other'"):
        open_json(path, "other")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{bad}", "line 2: no JSON"),
        (b"[1]", "line 2: list instead of an object"),
        (b'"text"', "line 2: str instead of an object"),
        (b'{"text": "\xff"}', "line 2: not UTF-8 at byte 10"),
        (b'{"text": "a\x00b"}', "line 2: no JSON"),
        (b'{"text": "\\ud800"}', "line 2: a text has half of a surrogate pair at character 0"),
        (b'{"text": "a", "\\udfff": 1}', "line 2: a text has half of a surrogate pair"),
        (b'{"text": "a", "n": NaN}', "line 2: no JSON .NaN is no JSON number"),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "line 2: no JSON"),
        (b'{"text": ' + b"[" * 100_000, "line 2: JSON nested too deeply"),
        (b'{"text": "a", "n": ' + b"[" * 80 + b"]" * 80 + b"}", "line 2: nested more than 64 deep"),
        (b'{"text": null}', "line 2: text is null"),
        (b'{"text": 3}', "line 2: text is 3; expected text"),
        (b'{"txt": "a"}', "line 2: columns are 'txt'; kind 'text' expects one of: text"),
        (b"{}", "line 2: columns are none"),
    ],
)
def test_a_bad_line_is_named_in_one_sentence(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(InputError, match=message) as caught:
        read_records(DataConfig(path=str(path), kind="text"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a"}', "line 1: expected a list of objects"),
        ('[{"text": "a"},\n]', "line 2: expected ',' or ']' after item 1"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2: expected ',' or ']' after item 1"),
        ('[{"text": "a"}', "line 1: expected ',' or ']' after item 1"),
        ('[{"text": "a"},\n {"text": }]', "line 2: no JSON"),
        ('[{"text": "a"}]\n[]', "something follows the list"),
        ("[" * 100_000, "line 1: JSON nested too deeply"),
        ('[{"text": "a"}, 3]', "item 2: int instead of an object"),
        ("[]", "has no record"),
        ("", "line 1: expected a list"),
    ],
)
def test_a_bad_list_is_named_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_records(DataConfig(path=str(path), kind="text"))
    assert str(path) in str(caught.value)


def test_what_cannot_be_read_at_all(tmp_path, monkeypatch):
    with pytest.raises(FailureError, match="no such file or folder"):
        read_records(DataConfig(path=str(tmp_path / "none.jsonl")))
    with pytest.raises(InputError, match=r"data\.path is ''"):
        read_records(DataConfig())
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(InputError, match=r"expected a file \.jsonl"):
        read_records(DataConfig(path=str(tmp_path / "a.csv")))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode())[:-20])
    with pytest.raises(FailureError, match="cannot be read"):
        read_records(DataConfig(path=str(tmp_path / "a.jsonl.gz")))
    (tmp_path / "b.jsonl").write_bytes('{"text": "a"}'.encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16"):
        read_records(DataConfig(path=str(tmp_path / "b.jsonl")))
    monkeypatch.setattr("jaxreason.data.language.json_rows.MAX_LINE", 10)
    (tmp_path / "c.jsonl").write_bytes(b'{"a": 1}\n' + b"x" * 11)
    with pytest.raises(InputError, match="line 2: longer than"):
        read_records(DataConfig(path=str(tmp_path / "c.jsonl")))


def test_a_gzip_bomb_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**24))
    monkeypatch.setattr("jaxreason.data.language.json_rows._SMALL", 2**20)
    with pytest.raises(InputError, match="expands more than 200-fold"):
        read_records(DataConfig(path=str(path), kind="text"))


def test_records_are_checked_when_the_data_are_opened_or_when_they_are_used(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' * 1000 + "{bad}\n")
    with pytest.raises(InputError, match="line 1001: no JSON"):
        read_records(DataConfig(path=str(path), kind="text"))
    records = read_records(DataConfig(path=str(path), kind="text", check="first"))
    with pytest.raises(InputError, match="line 1001: no JSON"):
        records[1000]
    assert len(read_records(DataConfig(path=str(path), kind="text", count=1000))) == 1000


def test_the_identity_is_of_content_and_meaning_not_of_the_place(tmp_path):
    (tmp_path / "b").mkdir()
    for folder in (tmp_path, tmp_path / "b"):
        write_rows(folder / "a.jsonl", ROWS)

    def identity(path="a.jsonl", **fields):
        return read_records(DataConfig(path=str(tmp_path / path), **fields)).identity

    assert identity() == identity("b/a.jsonl") == identity(check="first") == identity(weight=2.0)
    others = [identity(suffix="."), identity(count=3), identity(system="s")]
    write_rows(tmp_path / "a.jsonl", [*ROWS[:-1], {**ROWS[-1], "completion": "8"}])
    assert identity() not in [identity("b/a.jsonl"), *others]
    assert identity("b/a.jsonl") not in others
    json.dumps(identity())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "chats"}, r"data\.kind is 'chats'; expected one of text, chat"),
        ({"check": "none"}, r"data\.check is 'none'"),
        ({"path": "a", "tfds": "b"}, "expected one of them"),
        ({"columns": {"texts": "t"}}, r"data\.columns has 'texts'"),
        ({"count": -1}, r"data\.count is -1"),
        ({"weight": float("inf")}, r"data\.weight is inf"),
        ({"weight": float("nan")}, r"data\.weight is nan"),
        ({"answer_mark": "####"}, "only 'prompts' have answers"),
        ({"images": "x"}, "not 'image_text'"),
        ({"tfds_directory": "x"}, r"data\.tfds is ''"),
        ({"kind": "text", "suffix": "x"}, "which has no turns"),
    ],
)
def test_configurations_that_mean_nothing(fields, message):
    with pytest.raises(InputError, match=message):
        DataConfig(**fields)
