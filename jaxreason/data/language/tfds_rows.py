"""Rows of a data set that TensorFlow Datasets has prepared; TensorFlow itself is not needed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path


class TfdsRows:
    """The examples of a split, see `open_tfds`.

    Args:
        source: random access to examples as nested dicts of numpy values.
        name: for messages.
        identity: plain JSON.
    """

    def __init__(self, source: Any, name: str, identity: Any) -> None:
        self._source, self._name, self.identity = source, name, identity

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The example in plain values; InputError names its place."""
        try:
            return {name: plain(value) for name, value in self._source[index].items()}
        except UnicodeDecodeError as error:
            raise InputError(f"{self.where(index)}: not UTF-8 ({error.reason})") from error
        except (RuntimeError, OSError, KeyError) as error:
            raise FailureError(f"{self.where(index)}: cannot be read: {error}") from error

    def where(self, index: int) -> str:
        """Data set and example, counted from 0 as TFDS does."""
        return f"{self._name}, example {index}"


def open_tfds(name: str, split: str, directory: str = "") -> TfdsRows:
    """The rows of a split that TFDS prepared as ArrayRecord; nothing is downloaded.

    Args:
        name: of a data set known to TFDS (`gsm8k`, `NAME/CONFIG:VERSION`), or the folder of one.
        split: of it, such as "train" or "train[:1000]".
        directory: where TFDS keeps data sets; "" for its default.

    Raises:
        InputError: no split is named.
        FailureError: no such data set or split there, or one in another file format.
    """
    # TensorFlow Datasets takes a second to import; only those who ask for it wait.
    import tensorflow_datasets as tfds

    if not split:
        raise InputError(f"data.split is '', but data.tfds is {name!r}; expected one of its splits")
    try:
        if not directory and as_path(name).is_dir():
            builder = tfds.builder_from_directory(name)
        else:
            builder = tfds.builder(name, data_dir=directory or None, try_gcs=False)
        source = builder.as_data_source(split)
    except Exception as error:  # TFDS raises whatever its parts raise
        reason = " ".join(str(error).split())[:300]
        raise FailureError(
            f"split {split!r} of the data set {name!r} cannot be read: {reason}; TFDS must have "
            "prepared it with file_format='array_record'"
        ) from error
    info = builder.info
    sizes = {key: value.num_examples for key, value in info.splits.items()}
    identity = [info.full_name, split, sizes]
    return TfdsRows(source, f"{name}, split {split}", identity)


def plain(value: Any) -> Any:
    """Numpy values and bytes as JSON has them: texts, numbers, lists.

    A sequence of structs, which TFDS gives as a struct of sequences, becomes a list of structs, as
    a list of messages is.

    Raises:
        UnicodeDecodeError: bytes that are no text.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray):
        # Pictures and other numbers of several dimensions stay arrays.
        return value if value.ndim > 1 else [plain(entry) for entry in value.tolist()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        entries = {name: plain(entry) for name, entry in value.items()}
        sizes = {len(v) if isinstance(v, list) else -1 for v in entries.values()}
        if len(sizes) == 1 and -1 not in sizes:
            rows = zip(*entries.values(), strict=True)
            return [dict(zip(entries, row, strict=True)) for row in rows]
        return entries
    return value
