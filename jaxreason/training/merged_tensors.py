"""Tensors of a checkpoint with LoRA as those of the merged model, one kernel at a time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxreason.errors import FailureError
from jaxreason.models.lora import A, B, is_lora
from jaxreason.training.runs import lora_of, read_config
from jaxreason.weights.stored_tensor import StoredTensor


def merged_tensors(tensors: Mapping[str, StoredTensor], run: Path) -> dict[str, StoredTensor]:
    """The tensors with A and B added to their kernels; those of a run without LoRA as they are.

    Sums are made in float32 and rounded to the kernel's dtype, as `models.lora.merge_lora` does.

    Args:
        tensors: of a run's checkpoint, by name.
        run: the run directory, whose config.json has the scale.

    Raises:
        FailureError: config.json says nothing of LoRA, or a kernel lacks one of its matrices.
    """
    if not any(is_lora(name) for name in tensors):
        return dict(tensors)
    lora = lora_of(read_config(run))
    if lora is None:
        raise FailureError(f"{run} has LoRA matrices in a checkpoint, but none in its config.json")
    found = {name: one for name, one in tensors.items() if not is_lora(name)}
    for name in tensors:
        if not is_lora(name):
            continue
        kernel = name.removesuffix(A).removesuffix(B)
        if not {kernel, kernel + A, kernel + B} <= tensors.keys():
            raise FailureError(f"{run} has {name} in a checkpoint without all that belongs to it")
        parts = tensors[kernel], tensors[kernel + A], tensors[kernel + B]
        found[kernel] = _merged(*parts, lora.scale)
    return found


def _merged(kernel: StoredTensor, a: StoredTensor, b: StoredTensor, scale: float) -> StoredTensor:
    def added(kernel: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        out = np.empty_like(kernel)
        for layer, w in enumerate(kernel):
            product = np.tensordot(a[layer].astype(np.float32), b[layer].astype(np.float32), 1)
            out[layer] = (w.astype(np.float32) + np.float32(scale) * product).astype(w.dtype)
        return out

    def read() -> np.ndarray:
        return added(kernel.read(), a.read(), b.read())

    def rows(first: int, last: int) -> np.ndarray:
        return added(*(part.rows(first, last) for part in (kernel, a, b)))

    return StoredTensor(kernel.name, kernel.shape, kernel.dtype, read, rows)
