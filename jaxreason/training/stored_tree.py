"""The parameters of a checkpoint as a tree whose leaves are read layer by layer."""

from collections import deque
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from jaxreason.errors import FailureError
from jaxreason.training.stored_params import StoredLeaf, checked_leaves
from jaxreason.training.streamed_checkpoint import block_number


class _Kept:
    """The layers read last, of one leaf: those that are stored, and so read, together."""

    def __init__(self) -> None:
        self._last: deque[tuple[Any, int, NDArray]] = deque(maxlen=1)

    def layer(self, leaf: StoredLeaf, layer: int) -> NDArray:
        """One layer, read with those beside it or found among the last."""
        size = leaf.chunk[0] if leaf.chunk else 1
        first = layer - layer % size
        if not self._last or self._last[0][:2] != (leaf.name, first):
            self._last.clear()  # before the next is read: two at once would double the peak
            rows = leaf.read_rows(first, min(first + size, leaf.shape[0]))
            self._last.append((leaf.name, first, rows))
        return self._last[0][2][layer - first]


class ReadLeaf:
    """A leaf of a checkpoint that stands for an array, as `written_placed` takes it.

    When each of its layers has been read once, they must be what was saved.

    Args:
        checkpoint: it is of, for messages.
        leaf: of `checked_leaves`.
        kept: shared by the leaves of a checkpoint.
    """

    def __init__(self, checkpoint: Path, leaf: StoredLeaf, kept: _Kept) -> None:
        self._checkpoint, self._leaf, self._kept = checkpoint, leaf, kept
        self._numbers: dict[int, int] = {}
        self.shape, self.dtype = leaf.shape, leaf.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray:
        """The whole, read now."""
        del copy  # always a new one
        return self._leaf.read().astype(dtype or self.dtype, copy=False)

    def __getitem__(self, layer: int) -> NDArray:
        """One layer, read now.

        Raises:
            FailureError: it cannot be read, or the layers are not what was saved.
        """
        array = self._kept.layer(self._leaf, layer)
        start = (layer, *(0 for _ in array.shape))
        self._numbers[layer] = block_number(array[None], start, self.shape)
        if len(self._numbers) == self.shape[0]:
            number = sum(self._numbers.values()) % 2**32
            if self._leaf.number not in (None, number):
                raise FailureError(
                    f"tensor {self._leaf.name} of checkpoint {self._checkpoint} does not hold the "
                    "values that were saved: choose another checkpoint"
                )
        return array


def stored_tree(checkpoint: str | Path) -> dict[str, Any]:
    """The parameters in `RUN/checkpoints/STEP`, none of them read yet.

    Args:
        checkpoint: the folder of one step.

    Raises:
        FailureError: metadata or headers cannot be read, or are not those that were saved.
    """
    tree: dict[str, Any] = {}
    kept = _Kept()
    for leaf in checked_leaves(checkpoint):
        node, keys = tree, leaf.name.split("/")
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = ReadLeaf(Path(checkpoint), leaf, kept)
    return tree
