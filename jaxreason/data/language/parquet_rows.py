"""Rows of Parquet files: a row group is decoded when one of its rows is first asked for."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import is_local, local_copy

MAX_GROUP = 16 * 2**30
"""Bytes of a decoded row group; a file of a few bytes can claim to hold any number."""
_BATCH = 1024


class ParquetRows:
    """The rows of a file, see `open_parquet`.

    Decoded row groups lie in temporary files ($TMPDIR), mapped into memory, as large together as
    the data set is uncompressed: rows are asked for in a shuffled order, and decoding a row group
    for each would take longer than training on it.

    Args:
        path: for messages.
        file: of the library `pyarrow`.
        identity: hash of size and footer.
    """

    def __init__(self, path: Path, file: Any, identity: str) -> None:
        self._path, self._file, self.identity = path, file, identity
        metadata = file.metadata
        counts = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        if min(counts, default=0) < 0 or sum(counts) != metadata.num_rows:
            raise FailureError(
                f"data {str(path)!r} is damaged: its row groups have {counts} rows, the file "
                f"{metadata.num_rows}"
            )
        self._ends = np.cumsum(np.array(counts, np.int64))
        self._groups: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The row; InputError names file and row."""
        group = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[group - 1]) if group else 0
        # One at a time: the prefetch thread and others may ask.
        with self._lock:
            table = self._groups.get(group)
            if table is None:
                table = self._groups[group] = self._decode(group)
        try:
            return table.slice(index - before, 1).to_pylist()[0]
        except (ValueError, OverflowError, TypeError) as error:
            raise InputError(f"{self.where(index)}: {str(error)[:200]}") from error

    def where(self, index: int) -> str:
        """File and row, counted from 1."""
        return f"{self._path}, row {index + 1}"

    def _decode(self, group: int) -> Any:
        import pyarrow as pa

        with tempfile.TemporaryDirectory(prefix="jaxreason-") as name:
            spool = str(Path(name) / "group.arrow")
            expected = self._file.metadata.row_group(group).num_rows
            with disk_errors(f"row group {group} of {self._path}"):
                rows = self._write(group, spool)
            if rows != expected:
                raise FailureError(
                    f"data {str(self._path)!r} is damaged: row group {group} has {rows} rows "
                    f"instead of {expected}"
                )
            # The mapping outlives the name of the file.
            return pa.ipc.open_file(pa.memory_map(spool)).read_all()

    def _write(self, group: int, spool: str) -> int:
        import pyarrow as pa

        rows = size = 0
        with _reading(self._path), pa.OSFile(spool, "wb") as sink:
            batches = self._file.iter_batches(_BATCH, row_groups=[group], use_threads=False)
            with pa.ipc.new_file(sink, self._file.schema_arrow) as writer:
                for batch in batches:
                    rows, size = rows + batch.num_rows, size + batch.nbytes
                    if size > MAX_GROUP:
                        raise InputError(
                            f"data {str(self._path)!r}: row group {group} has more than "
                            f"{MAX_GROUP // 2**30} GiB; write it with smaller row groups"
                        )
                    writer.write_batch(batch)
        return rows


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What pyarrow says of a file it cannot read, in one sentence."""
    import pyarrow as pa

    try:
        yield
    except (InputError, FailureError):
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if "No space left" in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise FailureError(f"data {str(path)!r} cannot be read as Parquet: {reason}") from error


def open_parquet(path: Path) -> ParquetRows:
    """The rows of a Parquet file (extra `parquet`); one in an object store is copied first.

    Raises:
        InputError: the extra is not installed.
        FailureError: no such file, or no Parquet.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError(
            f"data {str(path)!r} needs the library pyarrow; install it with "
            "`pip install 'jaxreason[parquet]'`"
        ) from error
    with _reading(path):
        stored = _local(path)
        file = parquet.ParquetFile(stored)
        return ParquetRows(path, file, _identity(stored, file.metadata.serialized_size))


def _local(path: Path) -> IO[bytes]:
    # The copy of a stored file loses its name and stays open.
    with local_copy(path) as copy:
        return (path if is_local(path) else copy).open("rb")


def _identity(file: IO[bytes], footer: int) -> str:
    """A hash of size and footer, which has places, sizes and extremes of all columns."""
    size = file.seek(0, 2)
    file.seek(max(0, size - footer - 8))
    return hashlib.blake2b(f"{size}".encode() + file.read(), digest_size=8).hexdigest()
