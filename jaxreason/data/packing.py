"""Which example goes into which row of which batch: decided from lengths alone.

A planner is fed (position, length) pairs in stream order and answers with a `Plan` whenever a
batch is complete. It holds no tokens, so its whole state is lists of positions: a run resumes
exactly, in the middle of a row, by reading those few examples again.

Why not Grain's own packing operators: they close every bin as soon as one example fits nowhere
(91 % fill on 30x30 mazes in rows of 8,192 with 64 bins, against 99.8 % here with 64 examples
waiting), they cannot count dropped examples, and there is no length-bucket operator. Slicing,
repetition and prefetch stay Grain's.
"""

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Plan(NamedTuple):
    """One batch: `rows[r]` lists the stream positions laid end to end in row r.

    Attributes:
        rows: at most `row_count` rows; missing ones are padding.
        row_count: rows of the batch array.
        length: tokens per row of the batch array.
    """

    rows: list[list[int]]
    row_count: int
    length: int


class Planner(Protocol):
    """Groups a stream of lengths into batches; every position is in exactly one plan."""

    def add(self, position: int, size: int) -> Plan | None:
        """Takes the next example; returns a batch if this completed one."""
        ...

    def flush(self) -> Plan | None:
        """After the last example: the next leftover batch, possibly with fewer rows, or None."""
        ...

    def get_state(self) -> dict[str, Any]:
        """The positions held back, as lists that JSON can hold."""
        ...

    def set_state(self, state: Mapping[str, Any], size_of: Callable[[int], int]) -> None:
        """Puts back what `get_state` gave; `size_of(position)` is the length of an example."""
        ...


class PackingPlanner:
    """Packs whole examples into rows, choosing among the `window` examples that wait.

    A row starts with the example that has waited longest, so none waits for ever. Then, as long as
    anything fits, the single example or the pair of examples that fills the room best is added:
    pairs matter because a maze example is about a third of a usual row.
    """

    def __init__(self, batch_size: int, length: int, window: int):
        self._batch_size = batch_size
        self._length = length
        self._window = window
        self._waiting: list[tuple[int, int]] = []  # (size, position), sorted
        self._ready: list[list[int]] = []

    def add(self, position: int, size: int) -> Plan | None:
        """See `Planner.add`; `size` must be at most the row length."""
        bisect.insort(self._waiting, (size, position))
        if len(self._waiting) >= self._window:
            self._fill_row()
        return self._take() if len(self._ready) >= self._batch_size else None

    def flush(self) -> Plan | None:
        """See `Planner.flush`."""
        while self._waiting and len(self._ready) < self._batch_size:
            self._fill_row()
        return self._take() if self._ready else None

    def get_state(self) -> dict[str, Any]:
        """See `Planner.get_state`."""
        return {
            "waiting": [[position for _, position in self._waiting]],
            "ready": [list(row) for row in self._ready],
        }

    def set_state(self, state: Mapping[str, Any], size_of: Callable[[int], int]) -> None:
        """See `Planner.set_state`."""
        self._waiting = sorted((size_of(position), position) for position in state["waiting"][0])
        self._ready = [list(row) for row in state["ready"]]

    def _fill_row(self) -> None:
        oldest = min(range(len(self._waiting)), key=lambda item: self._waiting[item][1])
        chosen = [oldest]
        row, room = [], self._length
        while chosen:
            for item in sorted(chosen, reverse=True):
                size, position = self._waiting.pop(item)
                row.append(position)
                room -= size
            chosen = _best_fit(self._waiting, room)
        self._ready.append(row)

    def _take(self) -> Plan:
        rows = self._ready[: self._batch_size]
        self._ready = self._ready[self._batch_size :]
        return Plan(rows, self._batch_size, self._length)


def _best_fit(waiting: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Indices of the one or two items of a sorted list that fill `room` best; [] if none fits."""
    fitting = bisect.bisect_right(waiting, (room, float("inf")))
    if not fitting:
        return []
    best, chosen = waiting[fitting - 1][0], [fitting - 1]
    low, high = 0, fitting - 1
    while low < high and best < room:
        total = waiting[low][0] + waiting[high][0]
        if total > room:
            high -= 1
            continue
        if total > best:
            best, chosen = total, [low, high]
        low += 1
    return chosen


class BucketPlanner:
    """One example per row; a batch holds examples of one length bucket, its shape fixed by it.

    With a single bucket this is plain padding.
    """

    def __init__(self, buckets: Sequence[int], row_counts: Sequence[int]):
        self._buckets = tuple(buckets)
        self._row_counts = tuple(row_counts)
        self._waiting: list[list[int]] = [[] for _ in buckets]

    def add(self, position: int, size: int) -> Plan | None:
        """See `Planner.add`; `size` must be at most the largest bucket."""
        bucket = int(np.searchsorted(self._buckets, size))
        self._waiting[bucket].append(position)
        full = len(self._waiting[bucket]) == self._row_counts[bucket]
        return self._take(bucket) if full else None

    def flush(self) -> Plan | None:
        """See `Planner.flush`."""
        for bucket, waiting in enumerate(self._waiting):
            if waiting:
                return self._take(bucket)
        return None

    def get_state(self) -> dict[str, Any]:
        """See `Planner.get_state`."""
        return {"waiting": [list(positions) for positions in self._waiting]}

    def set_state(self, state: Mapping[str, Any], size_of: Callable[[int], int]) -> None:
        """See `Planner.set_state`."""
        self._waiting = [list(positions) for positions in state["waiting"]]

    def _take(self, bucket: int) -> Plan:
        rows = [[position] for position in self._waiting[bucket]]
        self._waiting[bucket] = []
        return Plan(rows, self._row_counts[bucket], self._buckets[bucket])


def assemble(
    plan: Plan, examples: Mapping[int, Mapping[str, Any]], *, loss_on: str, pad_id: int
) -> dict[str, np.ndarray]:
    """Lays the examples of a plan out as a batch.

    A token is a target where `loss_on` asks for it and something precedes it in its example: with
    "completion" where the example's `targets_mask` says so, or from `prompt_length` on; with "all"
    from the second token on.

    Args:
        plan: rows of positions.
        examples: position to `{"tokens": int32 [n], "targets_mask": bool [n], ...}` or
            `{"tokens": int32 [n], "prompt_length": int, ...}`.
        loss_on: "completion" or "all".
        pad_id: token id of the padding.

    Returns:
        `tokens, segments, positions` int32 and `targets_mask` bool, each [row_count, length].
    """
    shape = (plan.row_count, plan.length)
    batch = {
        "tokens": np.full(shape, pad_id, np.int32),
        "targets_mask": np.zeros(shape, np.bool_),
        "segments": np.zeros(shape, np.int32),
        "positions": np.zeros(shape, np.int32),
    }
    counting = np.arange(plan.length, dtype=np.int32)
    for row, members in enumerate(plan.rows):
        start = 0
        for segment, position in enumerate(members, start=1):
            example = examples[position]
            size = len(example["tokens"])
            stop = start + size
            batch["tokens"][row, start:stop] = example["tokens"]
            batch["targets_mask"][row, start + 1 : stop] = targets_of(example, loss_on)[1:]
            batch["segments"][row, start:stop] = segment
            batch["positions"][row, start:stop] = counting[:size]
            start = stop
    return batch


def targets_of(example: Mapping[str, Any], loss_on: str) -> np.ndarray:
    """[n] bool: which tokens of an example `loss_on` asks for; see `assemble`."""
    size = len(example["tokens"])
    if loss_on == "all":
        return np.ones(size, np.bool_)
    if "targets_mask" in example:
        return np.asarray(example["targets_mask"], np.bool_)
    return np.arange(size) >= example["prompt_length"]
