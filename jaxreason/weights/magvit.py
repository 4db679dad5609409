"""The MAGVIT-v2 image tokenizer in safetensors files with the names of `showlab/magvitv2`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError
from jaxreason.models.magvit import MagvitConfig
from jaxreason.models.magvit_names import from_published, to_published
from jaxreason.paths import as_path
from jaxreason.types import Params
from jaxreason.weights.folders import SHARD_BYTES, in_memory, open_weights, save_weights

_CONFIG = "jaxreason.json"  # the published folder has no fields for another shape


def magvit_config(folder: str | Path) -> MagvitConfig:
    """The shape of a tokenizer that we exported; the published one where nothing is said of it.

    Raises:
        InputError: a field that the tokenizer lacks, or that does not fit the others.
        FailureError: the file that says it cannot be read.
    """
    file = as_path(folder) / _CONFIG
    if not file.is_file():
        return MagvitConfig()
    try:
        stored = json.loads(file.read_text())["magvit"]
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailureError(f"{file} cannot be read as the shape of a tokenizer: {error}") from error
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(MagvitConfig)})
    if unknown:
        raise InputError(f"{file} has field {unknown[0]!r}, which the tokenizer lacks")
    return MagvitConfig(**fields)


def import_magvit(
    path: str | Path, config: MagvitConfig | None = None
) -> tuple[MagvitConfig, Params]:
    """A tokenizer from its files; parameters are NumPy arrays of the stored dtype.

    Args:
        path: folder of safetensors files, or a single file.
        config: of the model; what the folder says of it, or else the published one, if None.

    Raises:
        InputError: a weight is missing, unknown or of another shape, or the codebook is another.
        FailureError: a file is missing or damaged.
    """
    config = config or magvit_config(path)
    return config, from_published(config, open_weights(path))


def export_magvit(
    params: Params, folder: str | Path, config: MagvitConfig, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes a tokenizer with the published names, complete or not at all.

    Raises:
        InputError: the folder has files.
        FailureError: the disk is full or refuses.
    """
    document = json.dumps({"magvit": dataclasses.asdict(config)}, indent=2) + "\n"
    save_weights(
        folder,
        in_memory(to_published(config, params)),
        shard_bytes=shard_bytes,
        documents={_CONFIG: document},
    )
