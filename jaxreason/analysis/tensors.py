"""The shapes that the readers of checkpoints and their users meet at."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxreason.weights.stored_tensor import StoredTensor

__all__ = ["Checkpoint", "StoredTensor"]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint by name; none is read before it is asked for.

    Attributes:
        path: what was opened.
        kind: "run", "orbax" or "safetensors".
        step: of a run's checkpoint, or None.
        tensors: name to tensor.
        left_out: names in the files that are not among `tensors` (optimizer states, numbers that
            are no arrays, tensors an index does not list).
        published: a folder as models are published, whose config.json says which family it is of.
    """

    path: Path
    kind: str
    step: int | None
    tensors: dict[str, StoredTensor] = field(repr=False)
    left_out: tuple[str, ...] = ()
    published: bool = False

    def names(self) -> list[str]:
        """Names of all tensors as stored."""
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.tensors[name].shape

    def dtype(self, name: str) -> np.dtype:
        """dtype of a tensor."""
        return self.tensors[name].dtype

    def read(self, name: str) -> np.ndarray:
        """One tensor, read now.

        Raises:
            FailureError: it cannot be read, or is not what was saved.
        """
        return self.tensors[name].read()

    @property
    def parameters(self) -> int:
        """Number of elements in all."""
        return sum(tensor.size for tensor in self.tensors.values())
