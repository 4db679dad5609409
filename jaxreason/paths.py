"""Run directories and files by path or by URL: gs://BUCKET/..., s3://BUCKET/..., memory://...

`as_path` turns what a user names into a `pathlib.Path`, or into an `ObjectPath` that has the
methods of one which this library uses. Library code converts once, where a name comes in.

What an object store does not have:
- folders: they exist while something is in them, and making one does nothing;
- appending and renaming in place: a file is put whole, in one step, and a renamed one is copied;
- locks and fsync: two processes that write into one run directory are not told apart.
"""

import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from jaxreason.errors import InputError
from jaxreason.object_store import SCHEMES, ObjectPath, file_system

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_LOST_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/[^/]")


def as_path(path: "str | os.PathLike[str] | ObjectPath") -> Path:
    """What a user named, as a local path or (typed as one, too) as an `ObjectPath`.

    Raises:
        InputError: a URL of another kind, without a bucket, or one that `pathlib` has spoilt.
    """
    if isinstance(path, ObjectPath):
        return cast(Path, path)
    text = os.fspath(path)
    url = _URL.match(text)
    if url is None:
        lost = _LOST_SLASH.match(text)
        if lost and lost[1].lower() in SCHEMES:
            raise InputError(
                f"path {text!r} is a URL that has lost a slash: give it as text, not as a "
                "pathlib.Path"
            )
        return Path(path)
    scheme, key = url[1].lower(), url[2]
    if scheme == "file":
        return Path("/" + key.lstrip("/"))
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"path {text!r} is a {scheme}:// URL; expected {known} or a local path")
    key = posixpath.normpath("/" + key).lstrip("/")
    if not key:
        raise InputError(f"path {text!r} names no bucket; expected {scheme}://BUCKET/NAME")
    file_system(scheme)  # a missing package is said at once
    return cast(Path, ObjectPath(scheme, key))


def is_local(path: Any) -> bool:
    """Whether it is a path on this machine (mounted folders included), not an object store."""
    return not isinstance(path, ObjectPath)


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it; no error if there is none."""
    if isinstance(path, ObjectPath):
        path.remove_tree()
    else:
        shutil.rmtree(path, ignore_errors=True)


def local_path(path: "str | os.PathLike[str]", what: str) -> Path:
    """A path that must be on this machine.

    Raises:
        InputError: it is a URL; names `what`.
    """
    found = as_path(path)
    if not is_local(found):
        raise InputError(f"{what} {found} is a URL; expected a local or mounted path")
    return found


@contextmanager
def put_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that is put into the object store at the end, and on an error not at all.

    It is kept in the local folder for temporary files ($TMPDIR) until then.
    """
    with tempfile.TemporaryDirectory(prefix="jaxreason-") as name:
        local = Path(name) / "object"
        with local.open("wb") as file:
            yield file
        cast(Any, path).upload(local)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A file on this machine with the content of `path`; `path` itself if it is one already."""
    if is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jaxreason-") as name:
        local = Path(name) / path.name
        with path.open("rb") as source, local.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        yield local
