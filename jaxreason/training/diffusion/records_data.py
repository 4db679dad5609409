"""Which records an experiment reads, and with which vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from jaxreason.data.language.config import DataConfig
from jaxreason.data.multimodal.from_language import read_task_records
from jaxreason.data.multimodal.record_source import RecordText
from jaxreason.data.multimodal.records import (
    RecordFormat,
    TaskRecord,
    read_json_lines,
    read_tfds,
)
from jaxreason.errors import InputError
from jaxreason.tokens.multimodal_words import TEMPLATE


@dataclass(frozen=True)
class RecordsData:
    """Records of text, or of pictures and text; see `data.multimodal.records` for their fields.

    Attributes:
        train: file of JSON lines; with `dataset`, a split of it; with `published`, its path, or its
            split if it has a path or is one of TFDS.
        held_out: the same, for evaluation; "" for none.
        dataset: folder of a data set that TensorFlow Datasets prepared as ArrayRecord; "" for JSON
            lines.
        published: a data set in a published layout instead (chat, text, image_text, prompts); what
            its records become is said in `data.multimodal.from_language`.
        task: of all records that do not name theirs.
        names: our field to the data's name for it, where they differ.
        answer_mark: what stands between reasoning and answer where both are one field.
        other_fields: what to do about fields of another name.
        text_length: places for text in a row, see `LayoutConfig`.
        overflow: what to do about texts that are too long; "drop" leaves those records out.
        image_tokens, image_codes: codes of a picture, and how many there are, for records with
            codes; pictures given as images need a tokenizer run, which says both.
        pictures: how pictures come to the tokenizer's size: "exact" refuses others, "crop" keeps
            the middle, "squash" scales both sides.

    Raises:
        InputError: a value out of range, no training data.
    """

    train: str = ""
    held_out: str = ""
    dataset: str = ""
    task: str = ""
    names: dict[str, str] = field(default_factory=dict)
    answer_mark: str = ""
    other_fields: Literal["error", "ignore"] = "error"
    text_length: int = 256
    overflow: Literal["error", "truncate", "drop"] = "error"
    image_tokens: int = 1
    image_codes: int = 1
    pictures: Literal["exact", "crop", "squash"] = "exact"
    published: DataConfig | None = None

    def __post_init__(self) -> None:
        _ = self.format
        if self.published is not None:
            for name in ("dataset", "task", "names", "answer_mark"):
                if getattr(self, name):
                    raise InputError(
                        f"data.{name} is {getattr(self, name)!r}, but data.published says how "
                        "records are read"
                    )
        for name, least in (("text_length", 2), ("image_tokens", 1), ("image_codes", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"data.{name} is {getattr(self, name)}; it must be at least {least}"
                )

    @property
    def format(self) -> RecordFormat:
        """How the fields are to be understood."""
        return RecordFormat(self.task, self.names, self.answer_mark, self.other_fields)

    def read(self, which: Literal["train", "held_out"]) -> Sequence[TaskRecord]:
        """The records, checked.

        Raises:
            InputError: no name given, or a bad record; names file and line.
            FailureError: they cannot be read.
        """
        name = getattr(self, which)
        if not name:
            raise InputError(f"data.{which} is ''; expected a file of JSON lines, or a split")
        if self.published is not None:
            placed = bool(self.published.path or self.published.tfds)
            where = {"split" if placed else "path": name}
            return read_task_records(replace(self.published, **where))
        if self.dataset:
            return read_tfds(self.dataset, name, self.format)
        return read_json_lines(name, self.format)


WORD_TEXT = RecordText(TEMPLATE, reasoning_instruction="", image_instruction="")
"""Turns in whole words; no instructions, which small models need not read."""


def record_texts(records: Sequence[TaskRecord]) -> list[str]:
    """What the records say, in whole words."""
    return [WORD_TEXT.of(record) for record in records]
