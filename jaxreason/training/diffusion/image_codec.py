"""A trained image tokenizer as a codec: pictures in, codes out, and back."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.data.multimodal.pictures import PictureSource
from jaxreason.errors import FailureError, InputError
from jaxreason.models.magvit import Magvit, MagvitConfig, from_pixels, to_pixels
from jaxreason.paths import as_path
from jaxreason.tokens.image_codec import ImageCodec, check_codes, check_images
from jaxreason.training.checkpoint import load_params
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.runs import experiment_from_json, read_config
from jaxreason.training.stored_batches import read_arrays, write_arrays
from jaxreason.types import Params
from jaxreason.weights.magvit import import_magvit


@functools.partial(jax.jit, static_argnums=0)
def _encode(config: MagvitConfig, params: Params, images: jax.Array) -> jax.Array:
    return Magvit(config).encode(params, from_pixels(images))[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(
    config: MagvitConfig, grid: tuple[int, int], params: Params, codes: jax.Array
) -> jax.Array:
    return to_pixels(Magvit(config).decode_codes(params, codes, grid))


class MagvitCodec:
    """An image tokenizer for pictures of one size; see `tokens.image_codec.ImageCodec`.

    Pictures go through the model `batch_size` at a time, the last ones filled up, so that one
    program is compiled for each direction.

    Args:
        config: shape of the model.
        params: its parameters.
        picture: rows and columns of the pictures in pixels.
        batch_size: pictures at a time.

    Raises:
        InputError: a picture whose sides are no multiples of the downsampling.
    """

    def __init__(
        self,
        config: MagvitConfig,
        params: Params,
        picture: tuple[int, int],
        batch_size: int = 64,
    ):
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected at least 1")
        self.config, self.picture, self.batch_size = config, picture, batch_size
        self.grid = config.grid(*picture)
        self.codes = config.codes
        self.tokens = self.grid[0] * self.grid[1]
        self.params = params

    @property
    def identity(self) -> dict[str, Any]:
        """Shape, picture size and a hash of the parameters."""
        numbers = json.dumps(fingerprint(self.params)).encode()
        return {
            "codec": "magvit",
            "model": json.loads(json.dumps(asdict(self.config))),
            "picture": list(self.picture),
            "params": hashlib.sha256(numbers).hexdigest()[:16],
        }

    def encode(self, images: np.ndarray) -> np.ndarray:
        """int32 [n, tokens] from uint8 [n, rows, columns, 3].

        Raises:
            InputError: images of another shape or type.
        """
        images = check_images(images, self.picture)
        nothing = np.empty((0, self.tokens), np.int32)
        return self._in_batches(
            lambda rows: _encode(self.config, self.params, rows), images, nothing
        )

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """uint8 [n, rows, columns, 3] from whole numbers [n, tokens].

        Raises:
            InputError: codes of another shape, or outside the codebook.
        """
        codes = check_codes(codes, self.tokens, self.codes).astype(np.int32)
        nothing = np.empty((0, *self.picture, 3), np.uint8)

        def decode(rows: np.ndarray) -> jax.Array:
            return _decode(self.config, self.grid, self.params, rows)

        return self._in_batches(decode, codes, nothing)

    def _in_batches(
        self, function: Callable[[np.ndarray], jax.Array], rows: np.ndarray, nothing: np.ndarray
    ) -> np.ndarray:
        parts = [nothing]
        for first in range(0, len(rows), self.batch_size):
            part = rows[first : first + self.batch_size]
            filled = np.resize(part, (self.batch_size, *rows.shape[1:]))
            parts.append(np.asarray(function(filled))[: len(part)])
        return np.concatenate(parts)


def load_image_codec(run_directory: str | Path, step: int | None = None) -> MagvitCodec:
    """The image tokenizer that was trained in a run directory.

    Args:
        run_directory: of a run of kind "image_tokenizer".
        step: which checkpoint; the newest by default.

    Raises:
        InputError: the run trained something else.
        FailureError: no run there, or a damaged checkpoint.
    """
    config = read_config(run_directory)
    if config.get("kind") != "image_tokenizer":
        raise InputError(
            f"run {run_directory} is of kind {config.get('kind', 'maze')!r}; expected an image "
            "tokenizer's"
        )
    try:
        experiment = experiment_from_json(config)
    except (ValueError, TypeError) as error:
        path = as_path(run_directory) / "config.json"
        raise FailureError(f"{path} does not describe an experiment: {error}") from error
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(Magvit(experiment.model).init, jax.random.key(0)),
    )
    params, _ = load_params(run_directory, abstract, step)
    return MagvitCodec(experiment.model, params, experiment.data.picture)


def encode_source(
    codec: ImageCodec, source: PictureSource, cache: str | Path | None = None, chunk: int = 1024
) -> np.ndarray:
    """int32 [pictures, tokens]: the codes of all pictures of a source.

    Args:
        codec: the tokenizer.
        source: the pictures.
        cache: an .npz file to read them from, if it is of this codec and source, and to write them
            to, which process 0 does; None keeps them in memory only.
        chunk: pictures in memory at once.

    Raises:
        InputError: the cache is of another codec or source.
        FailureError: the cache is damaged, or the disk refuses.
    """
    about = {"codec": codec.identity, "source": source.identity}
    path = None if cache is None else as_path(cache)
    if path is not None and path.exists():
        arrays, found = read_arrays(path)
        if found != about:
            raise InputError(
                f"cache {path} holds codes of another codec or of other pictures; remove it or "
                "name another file"
            )
        return arrays["codes"]
    indices = np.arange(len(source))
    parts = [
        codec.encode(source.images(indices[first : first + chunk]))
        for first in range(0, len(indices), chunk)
    ]
    codes = np.concatenate(parts)
    if path is not None and jax.process_index() == 0:
        write_arrays(path, {"codes": codes}, about)
    return codes


def published_codec(folder: str | Path, side: int, batch_size: int = 8) -> MagvitCodec:
    """The image tokenizer of a folder with the names of `showlab/magvitv2`, for square pictures.

    Args:
        folder: safetensors files.
        side: rows and columns of the pictures in pixels.
        batch_size: pictures at a time.

    Raises:
        InputError: a weight is missing, unknown or of another shape, or the sides do not fit.
        FailureError: a file is missing or damaged.
    """
    config, params = import_magvit(folder)
    return MagvitCodec(config, jax.device_put(params), (side, side), batch_size)
