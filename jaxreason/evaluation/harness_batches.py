"""Sequences of any length in batches of few shapes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

SHORTEST = 32


class Rows(NamedTuple):
    """Sequences of one batch.

    Attributes:
        tokens: int32 [batch, length], right-padded.
        lengths: int32 [batch].
        places: which sequences the first rows are; rows beyond repeat the last one.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    places: list[int]


def bucket(length: int) -> int:
    """The least of 32, 48, 64, 96, 128, 192, ... that is not below: a third of a longer row at
    most is padding, and there are two programs for each doubling.
    """
    size = SHORTEST
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def batches(
    sequences: Sequence[Sequence[int]], batch_size: int, longest: int | None = None
) -> Iterator[Rows]:
    """All sequences, the longest first: what does not fit the memory fails at once.

    Args:
        sequences: ids, each at least one.
        batch_size: rows of every batch.
        longest: no row is longer than this.
    """
    order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), tuple(sequences[i])))
    for first in range(0, len(order), batch_size):
        places = order[first : first + batch_size]
        length = bucket(len(sequences[places[0]]))
        length = length if longest is None else max(min(length, longest), len(sequences[places[0]]))
        tokens = np.zeros((batch_size, length), np.int32)
        lengths = np.zeros(batch_size, np.int32)
        for row in range(batch_size):
            ids = sequences[places[min(row, len(places) - 1)]]
            tokens[row, : len(ids)], lengths[row] = ids, len(ids)
        yield Rows(tokens, lengths, places)
