"""Benchmark files: JSON and JSON lines, with errors that name the file and the entry."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

_SHOWN = 60
"""Characters of a wrong value that a message repeats."""

KINDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class Entry(NamedTuple):
    """One entry of a file.

    Attributes:
        where: file and place, for messages.
        value: what JSON holds there.
    """

    where: str
    value: Mapping[str, Any]


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        FailureError: it cannot be read, or is not UTF-8.
    """
    path = as_path(path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FailureError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FailureError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from (
            error
        )


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        FailureError: it cannot be read, is no JSON, or names a key of an object twice.
    """
    return _parse(read_text(path), str(path))


def read_lines(path: str | Path) -> Iterator[Entry]:
    """The objects of a file of JSON lines; empty lines are passed over.

    Raises:
        FailureError: it cannot be read, or a line is no JSON.
        InputError: a line is no object.
    """
    # split at line feeds only: JSON texts may hold U+2028 and its like
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            yield Entry(where, _object(_parse(line, where), where))


def entries(path: str | Path, values: Any, what: str) -> Iterator[Entry]:
    """The objects of a list in a JSON file.

    Args:
        path: of the file, for messages.
        values: what should be the list.
        what: what an entry is: "annotation".

    Raises:
        InputError: no list, or an entry of it is no object.
    """
    if not isinstance(values, list):
        raise InputError(f"{path} holds {show(values)}; expected a list of {what}s")
    for number, value in enumerate(values):
        where = f"{path}, {what} {number}"
        yield Entry(where, _object(value, where))


def field(entry: Entry, name: str, kind: type, *, optional: bool = False) -> Any:
    """A field of an entry, of the kind wanted; whole numbers are numbers.

    Raises:
        InputError: it is missing and not optional, or of another kind.
    """
    if name not in entry.value:
        if optional:
            return None
        raise InputError(f"{entry.where} lacks {name!r}; expected {KINDS[kind]}")
    value = entry.value[name]
    found = isinstance(value, (int, float) if kind is float else kind)
    if not found or (kind in (int, float) and isinstance(value, bool)):
        raise InputError(f"{entry.where} has {name} {show(value)}; expected {KINDS[kind]}")
    return value


def show(value: Any) -> str:
    """A value for a message, cut short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is {show(value)}; expected an object")
    return value


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else error
        raise FailureError(f"{where} cannot be read as JSON: {reason}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = set()
        for name, _ in pairs:
            if name in names:
                raise ValueError(f"an object has the key {show(name)} twice")
            names.add(name)
    return found


def _finite(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
