"""Parameters read from and written to files by a model's table of places."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.models.places import Place, by_leaf
from jaxreason.types import Params
from jaxreason.weights.folders import StoredWeights, open_weights
from jaxreason.weights.shards import assemble
from jaxreason.weights.stored_tensor import StoredTensor

Dtype = Literal["float32", "bfloat16"]


def read_placed(
    weights: StoredWeights,
    places: Mapping[str, Place],
    dtype: Dtype | None = None,
    shardings: Any = None,
) -> Params:
    """Our parameters on their devices, from weights that were checked.

    One tensor is read at a time, in blocks. Beside the parts of the parameters that the devices of
    this process hold, there is never more than a block of one tensor and what is cut out of it; on
    CPU devices the memory that is filled becomes the parameter.

    Args:
        weights: with all names of `places`.
        places: of the model's weights.
        dtype: of the parameters; as stored if None.
        shardings: tree of `jax.sharding.Sharding` shaped like the parameters; the default device
            if None.

    Raises:
        InputError: the layers of a leaf are stored in different dtypes, and `dtype` is None.
        FailureError: a file cannot be read.
    """
    params: dict[str, Any] = {}
    for keys, parts in by_leaf(places).items():
        target, sharding = params, shardings
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        for key in keys if shardings is not None else ():
            sharding = sharding[key]
        place = parts[0][1]
        shape = place.ours if place.layer is None else (len(parts), *place.ours)
        tensors = [(weights.tensors[name], place) for name, place in parts]
        target[keys[-1]] = assemble(shape, leaf_dtype(weights, parts, dtype), sharding, tensors)
    return params


def stored_dtype(path: str | Path) -> Dtype:
    """The dtype that holds all weights of a folder as they are: bfloat16, or else float32.

    float16, and tensors of several dtypes, fit into float32, which changes no value.

    Raises:
        InputError: a dtype of which that is not so, or which is no floating one; names it.
        FailureError: a file is missing or damaged.
    """
    found = sorted({str(tensor.dtype) for tensor in open_weights(path).tensors.values()})
    if odd := [name for name in found if name not in ("float16", "bfloat16", "float32")]:
        raise InputError(
            f"weights {path} have tensors of dtype {odd[0]}; expected float32, bfloat16 or float16 "
            "(or give the dtype to read them as)"
        )
    return "bfloat16" if found == ["bfloat16"] else "float32"


def leaf_dtype(
    weights: StoredWeights, parts: list[tuple[str, Place]], dtype: Dtype | None
) -> np.dtype:
    """The dtype of a leaf that is made of several weights: the one asked for, or theirs.

    Raises:
        InputError: they are stored in different dtypes, and `dtype` is None.
    """
    first, _ = parts[0]
    stored = weights.tensors[first].dtype
    for name, _ in parts if dtype is None else ():
        if weights.tensors[name].dtype != stored:
            raise InputError(
                f"weight {name!r} is {weights.tensors[name].dtype} and {first!r} {stored}; "
                "give the dtype to import them as"
            )
    return np.dtype(dtype) if dtype else stored


def written_placed(
    params: Params, places: Mapping[str, Place], dtype: Dtype | None = None
) -> dict[str, StoredTensor]:
    """Weights as `save_weights` takes them; one layer of a leaf is fetched when its turn comes.

    Those of one leaf follow each other, for parameters that are read from a checkpoint meanwhile.

    Args:
        params: on this process's devices, in memory, or anything with the shape and dtype of an
            array that gives a layer when it is indexed.
        places: of the model's weights.
        dtype: to write; the parameters' own if None.

    Raises:
        InputError: a parameter is missing, of another shape, or partly with other processes.
    """
    tensors = {}
    for keys, parts in by_leaf(places).items():
        leaf, name = _find(params, keys), "/".join(keys)
        place = parts[0][1]
        shape = place.ours if place.layer is None else (len(parts), *place.ours)
        if tuple(leaf.shape) != shape:
            raise InputError(
                f"parameter {name} has shape {tuple(leaf.shape)}; the model's configuration "
                f"needs {shape}"
            )
        own = np.dtype(dtype) if dtype else np.dtype(leaf.dtype)
        for stored, place in parts:
            read = _fetcher(leaf, place, own)
            tensors[stored] = StoredTensor(stored, place.stored, own, read)
    return tensors


def _find(params: Params, keys: tuple[str, ...]) -> Any:
    leaf: Any = params
    for key in keys:
        if not isinstance(leaf, Mapping) or key not in leaf:
            raise InputError(f"parameters lack {'/'.join(keys)}, which the layout of files needs")
        leaf = leaf[key]
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise InputError(
            f"parameter {'/'.join(keys)} lies partly with other processes; gather the "
            "parameters on one before exporting them"
        )
    return leaf


def _fetcher(leaf: Any, place: Place, dtype: np.dtype) -> Any:
    def read() -> NDArray:
        part = leaf if place.layer is None else leaf[place.layer]
        return place.to_stored(np.asarray(part).astype(dtype, copy=False))

    return read
