"""Columns of a row to a record, in the spellings that published data sets use."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxreason.data.language import forms
from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.messages import column_names
from jaxreason.data.language.records import Record
from jaxreason.errors import InputError

Row = Mapping[str, Any]


class Spelling(NamedTuple):
    """One way of writing records of a kind.

    Attributes:
        needed: columns that make it out.
        optional: columns that belong to it.
        read: from a row under our names, to a record.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[forms.Given, DataConfig], Record]


_QUESTIONS = ("prompt", "question", "problem")

SPELLINGS: dict[str, tuple[Spelling, ...]] = {
    "text": (Spelling(("text",), (), forms.text),),
    "chat": (
        Spelling(("messages",), (), forms.conversation),
        Spelling(("conversations",), ("system",), forms.conversation),
        Spelling(("prompt", "completion"), ("system",), forms.answered),
        Spelling(("prompt", "response"), ("system",), forms.answered),
        Spelling(("instruction", "output"), ("input", "system"), forms.instruction),
        Spelling(("question", "answer"), ("system",), forms.answered),
        Spelling(("problem", "solution"), ("system",), forms.answered),
    ),
    "preference": (
        Spelling(("prompt", "chosen", "rejected"), ("system",), forms.preference),
        Spelling(("question", "chosen", "rejected"), ("system",), forms.preference),
        Spelling(("chosen", "rejected"), ("system",), forms.preference),
    ),
    "labelled": (
        Spelling(("prompt", "completion", "label"), ("system",), forms.labelled),
        Spelling(("messages", "label"), (), forms.labelled),
    ),
    "prompts": tuple(
        Spelling((question, "answer"), ("system",), forms.question) for question in _QUESTIONS
    ),
    "image_text": (
        Spelling(("conversations",), ("image",), forms.pictured),
        Spelling(("messages",), ("image",), forms.pictured),
        Spelling(("image", "caption"), (), forms.captioned),
        Spelling(("image", "text"), (), forms.captioned),
        Spelling(("image", "question", "answer"), (), forms.pictured_question),
        Spelling(("image", "problem", "solution"), (), forms.pictured_question),
    ),
}


def record_of(row: Row, config: DataConfig, where: str) -> Record:
    """The record of a row.

    Columns that belong to no spelling are not looked at; prompts and pictures keep them in `data`.

    Args:
        row: column to value.
        config: what the data set is, and its names of the columns.
        where: file and line, for messages.

    Raises:
        InputError: columns are missing, could be understood in two ways, or hold something else.
    """
    spelling = find_spelling(row, config, where)
    wanted = (*spelling.needed, *spelling.optional)
    names = {column: config.columns.get(column, column) for column in wanted}
    values = {
        column: row[name] for column, name in names.items() if name and row.get(name) is not None
    }
    for column in spelling.needed:
        if column not in values and names[column]:
            raise InputError(f"{where}: {names[column]} is null; expected a value")
    rest = {name: value for name, value in row.items() if name not in names.values()}
    return spelling.read(forms.Given(values, rest, where), config)


def find_spelling(row: Row, config: DataConfig, where: str) -> Spelling:
    """The way a row of the data set's kind is written.

    Raises:
        InputError: none, or more than one.
    """
    found = []
    named = set(config.columns)
    for spelling in SPELLINGS[config.kind]:
        if not named <= {*spelling.needed, *spelling.optional}:
            continue
        names = [config.columns.get(column, column) for column in spelling.needed]
        if all(name in row for name in names if name):
            found.append(spelling)
    # What another needs and more is the better understanding: an implicit prompt is none if there
    # is a prompt.
    best = [a for a in found if not any(set(a.needed) < set(b.needed) for b in found)]
    if len(best) == 1:
        return best[0]
    columns = column_names(row)
    if best:
        ways = " or ".join(" + ".join(spelling.needed) for spelling in best)
        raise InputError(
            f"{where}: columns {columns} can be understood as {ways}; name the columns that are "
            "meant in data.columns"
        )
    ways = "; ".join(_called(spelling, config) for spelling in SPELLINGS[config.kind])
    raise InputError(
        f"{where}: columns are {columns}; kind {config.kind!r} expects one of: {ways} "
        "(data.columns renames)"
    )


def _called(spelling: Spelling, config: DataConfig) -> str:
    names = [config.columns.get(column, column) for column in spelling.needed]
    return " + ".join(name for name in names if name)


def kinds_of(row: Row) -> list[str]:
    """The kinds a row could be of, those that take more of its columns first."""
    sizes = {}
    for kind, spellings in SPELLINGS.items():
        taken = [_taken(spelling, row) for spelling in spellings]
        # A conversation without a picture is one of text.
        if max(taken) and (kind != "image_text" or "image" in row):
            sizes[kind] = max(taken)
    return sorted(sizes, key=lambda kind: -sizes[kind])


def _taken(spelling: Spelling, row: Row) -> int:
    if any(column not in row for column in spelling.needed):
        return 0
    return sum(column in row for column in (*spelling.needed, *spelling.optional))
