"""Pictures that rows refer to: files inside a folder, or the bytes of one."""

from pathlib import Path, PurePosixPath
from typing import Any

from jaxreason.errors import InputError
from jaxreason.paths import as_path


def image_of(value: Any, folder: str | Path, where: str) -> Path | bytes | None:
    """What a column says about a picture; None for null.

    Args:
        value: a file name relative to `folder`, the bytes of an image file, or a struct
            `{bytes, path}` as the library `datasets` writes pictures.
        folder: of relative names. A name must stay inside it; a link inside it is followed.
        where: for messages.

    Raises:
        InputError: something else, or a name outside the folder.
    """
    if isinstance(value, dict) and set(value) <= {"bytes", "path"}:
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise InputError(
            f"{where}: image is {type(value).__name__}; expected a file name, bytes, or a struct "
            "of bytes and path"
        )
    name = PurePosixPath(value.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or "://" in value or "\0" in value:
        raise InputError(
            f"{where}: image is {value!r}; expected a name inside the folder {str(folder)!r}"
        )
    return as_path(folder) / str(name) if str(folder) else Path(str(name))
