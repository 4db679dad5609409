"""Questions with reasoning and answers from JSON lines or TensorFlow Datasets, for every task.

A record has the fields

    task       lm, lm_chat, mmu, t2i or r2i
    text       lm: the text
    question   the others: what is asked, or the description of the picture
    reasoning  optional; r2i: needed
    answer     lm_chat and mmu
    codes      mmu, t2i, r2i: the picture as image codes, or
    image      a picture: a file (beside the JSON lines unless absolute), or pixels
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.data.language.json_rows import open_lines
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.tokens.chat import Turn
from jaxreason.tokens.layouts import TASKS

FIELDS = ("task", "text", "question", "reasoning", "answer", "codes", "image")
PICTURED = ("mmu", "t2i", "r2i")

_NEEDED = {
    "lm": ("text",),
    "lm_chat": ("question", "answer"),
    "mmu": ("question", "answer"),
    "t2i": ("question",),
    "r2i": ("question", "reasoning"),
}
_OPTIONAL = {"lm_chat": ("reasoning",), "mmu": ("reasoning",)}


@dataclass(frozen=True, eq=False)
class TaskRecord:
    """One checked record; see the module for its fields, "" or None where there is none.

    Attributes:
        where: file and line, or data set and place, for messages.
        image: pixels, or a file, or the bytes of one.
        before: turns of the conversation before the question.
    """

    where: str
    task: str
    text: str = ""
    question: str = ""
    reasoning: str | None = None
    answer: str = ""
    codes: np.ndarray | None = None
    image: np.ndarray | Path | bytes | None = None
    before: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class RecordFormat:
    """How the fields of a data set are to be understood.

    Attributes:
        task: of all records that do not name theirs; "" if all do.
        names: our field to the data set's name for it, where they differ.
        answer_mark: what stands between reasoning and answer where a data set has both in one
            field (`####` in GSM8K); "" if they are apart.
        other_fields: what to do about fields of another name: "error" or "ignore".

    Raises:
        InputError: an unknown task, field or choice.
    """

    task: str = ""
    names: Mapping[str, str] | None = None
    answer_mark: str = ""
    other_fields: str = "error"

    def __post_init__(self) -> None:
        if self.task and self.task not in TASKS:
            raise InputError(f"task is {self.task!r}; expected one of {', '.join(TASKS)}")
        unknown = sorted(set(self.names or {}) - set(FIELDS))
        if unknown:
            raise InputError(f"names has {unknown[0]!r}; expected some of {', '.join(FIELDS)}")
        if self.other_fields not in ("error", "ignore"):
            raise InputError(f"other_fields is {self.other_fields!r}; expected 'error' or 'ignore'")

    def read(self, values: Mapping[str, Any], where: str, folder: Path | None = None) -> TaskRecord:
        """The record of the fields of one example.

        Args:
            values: the data set's names and values; text may be bytes.
            where: for messages.
            folder: of relative image files.

        Raises:
            InputError: a field is missing, of the wrong kind, or unknown.
        """
        called = {field: (self.names or {}).get(field, field) for field in FIELDS}
        given = {
            field: _text(values[name])
            for field, name in called.items()
            if values.get(name) is not None
        }
        extra = sorted(set(values) - set(called.values()))
        if extra and self.other_fields == "error":
            raise InputError(
                f"{where}: field {extra[0]!r} is unknown; expected some of "
                f"{', '.join(called.values())} (other_fields 'ignore' passes over others)"
            )
        task = given.pop("task", self.task)
        if task not in TASKS:
            raise InputError(f"{where}: task is {task!r}; expected one of {', '.join(TASKS)}")
        if self.answer_mark and "reasoning" not in given and "answer" in given:
            given |= _apart(given["answer"], self.answer_mark, where)
        for field in ("text", "question", "reasoning", "answer"):
            if field in given and not isinstance(given[field], str):
                raise InputError(f"{where}: {field} is {given[field]!r}; expected text")
        _check_fields(task, given, where)
        if "codes" in given:
            given["codes"] = _codes(given["codes"], where)
        if "image" in given:
            given["image"] = _image(given["image"], where, folder)
        return TaskRecord(where, task, **given)


def read_json_lines(path: str | Path, format: RecordFormat | None = None) -> list[TaskRecord]:
    """The records of a file with one JSON object per line; empty lines are passed over.

    Raises:
        InputError: a line is no object, or no record; names file and line.
        FailureError: the file cannot be read.
    """
    format, path = format or RecordFormat(), as_path(path)
    rows = open_lines(path)
    records = [
        format.read(rows[place], rows.where(place), path.parent) for place in range(len(rows))
    ]
    if not records:
        raise InputError(f"records {str(path)!r} has no record")
    return records


class TfdsRecords(Sequence[TaskRecord]):
    """The records of a prepared TensorFlow data set, read by index from its ArrayRecord files.

    TensorFlow itself is not needed.

    Args:
        source: of `tfds.data_source`, or any sequence of dicts.
        format: what its fields mean.
        name: for messages.
    """

    def __init__(self, source: Any, format: RecordFormat, name: str = "records") -> None:
        self._source, self.format, self.name = source, format, name

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        """Record `index`; InputError names the data set and the place of a bad one."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        return self.format.read(self._source[place], f"{self.name}, example {place}")

    def __iter__(self) -> Iterator[TaskRecord]:
        return (self[place] for place in range(len(self)))


def read_tfds(folder: str | Path, split: str, format: RecordFormat) -> TfdsRecords:
    """The records of a split of the data set that TFDS prepared in `folder` as ArrayRecord.

    Raises:
        FailureError: no such data set or split, or one in another file format.
    """
    # TensorFlow Datasets takes a second to import; only those who ask for it wait.
    import tensorflow_datasets as tfds

    try:
        source = tfds.builder_from_directory(str(folder)).as_data_source(split)
    except Exception as error:  # TFDS raises whatever its parts raise
        raise FailureError(
            f"split {split!r} of the data set {str(folder)!r} cannot be read: {error}"
        ) from error
    return TfdsRecords(source, format, f"{folder}, split {split}")


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value


def _apart(answer: str, mark: str, where: str) -> dict[str, str]:
    reasoning, found, last = answer.rpartition(mark)
    if not found:
        raise InputError(f"{where}: answer has no {mark!r} between reasoning and answer")
    return {"reasoning": reasoning.strip(), "answer": last.strip()}


def _check_fields(task: str, given: Mapping[str, Any], where: str) -> None:
    for field in _NEEDED[task]:
        if field not in given:
            raise InputError(f"{where}: {field} is missing; task {task!r} needs it")
    shown = [field for field in ("codes", "image") if field in given]
    if task in PICTURED and len(shown) != 1:
        both = "both codes and image are" if shown else "neither codes nor image is"
        raise InputError(f"{where}: {both} given; task {task!r} needs one of the two")
    allowed = {*_NEEDED[task], *_OPTIONAL.get(task, ())}
    allowed |= {"codes", "image"} if task in PICTURED else set()
    for field in given:
        if field not in allowed:
            raise InputError(f"{where}: {field} is given; task {task!r} has none")


def _codes(value: Any, where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{where}: codes is not a list of whole numbers")
    return array


def _image(value: Any, where: str, folder: Path | None) -> np.ndarray | Path:
    if isinstance(value, str):
        return as_path(value) if "://" in value else (folder or Path()) / value
    array = np.asarray(value)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise InputError(
            f"{where}: image is {array.dtype} of shape {array.shape}; expected a file name, or "
            "uint8 [rows, columns, 3]"
        )
    return array
