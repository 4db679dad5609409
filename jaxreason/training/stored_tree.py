"""The parameters of a checkpoint as a tree whose leaves are read layer by layer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import FailureError
from jaxreason.paths import as_path
from jaxreason.training.merged_tensors import merged_tensors
from jaxreason.training.stored_params import StoredLeaf, checked_leaves
from jaxreason.training.streamed_checkpoint import block_number
from jaxreason.weights.stored_tensor import StoredTensor


class ReadLeaf:
    """A leaf of a checkpoint that stands for an array, as `written_placed` takes it.

    Attributes:
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, tensor: StoredTensor) -> None:
        self._tensor = tensor
        self.shape, self.dtype = tensor.shape, tensor.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray:
        """The whole, read now."""
        del copy  # always a new one
        return self._tensor.read().astype(dtype or self.dtype, copy=False)

    def __getitem__(self, layer: int) -> NDArray:
        """One layer, read now.

        Raises:
            FailureError: it cannot be read, or the layers are not what was saved.
        """
        return self._tensor.rows(layer, layer + 1)[0]


class _Layers:
    """The layers of a leaf, read one after the other, and checked when all have been read.

    Those that are stored together are read together and kept until the last of them is asked for.
    """

    def __init__(self, checkpoint: Path, leaf: StoredLeaf) -> None:
        self._checkpoint, self._leaf = checkpoint, leaf
        self._numbers: dict[int, int] = {}
        self._first, self._kept = 0, np.empty((0,))

    def rows(self, first: int, last: int) -> NDArray:
        return np.concatenate([self._layer(layer)[None] for layer in range(first, last)])

    def _layer(self, layer: int) -> NDArray:
        size = self._leaf.chunk[0] if self._leaf.chunk else 1
        first = layer - layer % size
        last = min(first + size, self._leaf.shape[0])
        if not len(self._kept) or self._first != first:
            self._kept = np.empty((0,))  # before the next is read: two would double the peak
            self._first, self._kept = first, self._leaf.read_rows(first, last)
        array = self._kept[layer - first]
        if layer == last - 1:
            self._kept = np.empty((0,))
        self._check(layer, array)
        return array

    def _check(self, layer: int, array: NDArray) -> None:
        start = (layer, *(0 for _ in array.shape))
        self._numbers[layer] = block_number(array[None], start, self._leaf.shape)
        if len(self._numbers) < self._leaf.shape[0] or self._leaf.number is None:
            return
        if sum(self._numbers.values()) % 2**32 != self._leaf.number:
            raise FailureError(
                f"tensor {self._leaf.name} of checkpoint {self._checkpoint} does not hold the "
                "values that were saved: choose another checkpoint"
            )


def _widened(tensor: StoredTensor) -> StoredTensor:
    """The tensor in float32."""

    def rows(first: int, last: int) -> NDArray:
        return tensor.rows(first, last).astype(np.float32, copy=False)

    def read() -> NDArray:
        return tensor.read().astype(np.float32, copy=False)

    return replace(tensor, dtype=np.dtype(np.float32), read=read, read_rows=rows)


def stored_tree(
    run_directory: str | Path, checkpoint: str | Path, widen: bool = False
) -> dict[str, Any]:
    """The parameters in a checkpoint, none of them read yet, LoRA merged.

    Args:
        run_directory: whose config.json says how LoRA is merged.
        checkpoint: the folder of one step.
        widen: give all in float32; LoRA is then merged without rounding to the kernels' dtype.

    Raises:
        FailureError: metadata or headers cannot be read, or are not those that were saved.
    """
    place = as_path(checkpoint)
    tensors = {
        leaf.name: StoredTensor(
            leaf.name, leaf.shape, leaf.dtype, leaf.read, _Layers(place, leaf).rows
        )
        for leaf in checked_leaves(checkpoint)
    }
    if widen:
        tensors = {name: _widened(tensor) for name, tensor in tensors.items()}
    tree: dict[str, Any] = {}
    for name, tensor in merged_tensors(tensors, as_path(run_directory)).items():
        node, keys = tree, name.split("/")
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = ReadLeaf(tensor)
    return tree
