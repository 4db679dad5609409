"""How examples become batches: the checked settings, and the batch shapes they give."""

import itertools
from dataclasses import dataclass

from jaxreason.data.packing import BucketPlanner, PackingPlanner, Planner
from jaxreason.errors import InputError

PACKINGS = ("packed", "buckets", "padded")
LOSS_ON = ("completion", "all")
OVERFLOWS = ("error", "drop", "truncate_left", "truncate_right")


@dataclass(frozen=True)
class BatchConfig:
    """How examples become batches; checked, and kept in the iterator's state.

    Attributes:
        batch_size: rows per batch, of all processes together (for "buckets": of the longest
            bucket).
        length: tokens per row; no example may be longer.
        packing: "packed" lays whole examples end to end, "buckets" has one example per row and one
            shape per length bucket, "padded" has one example per row and one shape.
        buckets: increasing row lengths, the last equal to `length`; None gives the quarters.
        row_multiple: the number of rows of every bucket is a multiple of this (the size of the
            mesh axes that share the batch).
        loss_on: "completion" or "all" (prompt included).
        seed: of the shuffle.
        epochs: None repeats for ever; else the stream ends, its last batches filled up with empty
            rows, every example having appeared exactly `epochs` times.
        streams: packers that work side by side: stream s takes examples s, s + streams, ... of
            each epoch's order and fills its part of the rows of every batch. It decides which
            example goes where, so a run keeps it, and can then go on with any number of processes
            that divides it. 0 takes as many as the batch has shares when the run begins (one for
            each process whose devices hold rows of their own).
        overflow: what to do about an example longer than `length`: "error"; "drop"; or cut off its
            beginning ("truncate_left") or its end ("truncate_right"), and drop it if that leaves no
            target. What is dropped and cut is counted.
        window: examples that wait to be packed in each stream; more fill better and start later.
    """

    batch_size: int
    length: int
    packing: str = "packed"
    buckets: tuple[int, ...] | None = None
    row_multiple: int = 1
    loss_on: str = "completion"
    seed: int = 0
    epochs: int | None = None
    streams: int = 0
    overflow: str = "error"
    window: int = 128

    def __post_init__(self) -> None:
        for field, choices in (
            ("packing", PACKINGS),
            ("loss_on", LOSS_ON),
            ("overflow", OVERFLOWS),
        ):
            value = getattr(self, field)
            if value not in choices:
                raise InputError(f"{field} is {value!r}; expected one of {', '.join(choices)}")
        for field in ("batch_size", "length", "row_multiple", "window"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs is {self.epochs}; it must be at least 1, or None for ever")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be at least 0")
        if self.streams < 0:
            raise InputError(f"streams is {self.streams}; it must be at least 0")
        if self.streams and self.batch_size % self.streams:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of streams "
                f"({self.streams})"
            )
        if self.packing == "buckets":
            self._check_buckets()
        elif self.buckets is not None:
            raise InputError(f"buckets is given but packing is {self.packing!r}, not 'buckets'")

    def _check_buckets(self) -> None:
        if self.streams > 1:
            raise InputError(
                f"packing 'buckets' with {self.streams} streams: the shape of a batch would differ "
                "from stream to stream; use packing 'packed' or 'padded'"
            )
        if self.batch_size % self.row_multiple:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of row_multiple "
                f"({self.row_multiple})"
            )
        lengths = self.bucket_lengths
        increasing = all(a < b for a, b in itertools.pairwise(lengths))
        if not lengths or lengths[0] < 1 or not increasing or lengths[-1] != self.length:
            raise InputError(
                f"buckets is {lengths}; expected increasing lengths of which the last is the row "
                f"length {self.length}"
            )

    @property
    def bucket_lengths(self) -> tuple[int, ...]:
        """Row length of each bucket."""
        if self.buckets is not None:
            return tuple(self.buckets)
        quarters = {-(-self.length * quarter // 4) for quarter in (1, 2, 3, 4)}
        return tuple(sorted(quarters))

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """All (rows, length) a batch can have; buckets hold about as many tokens as the longest."""
        if self.packing != "buckets":
            return ((self.batch_size, self.length),)
        tokens = self.batch_size * self.length
        multiple = self.row_multiple
        return tuple(
            (tokens // length // multiple * multiple, length) for length in self.bucket_lengths
        )

    @property
    def rows_per_stream(self) -> int:
        """Rows of a batch that one stream fills."""
        return self.batch_size // max(1, self.streams)

    def planner(self) -> Planner:
        """A fresh planner of one stream."""
        if self.packing == "packed":
            return PackingPlanner(self.rows_per_stream, self.length, self.window)
        if self.packing == "padded":
            return BucketPlanner([self.length], [self.rows_per_stream])
        row_counts, lengths = zip(*self.shapes, strict=True)
        return BucketPlanner(lengths, row_counts)
