"""metrics.jsonl: one JSON object per line, the same after any number of interruptions.

A row of training holds `step`, the mean of every metric since the row before, `skipped`, `tokens`
(since the start of the run) and `learning_rate`; a row of evaluation holds `step` and
`evaluation`. What depends on the machine's speed is under `time`, and counts from the start of
the process. A resumed run drops the rows past its checkpoint, so that apart from `time` the file
equals that of a run that was never interrupted.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import as_path, is_local
from jaxreason.training.files import write_atomically


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl.

    Raises:
        InputError: a line is not JSON (its number is named). A last line without its newline, cut
            by a crash, is left out.
    """
    rows = []
    lines = as_path(path).read_text().split("\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number} is not JSON: {error}") from error
    return rows


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Lines:
    """Lines of an object, which cannot be appended to: all are put again, now and then."""

    SECONDS = 20.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = [path.read_text()] if path.is_file() else []
        self._put, self._fresh = time.monotonic(), False

    def write(self, line: str) -> None:
        self._lines.append(line)
        self._fresh = True
        if time.monotonic() - self._put >= self.SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._fresh:
            self._path.write_text("".join(self._lines))
            self._put, self._fresh = time.monotonic(), False

    close = flush


class MetricsFile:
    """Appends rows to metrics.jsonl, and to TensorBoard if asked.

    In an object store the file is put whole: with every checkpoint, at the end, and with a row if
    20 seconds have passed since the last time.

    Args:
        directory: the run directory.
        resume_step: rows past this step are removed first, in one atomic step.
        tensorboard: also write event files into `directory/tensorboard`.
        write: False keeps nothing, for processes other than the first.

    Raises:
        InputError: TensorBoard is asked for but tensorboardX is not installed.
        FailureError: the file cannot be written.
    """

    def __init__(
        self, directory: Path, resume_step: int, tensorboard: bool = False, write: bool = True
    ) -> None:
        self._path = directory / "metrics.jsonl" if write else Path(os.devnull)
        if tensorboard:
            check_tensorboard(directory)
        self._board = _summary_writer(directory) if tensorboard and write else None
        if self._path.is_file():
            rows = [row for row in read_metrics(self._path) if row["step"] <= resume_step]
            write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        with disk_errors(str(self._path)):
            self._file: Any = (
                self._path.open("a", buffering=1) if is_local(self._path) else _Lines(self._path)
            )

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row; numbers that are not finite become null.

        Raises:
            FailureError: the disk is full.
        """
        with disk_errors(str(self._path)):
            self._file.write(json.dumps(_finite(row), allow_nan=False) + "\n")
        if self._board is not None:
            for name, value in _numbers(row).items():
                self._board.add_scalar(name, value, row["step"])

    def sync(self) -> None:
        """Rows written so far are in the file when this returns.

        Raises:
            FailureError: the disk is full.
        """
        with disk_errors(str(self._path)):
            self._file.flush()

    def close(self) -> None:
        """Close the files; a row that does not reach the disk now is a FailureError."""
        if self._board is not None:
            self._board.close()
        with disk_errors(str(self._path)):
            self._file.close()


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found[prefix + name] = value
    return found


def check_tensorboard(directory: Path) -> None:
    """That TensorBoard's files can be written into a run directory.

    Raises:
        InputError: they cannot.
    """
    if not is_local(directory):
        raise InputError(
            f"train.tensorboard=True writes local files, and the run directory is {directory}; "
            "leave it out"
        )
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise InputError(
            "train.tensorboard=True needs tensorboardX: pip install 'jaxreason[tensorboard]'"
        ) from error


def _summary_writer(directory: Path) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(directory / "tensorboard"))


class Sums:
    """(sum, count) of every metric since the last row, in float64 on the host.

    Plain JSON, so that a checkpoint between two rows can hold it and the next row comes out the
    same after a resume.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self.pairs: dict[str, list[float]] = dict(saved["pairs"]) if saved else {}
        self.tokens: int = saved["tokens"] if saved else 0

    def as_json(self) -> dict[str, Any]:
        """What the constructor takes back."""
        return {"pairs": self.pairs, "tokens": self.tokens}

    def add(self, metrics: Mapping[str, tuple[Any, Any]], tokens: int) -> None:
        """Add one step's metrics (host arrays) and its tokens."""
        self.tokens += tokens
        for name, (total, count) in metrics.items():
            pair = self.pairs.setdefault(name, [0.0, 0.0])
            pair[0] += float(total)
            pair[1] += float(count)

    def take(self) -> dict[str, float | int | None]:
        """The means (`skipped`: the number) and `tokens`; the means start afresh."""
        row: dict[str, float | int | None] = {
            name: total / count if count else None for name, (total, count) in self.pairs.items()
        }
        if "skipped" in self.pairs:
            row["skipped"] = int(self.pairs["skipped"][0])
        row.pop("consecutive_skipped", None)
        self.pairs = {}
        return {**row, "tokens": self.tokens}


def too_many_skipped(consecutive: int, limit: int, step: int) -> FailureError:
    """The error of a run whose loss does not become finite again."""
    return FailureError(
        f"loss or gradient was not finite in {consecutive} steps in a row up to step {step} "
        f"(max_consecutive_skipped={limit}); the last good checkpoint is kept: lower the learning "
        "rate or look at the data"
    )
