"""In which order the examples of a source are visited, epoch after epoch."""

import functools
from typing import Any

import grain
import numpy as np


class Shuffle(grain.MapDataset):
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
