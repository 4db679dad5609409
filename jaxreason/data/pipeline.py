"""From a source of examples to an endless, resumable stream of training batches.

source -> shuffle (a new order each epoch) -> this process's share -> repeat -> rows -> batches ->
prefetch in a thread. Source, share, repeat and prefetch are Grain's operators; rows are planned by
`jaxreason.data.packing`.
"""

import functools
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import grain
import numpy as np
from grain.experimental import ThreadPrefetchDatasetIterator

from jaxreason.data.batch_config import BatchConfig
from jaxreason.data.packing import assemble
from jaxreason.errors import InputError


class Source(Protocol):
    """Random access to examples; `source[i]` depends on i alone.

    If it has an attribute `identity` (anything JSON can hold), a saved position is only accepted
    by a source of equal identity.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """`{"tokens": int32 [n], "prompt_length": int, "index": int, ...}`."""
        ...


def training_batches(
    source: Source, *, pad_id: int, prefetch: int = 2, **fields: Any
) -> "TrainingBatches":
    """A stream of batches `tokens, targets_mask, segments, positions`, numpy [rows, length].

    Iterators have `get_state` / `set_state` (plain JSON) and save themselves in an Orbax
    checkpoint; a restored iterator yields the same batches bit for bit, also from the middle of a
    row. `iterator.dropped` counts the examples left out because they did not fit.

    Args:
        source: `len(source)` examples by index.
        pad_id: token id of the padding.
        prefetch: batches made ahead in a thread; 0 makes them in the caller's.
        **fields: fields of `BatchConfig`: `batch_size` and `length`, and what differs from the
            defaults.

    Raises:
        InputError: on a bad field, on an unknown field, or if a process gets no example; while
            iterating, if an example is longer than `length` and `overflow` is "error".
    """
    unknown = sorted(set(fields) - set(BatchConfig.__dataclass_fields__))
    if unknown:
        raise InputError(
            f"unknown field {unknown[0]!r} of training_batches; expected some of "
            + ", ".join(BatchConfig.__dataclass_fields__)
        )
    config = BatchConfig(**fields)
    if len(source) < config.process_count:
        raise InputError(
            f"the data set has {len(source)} examples for {config.process_count} processes; "
            "each needs at least one"
        )
    return TrainingBatches(_PlannedBatches(source, config, pad_id), config, prefetch)


class _Prefetch(ThreadPrefetchDatasetIterator):
    def close(self) -> None:
        # Grain's `close` runs again when the object is deleted, which fails while the interpreter
        # shuts down.
        if not self._closed:
            super().close()


class TrainingBatches(grain.IterDataset):
    """What `training_batches` returns; see there."""

    def __init__(self, parent: grain.IterDataset, config: Any, prefetch: int):
        super().__init__(parent)
        self.config = config
        self._prefetch = prefetch
        # Grain (0.2.18) wraps `__next__` of the last stage's iterator class once more at every
        # iter(), to shorten tracebacks, so each new iterator would slow all down; stages with a
        # child are left alone.
        self.has_child = True

    def __iter__(self) -> "TrainingIterator":
        """A new iterator at the start of the stream."""
        planned = self._parent.__iter__()
        return TrainingIterator(_Prefetch(planned, self._prefetch) if self._prefetch else planned)


class TrainingIterator(grain.DatasetIterator):
    """Batches, and counts that belong to the batches already handed out (not to prefetched ones).

    Counts are part of the state, so they continue over a resume.
    """

    def __init__(self, parent: grain.DatasetIterator):
        super().__init__(parent)
        # A prefetch thread that is inside C++ code while the interpreter shuts down aborts the
        # process; so it is stopped before, also when nobody calls `close`.
        weakref.finalize(self, parent.close)

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch; raises StopIteration after the last epoch."""
        return next(self._parent)

    def get_state(self) -> dict[str, Any]:
        """State just after the last batch handed out."""
        return self._parent.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues after the batch at which `state` was taken.

        Raises:
            InputError: if the state comes from a pipeline with another configuration.
        """
        self._parent.set_state(state)

    @property
    def dropped(self) -> int:
        """Examples left out because they were longer than a row."""
        return self.get_state()["dropped"]

    @property
    def examples(self) -> int:
        """Examples handed out."""
        return self.get_state()["examples"]

    @property
    def fill(self) -> float:
        """Share of the positions handed out that hold a token, not padding."""
        state = self.get_state()
        return state["tokens"] / max(1, state["slots"])


class _Shuffle(grain.MapDataset):
    """A new order of the parent each epoch, all orders equally likely.

    Grain's own operator walks a 16-bit cipher until it falls inside the data set (5 ms per example
    of a set of five), and shuffles epoch e with seed + e, so that seeds share their orders.
    """

    def __init__(self, parent: grain.MapDataset, seed: int):
        super().__init__(parent)
        # A batch may hold examples of two epochs.
        self._order = functools.lru_cache(maxsize=2)(
            functools.partial(epoch_order, len(parent), seed)
        )

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        epoch, place = divmod(index, len(self))
        return self._parent[int(self._order(epoch)[place])]


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """[count] int64: the order in which an epoch visits its examples."""
    # Raw bits of a counter-based generator: numpy keeps them the same from version to version,
    # unlike `permutation`, so an old run can be resumed.
    bits = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    return np.argsort(bits.random_raw(count), kind="stable")


class _PlannedBatches(grain.IterDataset):
    """Reads the stream in order and lays it out as batches."""

    def __init__(self, source: Source, config: BatchConfig, pad_id: int):
        super().__init__()
        self._config = config
        self._pad_id = pad_id
        share = _Shuffle(grain.MapDataset.source(source), config.seed).slice(
            slice(config.process_index, None, config.process_count)
        )
        self._share_length = len(share)
        self._stream = share.repeat(config.epochs)
        # JSON turns tuples into lists; compare like with like.
        self._identity = {
            **asdict(config),
            "buckets": list(config.buckets) if config.buckets else None,
            "source_length": len(source),
            "source": getattr(source, "identity", None),
        }

    def __iter__(self) -> "_PlannedIterator":
        return _PlannedIterator(
            self._stream, self._share_length, self._config, self._pad_id, self._identity
        )


class _PlannedIterator(grain.DatasetIterator):
    def __init__(
        self,
        stream: grain.MapDataset,
        share_length: int,
        config: BatchConfig,
        pad_id: int,
        identity: dict[str, Any],
    ):
        super().__init__()
        self._stream = stream
        self._stream_length = len(stream)
        self._share_length = share_length
        self._config = config
        self._pad_id = pad_id
        self._identity = identity
        self._planner = config.planner()
        self._held: dict[int, Mapping[str, Any]] = {}
        self._counts = {"position": 0, "dropped": 0, "examples": 0, "tokens": 0, "slots": 0}
        self._dropped_in_a_row = 0
        self._peeked: Mapping[str, Any] | None = None

    def __next__(self) -> dict[str, np.ndarray]:
        plan = None
        while plan is None and (example := self._upcoming()) is not None:
            position = self._counts["position"]
            self._held[position] = example
            plan = self._planner.add(position, len(example["tokens"]))
            self._counts["position"] = position + 1
            self._peeked = None
        if plan is None:
            plan = self._planner.flush()
        if plan is None:
            raise StopIteration
        batch = assemble(plan, self._held, loss_on=self._config.loss_on, pad_id=self._pad_id)
        for position in (position for row in plan.rows for position in row):
            self._counts["examples"] += 1
            self._counts["tokens"] += len(self._held.pop(position)["tokens"])
        self._counts["slots"] += plan.row_count * plan.length
        if self._config.overflow == "drop":
            # What is dropped right after a batch counts with it, or the last would go uncounted.
            self._upcoming()
        return batch

    def _upcoming(self) -> Mapping[str, Any] | None:
        """The example at the position, moved on over dropped ones; None at the end."""
        while self._peeked is None and self._counts["position"] < self._stream_length:
            example = self._stream[self._counts["position"]]
            if self._fits(example):
                self._peeked = example
            else:
                self._counts["position"] += 1
        return self._peeked

    def _fits(self, example: Mapping[str, Any]) -> bool:
        size, length = len(example["tokens"]), self._config.length
        if size <= length:
            self._dropped_in_a_row = 0
            return True
        if self._config.overflow == "error":
            raise InputError(
                f"example {example['index']} has {size} tokens but length is {length}; raise "
                "length, or set overflow to 'drop' to leave such examples out and count them"
            )
        self._counts["dropped"] += 1
        self._dropped_in_a_row += 1
        # Two epochs' worth of consecutive examples surely contains a whole epoch.
        if self._dropped_in_a_row >= min(2 * self._share_length, self._stream_length):
            raise InputError(
                f"none of the {self._share_length} examples fits into length {length}; the last "
                f"one has {size} tokens"
            )
        return False

    def get_state(self) -> dict[str, Any]:
        return {
            **self._counts,
            "planner": self._planner.get_state(),
            "identity": dict(self._identity),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        for field, value in self._identity.items():
            saved = state["identity"].get(field)
            if saved != value:
                raise InputError(
                    f"the saved data position belongs to a pipeline with {field} {saved!r}, this "
                    f"one has {value!r}; resume with the same value or start a new run"
                )
        self._counts = {name: state[name] for name in self._counts}
        self._dropped_in_a_row = 0
        self._peeked = None
        held = (row for rows in state["planner"].values() for row in rows)
        positions = [position for row in held for position in row]
        self._held = {position: self._stream[position] for position in positions}
        self._planner = self._config.planner()
        self._planner.set_state(
            state["planner"], lambda position: len(self._held[position]["tokens"])
        )
