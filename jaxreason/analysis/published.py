"""Published folders under the names of our parameters, so that runs can be compared with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxreason.analysis.tensors import Checkpoint, StoredTensor
from jaxreason.weights.folders import open_weights


def in_our_names(checkpoint: Checkpoint, split_layers: bool = True) -> Checkpoint:
    """The tensors of a published folder as our parameters: `layers/3/query [D, H, K]` and so on.

    Values and dtypes are those of the files. A head that a tied model has besides is left out.

    Args:
        checkpoint: of a folder with config.json of a family that we have.
        split_layers: each layer is a tensor; else all layers of a leaf are one, as runs have them.

    Raises:
        InputError: a family or a field that our model does not have, weights that do not fit.
        FailureError: a file is missing or damaged.
    """
    from jaxreason.training.pretrained import places_of, pretrained_model

    weights = open_weights(checkpoint.path)
    places = places_of(pretrained_model(checkpoint.path), weights)
    leaves: dict[str, list[Any]] = {}
    for name, place in places.items():
        first, *rest = place.path
        layered = split_layers and place.layer is not None
        keys = (first, str(place.layer), *rest) if layered else place.path
        leaves.setdefault("/".join(keys), []).append((weights.tensors[name], place))
    tensors = {name: _tensor(name, parts, not split_layers) for name, parts in leaves.items()}
    left_out = (*checkpoint.left_out, *sorted(weights.shapes.keys() - places.keys()))
    return replace(checkpoint, tensors=tensors, left_out=left_out)


def _tensor(name: str, parts: Sequence[Any], stacked: bool) -> StoredTensor:
    tensor, place = parts[0]
    if not stacked or place.layer is None:
        return StoredTensor(name, place.ours, tensor.dtype, _reader(tensor, place))

    def read() -> np.ndarray:
        return np.stack([one.to_ours(stored.read()) for stored, one in parts])

    dtype = np.result_type(*{stored.dtype for stored, _ in parts})
    return StoredTensor(name, (len(parts), *place.ours), dtype, read)


def _reader(tensor: StoredTensor, place: Any) -> Callable[[], np.ndarray]:
    return lambda: place.to_ours(tensor.read())


def alike_named(checkpoints: Sequence[Checkpoint], split_layers: bool) -> list[Checkpoint]:
    """The same checkpoints, published folders renamed where others have the names of a run.

    Folders that are compared with each other keep their own names, whatever model they are of.
    """
    if all(checkpoint.kind == "safetensors" for checkpoint in checkpoints):
        return list(checkpoints)
    return [
        in_our_names(checkpoint, split_layers) if checkpoint.published else checkpoint
        for checkpoint in checkpoints
    ]
