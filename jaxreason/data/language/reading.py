"""Records of a data set by index, from files of any format."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxreason.data.language.columns import record_of
from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.json_rows import open_json
from jaxreason.data.language.records import Record
from jaxreason.data.language.rows import JoinedRows, Rows
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

FORMATS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_FIRST = 1000
_NOT_READ = ("weight", "check", "count")


class Records(Sequence[Record]):
    """The records of a data set; each is read and checked when it is asked for.

    Attributes:
        config: the data set.
        rows: what is read; `rows[i]` is a row as the file has it.
    """

    def __init__(self, rows: Rows, config: DataConfig) -> None:
        self.rows, self.config = rows, config
        self._count = min(len(rows), config.count or len(rows))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        """Record `index`, of the kind `config.kind`; of a slice, a list."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.read(index % len(self))

    def read(self, place: int) -> Record:
        """The record at a place, counted from the first."""
        return record_of(self.rows[place], self.config, self.rows.where(place))

    def __iter__(self) -> Iterator[Record]:
        return (self[place] for place in range(len(self)))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Plain JSON that changes with the content, or with how it is understood."""
        read = {k: v for k, v in asdict(self.config).items() if k not in _NOT_READ}
        # Where the files lie does not matter, what is in them does.
        read = {k: v for k, v in read.items() if k not in ("path", "images", "tfds_directory")}
        content = json.dumps(self.rows.identity).encode()
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        return {**read, "records": len(self), "content": digest}

    def check(self) -> None:
        """Reads all records, or the first ones (`config.check`).

        Raises:
            InputError: a bad record; names file and line.
        """
        count = len(self) if self.config.check == "all" else min(_FIRST, len(self))
        for place in range(count):
            self[place]


def read_records(config: DataConfig) -> Records:
    """Opens a data set and checks its records, see `DataConfig.check`.

    JSON lines and Parquet are read where they lie; a JSON list is in memory once to be taken apart,
    and gzipped files are expanded into a temporary file.

    Raises:
        InputError: no such kind of file, no record, or a bad one; names file and line.
        FailureError: a file cannot be read.
    """
    records = open_records(config)
    records.check()
    return records


def open_records(config: DataConfig) -> Records:
    """As `read_records`, but no record is read before it is asked for.

    Raises:
        InputError: no such kind of file, or no record.
        FailureError: a file cannot be read.
    """
    if config.known:
        from jaxreason.data.language.known import open_known

        records: Records = open_known(config)
    else:
        records = Records(open_rows(config), config)
    if not len(records):
        raise InputError(f"data {config.path or config.tfds!r} has no record")
    return records


def open_rows(config: DataConfig) -> Rows:
    """The rows of a data set as its files have them.

    Raises:
        InputError: neither `path` nor `tfds`, or no such kind of file.
        FailureError: a file cannot be read.
    """
    if config.tfds:
        from jaxreason.data.language.tfds_rows import open_tfds

        return open_tfds(config.tfds, config.split, config.tfds_directory)
    if not config.path:
        raise InputError("data.path is ''; expected a file, a folder or a pattern")
    parts = [open_file(path) for path in data_files(config.path, config.split)]
    return parts[0] if len(parts) == 1 else JoinedRows(parts)


def open_file(path: Path) -> Rows:
    """The rows of one file, by the end of its name.

    Raises:
        InputError: not one of `FORMATS`.
        FailureError: it cannot be read.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        from jaxreason.data.language.parquet_rows import open_parquet

        return open_parquet(path)
    if not name.endswith(FORMATS):
        raise InputError(f"data {str(path)!r}: expected a file {', '.join(FORMATS)}")
    return open_json(path)


def data_files(path: str, split: str = "") -> list[Path]:
    """The files that a path names, of a folder or pattern in the order of their names.

    Args:
        path: a file, a folder, or a pattern with `*` in its last part.
        split: a word their names must have, unless a file is named itself.

    Raises:
        InputError: none is found, or a split is asked of a single file.
        FailureError: no such file.
    """
    found = as_path(path)
    if "*" in found.name:
        files = sorted(found.parent.glob(found.name))
    elif found.is_dir():
        files = sorted(found.iterdir())
    else:
        if split:
            raise InputError(f"data.split is {split!r}, but data.path is a single file: {path!r}")
        if not found.is_file():
            raise FailureError(f"data {path!r} cannot be read: no such file or folder")
        return [found]
    files = [file for file in files if file.name.lower().endswith(FORMATS) and file.is_file()]
    if split:
        word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(split)}(?![A-Za-z0-9_])")
        files = [file for file in files if word.search(file.name)]
    if not files:
        named = f" with {split!r} in its name" if split else ""
        raise InputError(f"data {path!r} has no file {', '.join(FORMATS)}{named}")
    return files
