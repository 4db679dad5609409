"""A data set of equal rows that fits in memory: kept in one file, visited in seeded epochs."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.data.orders import epoch_order
from jaxreason.data.shares import share_rows
from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import is_local, put_whole

Arrays = dict[str, np.ndarray]

_ABOUT = "about"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and what they are about (plain JSON) to one .npz file, whole or not at all.

    Raises:
        FailureError: the disk is full or refuses to be written.
    """
    entries: Any = {**arrays, _ABOUT: np.array(json.dumps(about))}
    if not is_local(path):
        with disk_errors(str(path)), put_whole(path) as file:
            np.savez_compressed(file, **entries)
        return
    temporary = path.with_name(path.name + ".tmp")
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **entries)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `write_arrays` wrote.

    Raises:
        FailureError: the file is damaged.
    """
    try:
        with path.open("rb") as source, np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop(_ABOUT)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FailureError(
            f"{path} cannot be read ({error}); restore it, or remove it to have it made again"
        ) from error


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of names, shapes and contents."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


class StoredBatches:
    """Endless batches of rows, every row once per epoch, in an order seeded by epoch.

    The iterator has `get_state` and `set_state` (plain JSON), and the state says the same on all
    shares; a batch may hold rows of two epochs.

    Args:
        arrays: equal first dimensions.
        rows: rows of a batch, all shares together.
        seed: of the order.
        share_index: which part of each batch to give.
        share_count: number of equal parts.

    Raises:
        InputError: there are fewer rows than a batch needs, or the batch cannot be shared out.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        rows: int,
        seed: int,
        share_index: int = 0,
        share_count: int = 1,
    ) -> None:
        self._count = len(next(iter(arrays.values())))
        if self._count < rows:
            raise InputError(
                f"batch_size is {rows}, but only {self._count} examples were found; sample more "
                "problems or take smaller batches"
            )
        self._own = share_rows("batch_size", rows, share_index, share_count)
        self._arrays, self._rows, self._seed = arrays, rows, seed
        self._share = share_index, share_count
        self._identity = {
            "examples": self._count,
            "batch_size": rows,
            "seed": seed,
            "content": digest(arrays),
        }
        self._position = 0
        self._orders: dict[int, np.ndarray] = {}

    def __iter__(self) -> Iterator[Arrays]:
        """An iterator of its own, at the start."""
        return StoredBatches(self._arrays, self._rows, self._seed, *self._share)

    def __next__(self) -> Arrays:
        places = np.arange(self._position, self._position + self._rows)
        self._position += self._rows
        epochs = np.unique(places // self._count).tolist()
        self._orders = {epoch: self._order(epoch) for epoch in epochs}
        chosen = np.concatenate(
            [self._orders[e][places[places // self._count == e] % self._count] for e in epochs]
        )
        mine = chosen[self._own]
        return {name: array[mine] for name, array in self._arrays.items()}

    def _order(self, epoch: int) -> np.ndarray:
        known = self._orders.get(epoch)
        return epoch_order(self._count, self._seed, epoch) if known is None else known

    def get_state(self) -> dict[str, Any]:
        """Where the stream stands, and of which data."""
        return {"position": self._position, "identity": dict(self._identity)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            InputError: it belongs to other data or another order.
        """
        for name, value in self._identity.items():
            saved = state["identity"].get(name)
            if saved != value:
                raise InputError(
                    f"the saved data position belongs to data with {name} {saved!r}, these have "
                    f"{value!r}; restore the run's data file or start a new run"
                )
        self._position = state["position"]
