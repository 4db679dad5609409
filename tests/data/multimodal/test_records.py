"""Records read from files and data sets, and the errors that name their place."""

import json

import numpy as np
import pytest

from jaxreason.data.multimodal.records import RecordFormat, TfdsRecords, read_json_lines, read_tfds
from jaxreason.errors import FailureError, InputError

RECORDS = [
    {"task": "lm", "text": "some text"},
    {"task": "lm_chat", "question": "2+2?", "reasoning": "count", "answer": "4"},
    {"task": "lm_chat", "question": "2+2?", "answer": "4"},
    {"task": "mmu", "question": "how many?", "answer": "3", "codes": [1, 2, 3, 4]},
    {"task": "t2i", "question": "a cat", "image": "cat.png"},
    {"task": "r2i", "question": "a cat", "reasoning": "it sits", "codes": [0, 0, 0, 1]},
]


def write(folder, lines, name="records.jsonl"):
    path = folder / name
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def test_every_task_is_read_from_json_lines(tmp_path):
    path = write(tmp_path, [*RECORDS[:3], "", *RECORDS[3:]])
    records = read_json_lines(path)
    assert [record.task for record in records] == [record["task"] for record in RECORDS]
    assert records[0].text == "some text"
    assert (records[1].question, records[1].reasoning, records[1].answer) == ("2+2?", "count", "4")
    assert records[2].reasoning is None
    assert records[3].codes.tolist() == [1, 2, 3, 4]
    assert records[4].image == tmp_path / "cat.png"
    assert records[5].where == f"{path}, line 7"


def test_a_data_set_may_name_its_fields_and_mark_its_answers():
    format = RecordFormat(
        task="lm_chat",
        names={"question": "problem", "answer": "solution"},
        answer_mark="####",
        other_fields="ignore",
    )
    record = format.read({"problem": b"1+1?", "solution": "one more #### 2", "id": 7}, "here")
    assert (record.question, record.reasoning, record.answer) == ("1+1?", "one more", "2")
    with pytest.raises(InputError, match="here: answer has no '####'"):
        format.read({"problem": "1+1?", "solution": "2"}, "here")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", "line 2: list instead of an object"),
        ({"task": "t2v"}, "line 2: task is 't2v'; expected one of t2i, lm"),
        ({"text": "a"}, "line 2: task is ''"),
        ({"task": "lm"}, "line 2: text is missing; task 'lm' needs it"),
        ({"task": "lm_chat", "question": "a"}, "line 2: answer is missing"),
        ({"task": "r2i", "question": "a", "codes": [1]}, "line 2: reasoning is missing"),
        ({"task": "lm", "text": 5}, "line 2: text is 5; expected text"),
        ({"task": "lm", "text": "a", "answer": "b"}, "line 2: answer is given; task 'lm' has none"),
        ({"task": "lm", "text": "a", "codes": [1]}, "line 2: codes is given"),
        ({"task": "lm", "text": "a", "reasonning": "b"}, "field 'reasonning' is unknown"),
        ({"task": "t2i", "question": "a"}, "neither codes nor image is given"),
        ({"task": "t2i", "question": "a", "codes": [1], "image": "b"}, "both codes and image"),
        ({"task": "t2i", "question": "a", "codes": [0.5]}, "codes is not a list of whole numbers"),
        ({"task": "t2i", "question": "a", "image": [[1]]}, "expected a file name, or uint8"),
    ],
)
def test_a_bad_record_is_named_with_its_line(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_json_lines(write(tmp_path, [RECORDS[0], line]))


def test_files_that_are_no_records(tmp_path):
    with pytest.raises(FailureError, match="cannot be read"):
        read_json_lines(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="line 1: UTF-16; expected UTF-8"):
        read_json_lines(tmp_path / "binary")
    (tmp_path / "binary").write_bytes(b'{"task": "\xff"}')
    with pytest.raises(InputError, match="line 1: not UTF-8"):
        read_json_lines(tmp_path / "binary")
    with pytest.raises(InputError, match="has no record"):
        read_json_lines(write(tmp_path, [""]))


def test_a_line_ends_where_json_lines_end_and_at_no_other_separator(tmp_path):
    text = "one\u2028two\x85three"
    path = tmp_path / "separators.jsonl"
    line = json.dumps({"task": "lm", "text": text}, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert [record.text for record in read_json_lines(path)] == [text]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "chat"}, "task is 'chat'"),
        ({"names": {"prompt": "question"}}, "names has 'prompt'"),
        ({"other_fields": "drop"}, "other_fields is 'drop'"),
    ],
)
def test_a_bad_format_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        RecordFormat(**fields)


def test_a_data_set_is_read_by_index():
    rows = [{"question": f"q{i}".encode(), "answer": b"a"} for i in range(4)]
    records = TfdsRecords(rows, RecordFormat(task="lm_chat"), "gsm8k")
    assert len(records) == 4
    assert [record.question for record in records] == ["q0", "q1", "q2", "q3"]
    assert records[-1].where == "gsm8k, example 3"
    assert [record.question for record in records[1:3]] == ["q1", "q2"]
    with pytest.raises(IndexError):
        records[4]
    rows[2] = {"question": b"q", "reply": b"a"}
    with pytest.raises(InputError, match="gsm8k, example 2: field 'reply' is unknown"):
        records[2]


def test_a_prepared_tensorflow_data_set_is_read_without_tensorflow(tmp_path):
    import tensorflow_datasets as tfds

    class Sums(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # a builder is otherwise looked for in a package

        def _info(self):
            texts = {"question": tfds.features.Text(), "answer": tfds.features.Text()}
            features = tfds.features.FeaturesDict(
                {**texts, "image": tfds.features.Tensor(shape=(2, 2, 3), dtype=np.uint8)}
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, download_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(3):
                image = np.full((2, 2, 3), i, np.uint8)
                yield i, {"question": f"{i}+1?", "answer": f"so #### {i + 1}", "image": image}

    builder = Sums(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    format = RecordFormat(task="mmu", answer_mark="####")
    records = read_tfds(builder.data_dir, "train", format)
    assert sorted((r.question, r.reasoning, r.answer) for r in records) == [
        (f"{i}+1?", "so", str(i + 1)) for i in range(3)
    ]
    for record in records:
        assert (record.image == int(record.question[0])).all()
    with pytest.raises(FailureError, match="split 'dev'"):
        read_tfds(builder.data_dir, "dev", format)
    with pytest.raises(FailureError, match="cannot be read"):
        read_tfds(tmp_path / "none", "train", format)
