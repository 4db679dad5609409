"""LLaDA and MMaDA checkpoints: read into our parameters and written as published."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.llada import Place, check_llada_names, llada_places
from jaxreason.types import Params
from jaxreason.weights.folders import SHARD_BYTES, StoredWeights, open_weights, save_weights
from jaxreason.weights.llada_settings import LladaMetadata, llada_settings
from jaxreason.weights.stored_tensor import StoredTensor

Dtype = Literal["float32", "bfloat16"]


def import_llada(
    path: str | Path,
    config: TransformerConfig,
    *,
    dtype: Dtype | None = None,
    shardings: Any = None,
) -> Params:
    """Our parameters from a published checkpoint, placed on devices leaf by leaf.

    One tensor is read at a time. Beside what is already placed, the host holds the layers of one
    leaf (3.2 GB of the 8B model in bfloat16) and one tensor; on a CPU device the leaf itself is
    the parameter.

    Args:
        path: folder of safetensors shards with their index, or a single file.
        config: of the model; every weight must be there with its shape.
        dtype: of the parameters; as stored if None.
        shardings: tree of `jax.sharding.Sharding` shaped like the parameters (for example
            `match_rules(TRANSFORMER_RULES, jax.eval_shape(...), mesh)`); the default device if
            None. With several processes each reads the files.

    Raises:
        InputError: a weight is missing, unknown or of another shape; nothing has been read then.
        FailureError: a file is missing or damaged.
    """
    weights = open_weights(path)
    places = check_llada_names(weights.shapes, config)
    leaves: dict[tuple[str, ...], list[tuple[str, Place]]] = {}
    for name, place in places.items():
        leaves.setdefault(place.path, []).append((name, place))
    params: dict[str, Any] = {}
    for keys, parts in leaves.items():
        target, sharding = params, shardings
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        for key in keys if shardings is not None else ():
            sharding = sharding[key]
        target[keys[-1]] = _place(_leaf(weights, parts, dtype), sharding)
    return params


def _leaf(weights: StoredWeights, parts: list[tuple[str, Place]], dtype: Dtype | None) -> NDArray:
    first, place = parts[0]
    stored = weights.tensors[first].dtype
    shape = place.ours if place.layer is None else (len(parts), *place.ours)
    leaf = _aligned(shape, np.dtype(dtype) if dtype else stored)
    for name, place in parts:
        if dtype is None and weights.tensors[name].dtype != stored:
            raise InputError(
                f"LLaDA weight {name!r} is {weights.tensors[name].dtype} and {first!r} {stored}; "
                "give the dtype to import them as"
            )
        into = leaf if place.layer is None else leaf[place.layer]
        into[...] = place.to_ours(weights[name])
    return leaf


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """An array that a CPU device can take over as it is: its memory starts at 64 bytes."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def _place(leaf: NDArray, sharding: jax.sharding.Sharding | None) -> jax.Array:
    if sharding is None:
        return jax.device_put(leaf, may_alias=True)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])


def export_llada(
    params: Params,
    folder: str | Path,
    config: TransformerConfig,
    *,
    metadata: LladaMetadata | None = None,
    shard_bytes: int = SHARD_BYTES,
    dtype: Dtype | None = None,
) -> None:
    """Writes a checkpoint with the published names, complete or not at all.

    One layer of one leaf is fetched at a time, from all devices that hold it.

    Args:
        params: of the model, on this process's devices or in memory.
        folder: a new one; gets safetensors files, their index and config.json.
        config: of the model.
        metadata: kept in the headers of the files.
        shard_bytes: how large a file may grow.
        dtype: to write; the parameters' own if None.

    Raises:
        InputError: the model is not in LLaDA's layout, the parameters are not the model's or lie
            partly with other processes, the folder has files.
        FailureError: the disk is full or refuses.
    """
    document = json.dumps(llada_settings(config), indent=2) + "\n"
    tensors = {}
    for name, place in llada_places(config).items():
        leaf = _find(params, place)
        shape = leaf.shape if place.layer is None else leaf.shape[1:]
        if shape != place.ours or (place.layer is not None and len(leaf) != config.layers):
            raise InputError(
                f"parameter {'/'.join(place.path)} has shape {leaf.shape}; the model's "
                f"configuration needs {place.ours} for each of {config.layers} layers"
            )
        own = np.dtype(dtype) if dtype else np.dtype(leaf.dtype)
        tensors[name] = StoredTensor(name, place.stored, own, _fetcher(leaf, place, own))
    texts = (metadata or LladaMetadata()).texts()
    save_weights(
        folder,
        tensors,
        shard_bytes=shard_bytes,
        metadata=texts,
        documents={"config.json": document},
    )


def _find(params: Params, place: Place) -> Any:
    leaf: Any = params
    for key in place.path:
        if not isinstance(leaf, Mapping) or key not in leaf:
            raise InputError(f"parameters lack {'/'.join(place.path)}, which LLaDA's layout needs")
        leaf = leaf[key]
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise InputError(
            f"parameter {'/'.join(place.path)} lies partly with other processes; gather the "
            "parameters on one before exporting them"
        )
    return leaf


def _fetcher(leaf: Any, place: Place, dtype: np.dtype) -> Any:
    def read() -> NDArray:
        part = leaf if place.layer is None else leaf[place.layer]
        return place.to_stored(np.asarray(part).astype(dtype, copy=False))

    return read
