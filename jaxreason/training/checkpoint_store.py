"""Where Orbax writes and reads checkpoints: in the run directory itself, or through a local folder.

Orbax writes to local and mounted folders and to gs:// itself, there from all processes at once. To
other object stores (s3://) a checkpoint goes through a local folder: written there, uploaded when
it is complete, removed when the next one is; it needs the room of two checkpoints in
$TMPDIR, and all arrays on one process.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import jax
from jax.experimental import multihost_utils

from jaxreason.errors import FailureError, InputError
from jaxreason.object_store import ObjectPath
from jaxreason.paths import as_path, is_local, remove_tree

COMPLETE = "commit_success.txt"
"""What is put last into a checkpoint in an object store; Orbax's own name for it."""


class Pending(Protocol):
    """A save that is being written."""

    def result(self) -> Any:
        """Waits for its end; raises what went wrong."""


def complete_steps(root: Path) -> list[int]:
    """Steps of the complete checkpoints below a folder, in order.

    A local folder with a plain number was renamed when it was complete; in an object store there
    is a marker instead.
    """
    if not root.is_dir():
        return []
    numbered = [path for path in root.iterdir() if path.name.isdecimal()]
    complete = [path for path in numbered if is_local(root) or (path / COMPLETE).is_file()]
    return sorted(int(path.name) for path in complete)


def _is_written_by_orbax(path: Any) -> bool:
    return is_local(path) or path.scheme == "gs"


@contextmanager
def readable(path: Path) -> Iterator[Any]:
    """A checkpoint, or a part of one, as Orbax takes it: itself or a temporary copy of it."""
    if _is_written_by_orbax(path):
        yield path if is_local(path) else str(path)
        return
    with copied(path) as folder:
        yield Path(folder)


def copied(path: Any) -> "tempfile.TemporaryDirectory[str]":
    """A temporary local folder with all that lies below `path` in its object store.

    Raises:
        FailureError: it cannot be read.
    """
    folder = tempfile.TemporaryDirectory(prefix="jaxreason-")
    try:
        path.download(Path(folder.name))
    except OSError as error:
        folder.cleanup()
        raise FailureError(f"{path} cannot be read: {error}") from error
    return folder


def _remove_incomplete(root: Any) -> None:
    """Remove what killed saves have left in an object store; waits until that is done everywhere.

    Orbax does so beside listing the steps, and a store's folder is gone with the last object in it:
    the listing then fails.
    """
    if jax.process_index() == 0 and root.is_dir():
        complete = {str(step) for step in complete_steps(root)}
        for path in list(root.iterdir()):
            if path.name.isdecimal() and path.name not in complete:
                remove_tree(path)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("jaxreason incomplete checkpoints")


class DirectStore:
    """Checkpoints that Orbax writes where they stay.

    Attributes:
        place: the folder that Orbax writes to.
        kept_in_place: `keep_last` and `keep_every` there.
    """

    def __init__(self, root: Path, keep_last: int, keep_every: int) -> None:
        self.place: Any = root if is_local(root) else str(root)
        if not is_local(root):
            _remove_incomplete(root)
        self.kept_in_place = keep_last, keep_every

    def sent(self, step: int, saving: Pending) -> Pending:
        """The save, complete when it is in its place."""
        del step
        return saving

    def close(self) -> None:
        """Nothing is left over."""


class UploadingStore:
    """Checkpoints written to a temporary folder and uploaded.

    Args:
        root: of the checkpoints in the object store.
        keep_last: see `Checkpoints`.
        keep_every: see `Checkpoints`.

    Raises:
        InputError: there are several processes.
    """

    def __init__(self, root: ObjectPath, keep_last: int, keep_every: int) -> None:
        check_store(root)
        self._root, self._keep_last, self._keep_every = root, keep_last, keep_every
        self._folder = tempfile.TemporaryDirectory(prefix="jaxreason-")
        self._worker = ThreadPoolExecutor(1)
        self.place: Any = Path(self._folder.name)
        self.kept_in_place = 1, 0

    def sent(self, step: int, saving: Pending) -> Pending:
        """The save, complete when it has been uploaded."""
        return self._worker.submit(self._upload, step, saving)

    def _upload(self, step: int, saving: Pending) -> None:
        saving.result()
        target = self._root / str(step)
        target.remove_tree()  # what an interrupted upload has left
        target.upload(self.place / str(step))
        (target / COMPLETE).write_text("")
        root = as_path(self._root)
        for old in complete_steps(root)[: -self._keep_last]:
            if not self._keep_every or old % self._keep_every:
                # Incomplete first: a removal that breaks off must not look like damage.
                (root / str(old) / COMPLETE).unlink()
                remove_tree(root / str(old))

    def close(self) -> None:
        """Remove the temporary folder."""
        self._worker.shutdown()
        self._folder.cleanup()


def check_store(root: Path | ObjectPath) -> None:
    """That the processes there are can write checkpoints below `root`.

    Raises:
        InputError: there are several, and it is neither a folder nor at gs://.
    """
    if jax.process_count() > 1 and not _is_written_by_orbax(root):
        raise InputError(
            f"checkpoints of {jax.process_count()} processes cannot be written to {root}: "
            "expected a gs:// URL, or a folder that all of them see (a mounted bucket too)"
        )


def store_of(root: Path, keep_last: int, keep_every: int) -> DirectStore | UploadingStore:
    """The store for the checkpoints of a run that keeps them below `root`."""
    if isinstance(root, ObjectPath) and not _is_written_by_orbax(root):
        return UploadingStore(root, keep_last, keep_every)
    return DirectStore(root, keep_last, keep_every)
