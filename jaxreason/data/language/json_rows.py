"""Rows of JSON lines and of JSON lists: places are found once, rows are parsed when asked for."""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from jaxreason.data.language.checked_json import check_value, parse
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import is_local

MAX_LINE = 64 * 2**20
"""Bytes of a line; longer ones are no line but a file of another kind."""
MAX_LIST_FILE = 4 * 2**30
"""Bytes of a `.json` list, which is in memory once while the places of its items are found."""
_RATIO, _SMALL = 200, 2**28
_MARK = b"\xef\xbb\xbf"


class JsonRows:
    """The objects of a `.jsonl` or `.json` file, either perhaps gzipped; see `open_json`.

    Args:
        path: for messages.
        file: with the text, read at places.
        places: starts, stops and line numbers of the objects.
        what: "line" or "item", what the numbers count.
        digest: hash of the content.
    """

    def __init__(
        self, path: Path, file: IO[bytes], places: "_Places", what: str, digest: str
    ) -> None:
        self._path, self._file, self._places, self._what = path, file, places, what
        self.identity = digest

    def __len__(self) -> int:
        return len(self._places.starts)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The object; InputError names file and line."""
        where = self.where(index)
        start, stop = self._places.starts[index], self._places.stops[index]
        # Reading at a place leaves no position behind, so that threads do not meet.
        values = parse(os.pread(self._file.fileno(), stop - start, start), where)
        if not isinstance(values, dict):
            raise InputError(f"{where}: {type(values).__name__} instead of an object")
        check_value(values, where)
        return values

    def where(self, index: int) -> str:
        """File and line (of a list: item)."""
        return f"{self._path}, {self._what} {self._places.numbers[index]}"


class _Places:
    """Byte ranges of the rows: 24 bytes a row."""

    def __init__(self) -> None:
        self.starts, self.stops, self.numbers = array("q"), array("q"), array("q")

    def add(self, start: int, stop: int, number: int) -> None:
        self.starts.append(start)
        self.stops.append(stop)
        self.numbers.append(number)


def open_json(path: Path) -> JsonRows:
    """The rows of a file of JSON lines, or of one with a list of objects (`.json`).

    A gzipped file, or one in an object store, is copied to a temporary file first.

    Raises:
        InputError: not such a file; names file and line.
        FailureError: the file cannot be read.
    """
    suffixes = path.name.lower().split(".")[1:]
    try:
        file = _local(path, suffixes[-1:] == ["gz"])
        find = _list_places if "json" in suffixes else _line_places
        places, digest = find(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise FailureError(f"data {str(path)!r} cannot be read: {error}") from error
    return JsonRows(path, file, places, "item" if "json" in suffixes else "line", digest)


def _local(path: Path, gzipped: bool) -> IO[bytes]:
    if is_local(path) and not gzipped:
        return path.open("rb")
    file = tempfile.TemporaryFile(prefix="jaxreason-")  # noqa: SIM115 (rows are read from it)
    with path.open("rb") as stored:
        if not gzipped:
            shutil.copyfileobj(stored, file, 2**20)
        else:
            _expand(path, stored, file)
    file.flush()
    file.seek(0)
    return file


def _expand(path: Path, stored: IO[bytes], file: IO[bytes]) -> None:
    """Gunzips, unless it is a bomb: text does not shrink a hundredfold."""
    with gzip.GzipFile(fileobj=stored) as expanded:
        while block := expanded.read(2**20):
            file.write(block)
            if file.tell() > max(_SMALL, _RATIO * stored.tell()):
                raise InputError(
                    f"data {str(path)!r} expands more than {_RATIO}-fold; expected text: gunzip it "
                    "first if it is meant"
                )


def _line_places(path: Path, file: IO[bytes]) -> tuple[_Places, str]:
    places, digest = _Places(), hashlib.blake2b(digest_size=8)
    start = number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise InputError(f"{path}, line {number}: longer than {MAX_LINE // 2**20} MiB")
        digest.update(line)
        offset = len(_MARK) if number == 1 and line.startswith(_MARK) else 0
        if line[:2] in (b"\xff\xfe", b"\xfe\xff") and number == 1:
            raise InputError(f"{path}, line 1: UTF-16; expected UTF-8")
        if line[offset:].strip():
            places.add(start + offset, start + len(line), number)
        start += len(line)
    return places, digest.hexdigest()


def _list_places(path: Path, file: IO[bytes]) -> tuple[_Places, str]:
    content = file.read(MAX_LIST_FILE + 1)
    if len(content) > MAX_LIST_FILE:
        raise InputError(
            f"data {str(path)!r} is a list of more than {MAX_LIST_FILE // 2**30} GiB, which would "
            "have to be in memory; write it as JSON lines (.jsonl)"
        )
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    skip = 1 if text.startswith("\ufeff") else 0
    return _items(path, text, skip), digest


def _items(path: Path, text: str, at: int) -> _Places:
    """The places of the items of a list, in bytes."""
    places, decode = _Places(), json.JSONDecoder(parse_constant=float).raw_decode
    at = _blank(text, at)
    if text[at : at + 1] != "[":
        raise InputError(
            f"{path}, line {_line(text, at)}: expected a list of objects; one object a line is "
            "read from files called .jsonl"
        )
    # Bytes before the character `counted`.
    counted, before = 0, 0
    at = _blank(text, at + 1)
    while text[at : at + 1] != "]":
        start = at
        at = _item_end(path, text, at, decode)
        before += len(text[counted:start].encode())
        size = len(text[start:at].encode())
        places.add(before, before + size, len(places.starts) + 1)
        counted, before = at, before + size
        at = _blank(text, at)
        mark = text[at : at + 1]
        if mark == ",":
            at = _blank(text, at + 1)
        if mark not in (",", "]") or (mark == "," and text[at : at + 1] == "]"):
            raise InputError(
                f"{path}, line {_line(text, at)}: expected ',' or ']' after item "
                f"{len(places.starts)}"
            )
    if text[at + 1 :].strip():
        raise InputError(f"{path}, line {_line(text, at)}: something follows the list")
    return places


def _item_end(path: Path, text: str, at: int, decode: Callable[..., tuple[Any, int]]) -> int:
    try:
        return decode(text, at)[1]
    except RecursionError:
        raise InputError(f"{path}, line {_line(text, at)}: JSON nested too deeply") from None
    except ValueError as error:
        place = getattr(error, "pos", at)
        reason = str(getattr(error, "msg", error))[:200]
        raise InputError(f"{path}, line {_line(text, place)}: no JSON ({reason})") from None


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\r", "\t"):
        at += 1
    return at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
