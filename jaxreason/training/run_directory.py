"""What a run directory cannot take, said before any long work."""

from pathlib import Path

from jaxreason.paths import as_path
from jaxreason.training.checkpoint_store import check_store
from jaxreason.training.metrics import check_tensorboard


def check_run_directory(run_directory: str | Path, tensorboard: bool) -> None:
    """Refuse a run directory that cannot keep what this run will write.

    It is called before the base, the data and the model are loaded.

    Args:
        run_directory: a folder or a URL, of a run that has begun or not.
        tensorboard: whether TensorBoard event files are to be written.

    Raises:
        InputError: TensorBoard's files in an object store or without tensorboardX; or checkpoints
            of several processes in an object store other than gs://.
    """
    run = as_path(run_directory)
    if tensorboard:
        check_tensorboard(run)
    check_store(run)
