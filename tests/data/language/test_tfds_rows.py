"""Data sets that TensorFlow Datasets prepared, by folder and split, with columns renamed."""

import numpy as np
import pytest
from language_files import turn

from jaxreason.data.language import DataConfig, read_records
from jaxreason.data.language.tfds_rows import plain
from jaxreason.errors import FailureError, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared data set of five word problems with conversations."""
    import tensorflow_datasets as tfds

    class WordProblems(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            text = tfds.features.Text()
            turns = tfds.features.Sequence({"role": text, "content": text})
            features = tfds.features.FeaturesDict({"q": text, "number": np.int64, "turns": turns})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(5):
                turns = [turn("user", "a"), turn("assistant", str(i))]
                yield i, {"q": f"Wie viel ist {i} + 1? é", "number": i + 1, "turns": turns}

    tfds.disable_progress_bar()
    root = str(tmp_path_factory.mktemp("tfds"))
    builder = WordProblems(data_dir=root, file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def test_records_by_split_and_columns(folder):
    config = DataConfig(
        tfds=folder,
        kind="prompts",
        split="train[1:4]",
        columns={"question": "q", "answer": "number"},
    )
    records = read_records(config)
    # TFDS writes examples in an order of its own.
    assert len({record.answer for record in records} & set("12345")) == 3
    number = int(records[0].answer) - 1
    assert records[0].messages == (turn("user", f"Wie viel ist {number} + 1? é"),)
    assert records[0].where == f"{folder}, split train[1:4], example 0"
    chats = read_records(DataConfig(tfds=folder, split="train", columns={"messages": "turns"}))
    assert {chat.messages[1]["content"] for chat in chats} == set("01234")
    assert chats[4].messages[0] == turn("user", "a")
    assert chats.identity != records.identity


def test_data_sets_that_are_not_there(folder, tmp_path):
    with pytest.raises(FailureError, match="split 'test' of the data set"):
        read_records(DataConfig(tfds=folder, split="test"))
    with pytest.raises(FailureError, match="no_such_data_set"):
        read_records(DataConfig(tfds="no_such_data_set", split="a", tfds_directory=str(tmp_path)))
    with pytest.raises(InputError, match=r"data\.split is ''"):
        read_records(DataConfig(tfds=folder))


def test_values_become_plain():
    picture = np.zeros((2, 2, 3), np.uint8)
    given = {
        "a": b"\xc3\xa9",
        "b": np.int64(3),
        "c": {"role": np.array([b"user"], object), "content": [b"x"]},
        "d": picture,
    }
    found = plain(given)
    assert found["d"] is picture
    assert {**found, "d": 0} == {"a": "é", "b": 3, "c": [turn("user", "x")], "d": 0}
    with pytest.raises(UnicodeDecodeError):
        plain([b"\xff"])
