"""Parquet by row groups: a group is decoded once, when it is needed, and damage is a sentence."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from language_files import write_rows

from jaxreason.data.language import DataConfig, read_records
from jaxreason.data.language.parquet_rows import open_parquet
from jaxreason.errors import FailureError, InputError

ROWS = [{"text": f"text {i}", "n": i, "nested": [{"a": [i, None], "b": None}]} for i in range(10)]


def test_row_groups_are_decoded_once_and_only_when_asked_for(tmp_path, monkeypatch):
    rows = open_parquet(write_rows(tmp_path / "a.parquet", ROWS))
    decoded = []
    decode = rows._decode
    monkeypatch.setattr(rows, "_decode", lambda group: decoded.append(group) or decode(group))
    assert (len(rows), decoded) == (10, [])
    for place in np.random.default_rng(0).permutation(np.repeat(np.arange(10), 2)).tolist():
        assert rows[place] == ROWS[place]
    assert sorted(decoded) == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.parquet"]


def test_types_as_the_library_datasets_writes_them(tmp_path):
    table = pa.table(
        {
            "image": pa.array([{"bytes": b"png", "path": "a.png"}]),
            "text": pa.array(["a"], pa.large_string()),
            "label": pa.array(["x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_parquet(tmp_path / "a.parquet")[0] == {
        "image": {"bytes": b"png", "path": "a.png"},
        "text": "a",
        "label": "x",
    }


def test_rows_are_named_in_messages(tmp_path):
    path = write_rows(tmp_path / "a.parquet", [{"text": "a"}, {"text": None}])
    with pytest.raises(InputError, match=r"a\.parquet, row 2: text is null"):
        read_records(DataConfig(path=str(path), kind="text"))
    text = pa.array([b"good", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"text": text}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet, row 2: .*utf-8"):
        read_records(DataConfig(path=str(tmp_path / "b.parquet"), kind="text"))


def test_files_that_are_no_parquet(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    for content in (b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(FailureError, match=r"a\.parquet' cannot be read as Parquet"):
            open_parquet(path)
    with pytest.raises(FailureError, match="cannot be read as Parquet"):
        open_parquet(tmp_path / "none.parquet")
    write_rows(path, ROWS)
    monkeypatch.setattr("jaxreason.data.language.parquet_rows.MAX_GROUP", 10)
    with pytest.raises(InputError, match="row group 0 has more than"):
        open_parquet(path)[0]


def test_content_decides_the_identity(tmp_path):
    first = open_parquet(write_rows(tmp_path / "a.parquet", ROWS)).identity
    assert open_parquet(write_rows(tmp_path / "b.parquet", ROWS)).identity == first
    changed = [*ROWS[:-1], {**ROWS[-1], "text": "text 8"}]
    assert open_parquet(write_rows(tmp_path / "c.parquet", changed)).identity != first
