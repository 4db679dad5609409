"""Which image tokenizer a run was trained with, kept in the run.

A run names its tokenizer by its directory. Training that tokenizer on changes what the codes mean,
and the file `image_codec.json` tells so.
"""

import json
from pathlib import Path

import jax

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.diffusion.checks import difference
from jaxreason.training.files import write_atomically

FILE = "image_codec.json"


def keep_codec(run_directory: str | Path, codec: ImageCodec) -> None:
    """Write down the codec of a new run, or check that of one that has checkpoints.

    Raises:
        InputError: the run was trained with another one.
        FailureError: the file is damaged, or the disk refuses.
    """
    path = as_path(run_directory) / FILE
    if checkpoint_steps(run_directory):
        check_codec(run_directory, codec)
    elif jax.process_index() == 0:
        write_atomically(path, json.dumps(codec.identity, indent=2) + "\n")


def check_codec(run_directory: str | Path, codec: ImageCodec) -> None:
    """That the codec is the one a run was trained with; runs that keep none are not checked.

    Raises:
        InputError: it is another one.
        FailureError: the file is damaged.
    """
    path = as_path(run_directory) / FILE
    if not path.exists():
        return
    try:
        kept = json.loads(path.read_text())
        differs = difference(kept, codec.identity)
    except (ValueError, TypeError, AttributeError) as error:
        raise FailureError(f"{path} does not describe an image tokenizer: {error}") from error
    if differs:
        raise InputError(
            f"run {run_directory} was trained with another image tokenizer than its directory now "
            f"holds ({differs}); restore the tokenizer's checkpoint"
        )
