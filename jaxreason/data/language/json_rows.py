"""Rows of JSON lines and of JSON lists: places are found once, rows are parsed when asked for."""

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jaxreason.data.language.checked_json import check_value, parse
from jaxreason.data.language.json_lists import Places, list_places
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import is_local

MAX_LINE = 64 * 2**20
"""Bytes of a line; longer ones are no line but a file of another kind."""
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
        self, path: Path, file: IO[bytes], places: "Places", what: str, digest: str
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


def open_json(path: Path, key: str = "") -> JsonRows:
    """The rows of a file of JSON lines, or of one with a list of objects (`.json`).

    A gzipped file, or one in an object store, is copied to a temporary file first.

    Args:
        path: the file.
        key: of a `.json` file that is an object, where its list is.

    Raises:
        InputError: not such a file; names file and line.
        FailureError: the file cannot be read.
    """
    if "json" not in path.name.lower().split(".")[1:]:
        return open_lines(path)
    with _reading(path):
        file = _local(path)
        places, digest = list_places(path, file, key)
    return JsonRows(path, file, places, "item", digest)


def open_lines(path: Path) -> JsonRows:
    """The rows of a file of JSON lines, whatever its name; gzipped if that ends in `.gz`.

    Raises:
        InputError: a line that is too long; names file and line.
        FailureError: the file cannot be read.
    """
    with _reading(path):
        file = _local(path)
        places, digest = _line_places(path, file)
    return JsonRows(path, file, places, "line", digest)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise FailureError(f"data {str(path)!r} cannot be read: {error}") from error


def _local(path: Path) -> IO[bytes]:
    gzipped = path.name.lower().endswith(".gz")
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


def _line_places(path: Path, file: IO[bytes]) -> tuple[Places, str]:
    places, digest = Places(), hashlib.blake2b(digest_size=8)
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
