"""From a source of examples to an endless, resumable stream of training batches.

source -> shuffle (a new order each epoch) -> streams -> repeat -> rows -> batches -> prefetch in a
thread. Source, streams, repeat and prefetch are Grain's operators; rows are planned by
`jaxreason.data.packing`.
"""

import functools
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

import grain
import numpy as np
from grain.experimental import ThreadPrefetchDatasetIterator

from jaxreason.data.batch_config import BatchConfig
from jaxreason.data.orders import Shuffle
from jaxreason.data.shares import check_share, check_streams, share_rows
from jaxreason.data.streams import ExampleStream
from jaxreason.errors import InputError


class Source(Protocol):
    """Random access to examples; `source[i]` depends on i alone.

    If it has an attribute `identity` (anything JSON can hold), a saved position is only accepted
    by a source of equal identity.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """`{"tokens": int32 [n], "prompt_length": int, "index": int, ...}`.

        Instead of `prompt_length` it may have `targets_mask` bool [n]: the tokens to learn. A
        `part`, the name of the data set it comes from, is counted.
        """
        ...


def training_batches(
    source: Source,
    *,
    pad_id: int,
    prefetch: int = 2,
    share_index: int = 0,
    share_count: int = 1,
    **fields: Any,
) -> "TrainingBatches":
    """A stream of batches `tokens, targets_mask, segments, positions`, numpy [rows, length].

    The shares of a batch, joined in their order, are the batch that a single share with the same
    number of streams makes; `sharding.placement` says on which rows of a mesh they come to lie. All
    end at the same step.

    Iterators have `get_state` / `set_state` (plain JSON) and save themselves in an Orbax
    checkpoint; a restored iterator yields the same batches bit for bit, also from the middle of a
    row. The states of all shares, joined by `merge_states`, are good for any number of shares.
    `dropped`, `truncated`, `examples`, `parts` and `fill` of an iterator count what its own share
    was given.

    Args:
        source: `len(source)` examples by index.
        pad_id: token id of the padding.
        prefetch: batches made ahead in a thread; 0 makes them in the caller's.
        share_index: which part of the rows of every batch to make.
        share_count: number of parts; it must divide the number of streams.
        **fields: fields of `BatchConfig`: `batch_size` and `length`, and what differs from the
            defaults; `streams` 0 stands for `share_count`.

    Raises:
        InputError: on a bad field, on an unknown field, or if a stream gets no example; while
            iterating, if an example is longer than `length` and `overflow` is "error".
    """
    unknown = sorted(set(fields) - set(BatchConfig.__dataclass_fields__))
    if unknown:
        raise InputError(
            f"unknown field {unknown[0]!r} of training_batches; expected some of "
            + ", ".join(BatchConfig.__dataclass_fields__)
        )
    check_share(share_index, share_count)
    config = BatchConfig(**fields)
    config = replace(config, streams=config.streams or share_count)
    if len(source) < config.streams:
        raise InputError(
            f"the data set has {len(source)} examples for {config.streams} streams; each needs at "
            "least one"
        )
    planned = _PlannedBatches(source, config, pad_id, share_index, share_count)
    return TrainingBatches(planned, config, prefetch)


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
        return self._total("dropped")

    @property
    def truncated(self) -> int:
        """Examples handed out of which something was cut off."""
        return self._total("truncated")

    @property
    def parts(self) -> dict[str, int]:
        """Examples handed out of each data set of a mixture, by its name."""
        counts: dict[str, int] = {}
        for stream in self._streams():
            for name, count in stream.get("parts", {}).items():
                counts[name] = counts.get(name, 0) + count
        return counts

    @property
    def examples(self) -> int:
        """Examples handed out."""
        return self._total("examples")

    @property
    def fill(self) -> float:
        """Share of the positions handed out that hold a token, not padding."""
        return self._total("tokens") / max(1, self._total("slots"))

    def _total(self, name: str) -> int:
        return sum(stream.get(name, 0) for stream in self._streams())

    def _streams(self) -> list[dict[str, Any]]:
        state = self.get_state()
        return list(state["streams"].values()) if "streams" in state else [state]


class _PlannedBatches(grain.IterDataset):
    """Runs the streams of a share and joins their rows to batches."""

    def __init__(
        self, source: Source, config: BatchConfig, pad_id: int, share_index: int, share_count: int
    ):
        super().__init__()
        self._config = config
        self._pad_id = pad_id
        self._order = Shuffle(grain.MapDataset.source(source), config.seed)
        check_streams(config.streams, share_count)
        self._own = share_rows("batch.streams", config.streams, share_index, share_count)
        self._last_batch = functools.cache(self._count_others)
        # JSON turns tuples into lists; compare like with like.
        self.identity = {
            **asdict(config),
            "buckets": list(config.buckets) if config.buckets else None,
            "source_length": len(source),
            "source": getattr(source, "identity", None),
        }

    def __iter__(self) -> "_PlannedIterator":
        own = {str(number): self._stream(number) for number in self._own}
        return _PlannedIterator(own, self._last_batch, self.identity)

    def _stream(self, number: int) -> ExampleStream:
        part = self._order.slice(slice(number, None, self._config.streams))
        return ExampleStream(
            part.repeat(self._config.epochs), len(part), self._config, self._pad_id
        )

    def _count_others(self) -> int:
        """Batches after which the streams of all other shares have ended.

        How many rows examples fill is known only once their lengths are, so all are read. It is
        asked for at the end of finite data alone.
        """
        others = set(range(self._config.streams)) - set(self._own)
        return max((self._stream(number).count_batches() for number in others), default=0)


class _PlannedIterator(grain.DatasetIterator):
    def __init__(
        self,
        streams: dict[str, ExampleStream],
        last_batch: Callable[[], int],
        identity: dict[str, Any],
    ):
        super().__init__()
        self._streams = streams
        self._last_batch = last_batch
        self._identity = identity

    def __next__(self) -> dict[str, np.ndarray]:
        plans = [stream.plan() for stream in self._streams.values()]
        if all(plan is None for plan in plans):
            # Every share ends with the longest stream: a step needs them all.
            given = next(iter(self._streams.values())).batches
            if given >= self._last_batch():
                raise StopIteration
        parts = [
            stream.lay_out(plan) for stream, plan in zip(self._streams.values(), plans, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def get_state(self) -> dict[str, Any]:
        streams = {name: stream.get_state() for name, stream in self._streams.items()}
        return {"identity": dict(self._identity), "streams": streams}

    def set_state(self, state: dict[str, Any]) -> None:
        state = _of_streams(state)
        for field, value in self._identity.items():
            saved = state["identity"].get(field)
            if saved != value:
                raise InputError(
                    f"the saved data position belongs to a pipeline with {field} {saved!r}, this "
                    f"one has {value!r}; resume with the same value or start a new run"
                )
        for name, stream in self._streams.items():
            if name not in state["streams"]:
                raise InputError(
                    f"the saved data position has streams {', '.join(state['streams'])}, but not "
                    f"{name}; states of all shares must be merged before one is restored"
                )
            stream.set_state(state["streams"][name])


def _of_streams(state: dict[str, Any]) -> dict[str, Any]:
    """A state; one that was saved before there were streams has the fields of its only one."""
    if "streams" in state:
        return state
    return {"identity": {**state["identity"], "streams": 1}, "streams": {"0": state}}
