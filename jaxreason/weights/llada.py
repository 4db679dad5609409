"""LLaDA and MMaDA checkpoints: read into our parameters and written as published."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxreason.models.config import TransformerConfig
from jaxreason.models.llada import llada_places
from jaxreason.models.places import check_places
from jaxreason.types import Params
from jaxreason.weights.folders import SHARD_BYTES, open_weights, save_weights
from jaxreason.weights.llada_settings import LladaMetadata, llada_settings
from jaxreason.weights.placed import Dtype, read_placed, written_placed


def import_llada(
    path: str | Path,
    config: TransformerConfig,
    *,
    dtype: Dtype | None = None,
    shardings: Any = None,
) -> Params:
    """Our parameters from a published checkpoint, on their devices: see `read_placed`.

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
    weights, places = open_weights(path), llada_places(config)
    check_places("LLaDA", weights.shapes, places)
    return read_placed(weights, places, dtype, shardings)


def export_llada(
    params: Params,
    folder: str | Path,
    config: TransformerConfig,
    *,
    metadata: LladaMetadata | None = None,
    shard_bytes: int = SHARD_BYTES,
    dtype: Dtype | None = None,
    settings: Mapping[str, Any] | None = None,
    documents: Mapping[str, str | bytes] | None = None,
    told: Callable[[str, float], None] | None = None,
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
        settings: fields for config.json besides the shape, see `other_settings`; the ids that
            `metadata` knows are added under the names that LLaDA's code reads.
        documents: further files, name to content.
        told: see `save_weights`.

    Raises:
        InputError: the model is not in LLaDA's layout, the parameters are not the model's or lie
            partly with other processes, the folder has files.
        FailureError: the disk is full or refuses.
    """
    metadata = metadata or LladaMetadata()
    known = {
        "mask_token_id": metadata.mask,
        "eos_token_id": metadata.eos,
        "pad_token_id": metadata.eos,
    }
    ids = {name: value for name, value in known.items() if value is not None}
    document = json.dumps({**ids, **(settings or {}), **llada_settings(config)}, indent=2) + "\n"
    save_weights(
        folder,
        written_placed(params, llada_places(config), dtype),
        shard_bytes=shard_bytes,
        metadata=metadata.texts(),
        documents={**(documents or {}), "config.json": document},
        told=told,
    )
