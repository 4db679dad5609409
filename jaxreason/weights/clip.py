"""CLIP checkpoints as transformers publishes them: safetensors and config.json."""

import json
from pathlib import Path

from jaxreason.errors import FailureError, InputError
from jaxreason.models.clip_config import ClipConfig, clip_settings, config_from_settings
from jaxreason.models.clip_names import BUFFERS, clip_places
from jaxreason.models.places import check_places
from jaxreason.paths import as_path
from jaxreason.types import Params
from jaxreason.weights.folders import SHARD_BYTES, open_weights, save_weights
from jaxreason.weights.placed import Dtype, read_placed, written_placed


def clip_config(folder: str | Path) -> ClipConfig:
    """The shape of a checkpoint, from its config.json.

    Raises:
        InputError: another model, or one that ours cannot be.
        FailureError: there is no config.json, or it cannot be read.
    """
    file = as_path(folder) / "config.json"
    try:
        return config_from_settings(json.loads(file.read_text()))
    except InputError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FailureError(f"{file} cannot be read as the shape of a CLIP: {error}") from error


def import_clip(
    path: str | Path, config: ClipConfig | None = None, *, dtype: Dtype | None = None
) -> tuple[ClipConfig, Params]:
    """A CLIP model from its files.

    Args:
        path: folder of safetensors files with config.json, or a single file.
        config: of the model; that of config.json if None.
        dtype: of the parameters; as stored if None.

    Raises:
        InputError: a weight is missing, unknown or of another shape.
        FailureError: a file is missing or damaged.
    """
    config = config or clip_config(path)
    weights, places = open_weights(path), clip_places(config)
    check_places("CLIP", weights.shapes, places, ignored=BUFFERS)
    return config, read_placed(weights, places, dtype)


def export_clip(
    params: Params,
    folder: str | Path,
    config: ClipConfig,
    *,
    shard_bytes: int = SHARD_BYTES,
    dtype: Dtype | None = None,
) -> None:
    """Writes a checkpoint that transformers' `CLIPModel` loads, complete or not at all.

    Raises:
        InputError: the parameters are not the model's, or the folder has files.
        FailureError: the disk is full or refuses.
    """
    settings = {"model_type": "clip", "architectures": ["CLIPModel"], **clip_settings(config)}
    save_weights(
        folder,
        written_placed(params, clip_places(config), dtype),
        shard_bytes=shard_bytes,
        documents={"config.json": json.dumps(settings, indent=2) + "\n"},
    )
