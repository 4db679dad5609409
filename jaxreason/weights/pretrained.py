"""Folders of published language models (Qwen2, Qwen3, Llama, Mistral): read and written."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.llama import EMBEDDING, HEAD, llama_places, unread_names
from jaxreason.models.places import Place, check_places
from jaxreason.paths import as_path
from jaxreason.types import Params
from jaxreason.weights.config_fields import read_document
from jaxreason.weights.families import document_of, model_of
from jaxreason.weights.folders import SHARD_BYTES, StoredWeights, open_weights, save_weights
from jaxreason.weights.placed import Dtype, read_placed, written_placed

TIED_BLOCK = 1 << 24
"""Bytes of the embedding that are compared with the head at once."""


@dataclass(frozen=True)
class PretrainedShape:
    """What config.json of a published model says.

    Attributes:
        model: shape and numerics.
        family: `qwen2`, `qwen3`, `llama` or `mistral`.
        settings: config.json as it was; an export says again what of it is not about the shape.
    """

    model: TransformerConfig
    family: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def pretrained_config(folder: str | Path, dtype: Dtype | None = None) -> PretrainedShape:
    """The shape of a published model.

    Args:
        folder: with config.json.
        dtype: to compute in; as config.json says if None (float32 where it says float16).

    Raises:
        InputError: a family or a field that our model does not have; names it.
        FailureError: there is no config.json, or it is damaged.
    """
    file = as_path(folder) / "config.json"
    document = read_document(file)
    return PretrainedShape(model_of(document, str(file), dtype), document["model_type"], document)


def import_pretrained(
    folder: str | Path, *, dtype: Dtype | None = None, shardings: Any = None
) -> tuple[PretrainedShape, Params]:
    """A published model: its shape, and its parameters placed on devices.

    Args:
        folder: config.json and safetensors files.
        dtype: of the parameters, and to compute in; parameters as stored if None.
        shardings: tree of `jax.sharding.Sharding` shaped like the parameters (for example
            `match_rules(TRANSFORMER_RULES, jax.eval_shape(...), mesh)`); the default device if
            None. With several processes each reads the files.

    Raises:
        InputError: a family or a field that our model does not have; a weight is missing, unknown
            or of another shape; nothing has been read then.
        FailureError: a file is missing or damaged.
    """
    shape = pretrained_config(folder, dtype)
    weights = open_weights(folder)
    return shape, read_placed(weights, checked_places(weights, shape), dtype, shardings)


def checked_places(weights: StoredWeights, shape: PretrainedShape) -> dict[str, Place]:
    """Where each weight of a published model belongs, after a check that all are there.

    Raises:
        InputError: a weight is missing, unknown or of another shape; a tied model has a head that
            is not its embedding.
        FailureError: a file cannot be read.
    """
    places = llama_places(shape.model)
    check_places(shape.family, weights.shapes, places, unread_names(shape.model))
    if shape.model.tied and HEAD in weights:
        _check_tied(weights)
    return places


def _check_tied(weights: StoredWeights) -> None:
    """That the head of a tied model, if there is one, is the embedding; a block at a time."""
    embedding, head = weights.tensors[EMBEDDING], weights.tensors[HEAD]
    rows, width = embedding.shape
    step = max(1, TIED_BLOCK // max(1, width * embedding.dtype.itemsize))
    starts = range(0, rows, step)
    if head.shape != embedding.shape or not all(
        _same(embedding.rows(first, last), head.rows(first, last))
        for first, last in ((first, min(first + step, rows)) for first in starts)
    ):
        raise InputError(
            f"{weights.path}: {HEAD} differs from {EMBEDDING}, and config.json says "
            "tie_word_embeddings; say false there to have both"
        )


def _same(a: NDArray, b: NDArray) -> bool:
    if a.dtype == b.dtype:
        return a.tobytes() == b.tobytes()
    return np.array_equal(a.astype(np.float64), b.astype(np.float64))


def export_pretrained(
    params: Params,
    folder: str | Path,
    shape: PretrainedShape,
    *,
    dtype: Dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    documents: Mapping[str, str | bytes] | None = None,
    told: Callable[[str, float], None] | None = None,
) -> None:
    """Writes a folder that transformers loads, complete or not at all.

    One layer of one leaf is fetched at a time, from all devices that hold it.

    Args:
        params: of the model, on this process's devices or in memory.
        folder: a new one; gets safetensors files, their index and config.json.
        shape: of the model.
        dtype: to write; the parameters' own if None.
        shard_bytes: how large a file may grow.
        documents: further files, name to content, such as those of a tokenizer.
        told: see `save_weights`.

    Raises:
        InputError: the family has no such model, the parameters are not the model's or lie partly
            with other processes, the folder has files.
        FailureError: the disk is full or refuses.
    """
    stored = written_placed(params, llama_places(shape.model), dtype)
    own = str(np.dtype(stored[EMBEDDING].dtype))
    document = document_of(shape.model, shape.family, shape.settings, own)
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    save_weights(
        folder,
        stored,
        shard_bytes=shard_bytes,
        documents={**(documents or {}), "config.json": text},
        told=told,
    )
