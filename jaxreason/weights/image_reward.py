"""ImageReward checkpoints in safetensors, with the names of the published `ImageReward.pt`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError
from jaxreason.models.blip_config import ImageRewardConfig, config_from_json, config_from_med
from jaxreason.models.blip_names import UNUSED, image_reward_places
from jaxreason.models.places import check_places
from jaxreason.paths import as_path
from jaxreason.types import Params
from jaxreason.weights.folders import SHARD_BYTES, open_weights, save_weights
from jaxreason.weights.placed import Dtype, read_placed, written_placed

_OURS, _THEIRS = "jaxreason.json", "med_config.json"


def image_reward_config(folder: str | Path) -> ImageRewardConfig:
    """The shape of a checkpoint: that of an export of ours, that of the published med_config.json,
    or the published one where the folder says nothing.

    Raises:
        InputError: a field that ours cannot honour.
        FailureError: the file that says it cannot be read.
    """
    folder = as_path(folder)
    for name, key, read in (
        (_OURS, "image_reward", config_from_json),
        (_THEIRS, None, config_from_med),
    ):
        file = folder / name
        if not file.is_file():
            continue
        try:
            document: Any = json.loads(file.read_text())
            return read(document if key is None else document[key])
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FailureError(
                f"{file} cannot be read as the shape of an ImageReward: {error}"
            ) from error
    return ImageRewardConfig()


def import_image_reward(
    path: str | Path, config: ImageRewardConfig | None = None, *, dtype: Dtype | None = None
) -> tuple[ImageRewardConfig, Params]:
    """An ImageReward model from its files.

    The published file is a pickle, which is refused. To convert it once, with torch at hand:
    `safetensors.torch.save_file(torch.load("ImageReward.pt", weights_only=True),
    "ImageReward.safetensors")`.

    Args:
        path: folder of safetensors files, or a single file.
        config: of the model; what the folder says of it if None.
        dtype: of the parameters; as stored if None.

    Raises:
        InputError: a weight is missing, unknown or of another shape, or only a pickle is there.
        FailureError: a file is missing or damaged.
    """
    config = config or image_reward_config(path)
    weights, places = open_weights(path), image_reward_places(config)
    check_places("ImageReward", weights.shapes, places, ignored=UNUSED)
    return config, read_placed(weights, places, dtype)


def export_image_reward(
    params: Params,
    folder: str | Path,
    config: ImageRewardConfig,
    *,
    shard_bytes: int = SHARD_BYTES,
    dtype: Dtype | None = None,
) -> None:
    """Writes a checkpoint with the published names, without what the reward does not use.

    Raises:
        InputError: the parameters are not the model's, or the folder has files.
        FailureError: the disk is full or refuses.
    """
    document = {"image_reward": dataclasses.asdict(config)}
    save_weights(
        folder,
        written_placed(params, image_reward_places(config), dtype),
        shard_bytes=shard_bytes,
        documents={_OURS: json.dumps(document, indent=2) + "\n"},
    )
