"""Batches of several tasks at once: so many rows of each, endless, resumable, shared out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import grain
import numpy as np

from jaxreason.data.orders import epoch_order
from jaxreason.data.pipeline import TrainingBatches
from jaxreason.data.shares import share_rows
from jaxreason.errors import InputError
from jaxreason.tokens.layouts import TASKS, LayoutRow

STREAMS = 64
"""Seeds are kept apart per task: seed * STREAMS + the task's place, so a source has at most 64."""


class Length(Protocol):
    """What batches need of a layout."""

    @property
    def length(self) -> int:
        """Tokens of a row."""
        ...


class TaskSource(Protocol):
    """Rows by example and task; `row(i, task)` depends on nothing else."""

    @property
    def tasks(self) -> Mapping[str, str]:
        """Each task's name to its layout, one of `tokens.layouts.TASKS`."""
        ...

    @property
    def layout(self) -> Length:
        """Sizes of the rows."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain JSON; a saved position is only accepted by a source of equal identity."""
        ...

    def count(self, task: str) -> int:
        """Examples of a task."""
        ...

    def row(self, index: int, task: str, drop_text: bool = False) -> LayoutRow:
        """A row of `layout.length` tokens; `drop_text` empties the text of a t2i row."""
        ...


@dataclass(frozen=True)
class MixingConfig:
    """How rows are mixed.

    Attributes:
        rows_per_task: task to its rows in each batch of all processes together, at least 0; the
            reference (stage 1 of Gen-Verse/MMaDA) has 7 t2i, 2 lm and 6 mmu on each device.
        seed: of the orders and of the dropped texts.
        text_dropout: share of the text-to-image rows without text, for guidance without
            classifier.
    """

    rows_per_task: dict[str, int]
    seed: int = 0
    text_dropout: float = 0.1

    def __post_init__(self) -> None:
        for task, rows in self.rows_per_task.items():
            if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or rows < 0:
                raise InputError(
                    f"rows_per_task of {task!r} is {rows!r}; expected a whole number of at least 0"
                )
        if not any(self.rows_per_task.values()):
            raise InputError(f"rows_per_task is {self.rows_per_task}; expected at least one row")
        if not 0 <= self.seed < 2**57:
            raise InputError(f"seed is {self.seed}; expected a whole number in 0..2^57-1")
        if not 0 <= self.text_dropout <= 1:
            raise InputError(f"text_dropout is {self.text_dropout}; expected a share in [0, 1]")


def mixed_batches(
    source: TaskSource,
    rows_per_task: Mapping[str, int],
    seed: int = 0,
    *,
    text_dropout: float = 0.1,
    share_index: int = 0,
    share_count: int = 1,
    prefetch: int = 2,
) -> TrainingBatches:
    """An endless stream of batches with a fixed number of rows of each task.

    Every task goes through its examples in epochs of its own, in a new order each. Which texts are
    dropped depends on seed, task, epoch and example. Row r of batch n is the same whoever makes it;
    a share makes its rows alone, and the state says the same on all. Iterators have `get_state` /
    `set_state` (plain JSON), and a restored one yields the same batches bit for bit.

    A batch holds numpy arrays [rows, T], of a share its rows: `tokens` int32 (clean), `maskable`,
    `keys`, `image` and `visible_targets` bool (see `LayoutRow`), `segments` int32 (1 everywhere),
    and `task` int32 [rows], places in `tokens.layouts.TASKS`. Rows of a task are next to each
    other, in the order of the source's tasks: rows i, i + n, i + 2n, ... of a whole batch hold
    equally many of each task that n divides.

    Args:
        source: rows by example and task.
        rows_per_task, seed, text_dropout: see `MixingConfig`.
        share_index: which part of the rows of every batch to make.
        share_count: number of equal parts.
        prefetch: batches made ahead in a thread; 0 makes them in the caller's.

    Raises:
        InputError: on a bad value, an unknown task, a task without examples, or rows that cannot be
            shared out evenly.
    """
    config = MixingConfig(dict(rows_per_task), seed, text_dropout)
    for task, rows in config.rows_per_task.items():
        if task not in source.tasks:
            raise InputError(
                f"rows_per_task has task {task!r}; the data has {', '.join(source.tasks)}"
            )
        if rows and source.count(task) < 1:
            raise InputError(f"rows_per_task has task {task!r}, of which there is no example")
    if len(source.tasks) > STREAMS:
        raise InputError(f"the data has {len(source.tasks)} tasks; at most {STREAMS} can be mixed")
    total = sum(config.rows_per_task.values())
    own = share_rows("the sum of rows_per_task", total, share_index, share_count)
    return TrainingBatches(_MixedBatches(source, config, own), config, prefetch)


class _MixedBatches(grain.IterDataset):
    def __init__(self, source: TaskSource, config: MixingConfig, own: range):
        super().__init__()
        self._source, self._config, self._own = source, config, own

    def __iter__(self) -> "_MixedIterator":
        return _MixedIterator(self._source, self._config, self._own)


class _Stream:
    """One task's examples, epoch after epoch."""

    def __init__(self, source: TaskSource, task: str, config: MixingConfig):
        self._count = source.count(task)
        self._config = config
        self._drops = source.tasks[task] == "t2i" and config.text_dropout > 0
        self._seed = config.seed * STREAMS + list(source.tasks).index(task)
        self._epoch = -1

    def at(self, position: int) -> tuple[int, bool]:
        """The example at a position, and whether its text is dropped."""
        epoch, place = divmod(position, self._count)
        if epoch != self._epoch:
            self._enter(epoch)
        example = int(self._order[place])
        return example, bool(self._drops and self._dropped[example])

    def _enter(self, epoch: int) -> None:
        self._order = epoch_order(self._count, self._seed, epoch)
        if self._drops:
            bits = np.random.Philox(np.random.SeedSequence((self._seed, epoch, 1)))
            chance = bits.random_raw(self._count) / 2.0**64
            self._dropped = chance < self._config.text_dropout
        self._epoch = epoch


class _MixedIterator(grain.DatasetIterator):
    def __init__(self, source: TaskSource, config: MixingConfig, own: range):
        super().__init__()
        self._source = source
        self._own = own
        wanted = {task: config.rows_per_task.get(task, 0) for task in source.tasks}
        self._rows = {task: rows for task, rows in wanted.items() if rows}
        self._streams = {task: _Stream(source, task, config) for task in self._rows}
        self._batches = 0
        self._length = source.layout.length
        self._identity = {
            **asdict(config),
            "rows_per_task": self._rows,
            "source": dict(source.identity),
        }
        # Of every row of a batch: its task, and which of the task's rows it is.
        self._places = [(task, row) for task, rows in self._rows.items() for row in range(rows)]
        names = [self._places[row][0] for row in own]
        self._tasks = np.array([TASKS.index(source.tasks[name]) for name in names], np.int32)

    def __next__(self) -> dict[str, np.ndarray]:
        shape = len(self._tasks), self._length
        batch = {
            "tokens": np.empty(shape, np.int32),
            **{name: np.empty(shape, bool) for name in LayoutRow._fields[1:]},
            "segments": np.ones(shape, np.int32),
            "task": self._tasks.copy(),
        }
        for place, (task, number) in enumerate(self._places[row] for row in self._own):
            position = self._batches * self._rows[task] + number
            example, dropped = self._streams[task].at(position)
            row = self._source.row(example, task, dropped)
            for name, values in zip(LayoutRow._fields, row, strict=True):
                batch[name][place] = values
        self._batches += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        rows = self._batches * len(self._places)
        return {
            "batches": self._batches,
            "examples": rows,
            "tokens": rows * self._length,
            "slots": rows * self._length,
            "dropped": 0,
            "identity": self._identity,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        for field, value in self._identity.items():
            saved = state["identity"].get(field)
            if saved != value:
                raise InputError(
                    f"the saved data position belongs to a mixture with {field} {saved!r}, this "
                    f"one has {value!r}; resume with the same value or start a new run"
                )
        self._batches = int(state["batches"])
