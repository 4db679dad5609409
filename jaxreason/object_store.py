"""What an object store holds, with the methods of `pathlib.Path` that this library uses."""

import errno
import importlib.util
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, total_ordering
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from jaxreason.errors import FailureError, InputError

SCHEMES = {
    "gs": ("gcsfs", "pip install 'jaxreason[gcs]'"),
    "s3": ("s3fs", "pip install 'jaxreason[s3]'"),
    "memory": ("fsspec", "pip install fsspec"),
}
"""URL scheme to the package that speaks it and how to get that; memory:// ends with its process."""


class Stat(NamedTuple):
    """Size of an object in bytes."""

    st_size: int


@cache
def file_system(scheme: str) -> Any:
    """The fsspec file system of a scheme, one for the whole process.

    Raises:
        InputError: its package is not installed; says how to get it.
    """
    package, remedy = SCHEMES[scheme]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{scheme}:// paths need the package {package}: {remedy}")
    import fsspec

    # Checkpoints are written beside this client, so what it listed before may be out of date.
    return fsspec.filesystem(scheme, use_listings_cache=False)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """What is no OSError (credentials, connections, protocol) becomes a FailureError."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", url) from error
    except (OSError, InputError, FailureError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        raise FailureError(f"{url} cannot be used: {type(error).__name__}: {reason}") from error


@total_ordering
class ObjectPath:
    """An object in a store, or all objects below a prefix, with methods of `pathlib.Path`.

    It has no `__fspath__`, so that what wants a local file says so instead of making one whose
    name looks like a URL.

    Args:
        scheme: of `SCHEMES`.
        key: bucket and name, without a slash at the ends.
    """

    __slots__ = ("key", "scheme")

    def __init__(self, scheme: str, key: str | PurePosixPath) -> None:
        self.scheme = scheme
        self.key = PurePosixPath(key)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __lt__(self, other: "ObjectPath") -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: str | PurePosixPath) -> "ObjectPath":
        return ObjectPath(self.scheme, self.key / name)

    name = property(lambda self: self.key.name)
    stem = property(lambda self: self.key.stem)
    suffix = property(lambda self: self.key.suffix)
    parts = property(lambda self: (f"{self.scheme}://", *self.key.parts))

    @property
    def parent(self) -> "ObjectPath":
        """Without the last part; a bucket is its own parent."""
        return self if len(self.key.parts) == 1 else ObjectPath(self.scheme, self.key.parent)

    @property
    def parents(self) -> tuple["ObjectPath", ...]:
        """All of them up to the bucket, the nearest first."""
        above = self.parent
        return () if above == self else (above, *above.parents)

    def with_name(self, name: str) -> "ObjectPath":
        """The path beside this one with another name."""
        return ObjectPath(self.scheme, self.key.with_name(name))

    def with_suffix(self, suffix: str) -> "ObjectPath":
        """The same path with another suffix."""
        return ObjectPath(self.scheme, self.key.with_suffix(suffix))

    def absolute(self) -> "ObjectPath":
        """Itself."""
        return self

    resolve = expanduser = absolute

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        with _reaching(str(self)):
            return getattr(file_system(self.scheme), method)(str(self), *arguments, **options)

    def _ask(self, method: str) -> bool:
        try:
            return bool(self._call(method))
        except OSError as error:
            raise FailureError(f"{self} cannot be used: {error}") from error

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return self._ask("isfile")

    def is_dir(self) -> bool:
        """Whether there are objects below it; a bucket that exists counts."""
        return self._ask("isdir")

    def exists(self) -> bool:
        """Whether it is a file or a folder."""
        return self._ask("exists")

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder is there as soon as something is in it.

        Raises:
            FileExistsError: it is a file, or is there already and `exist_ok` is False.
        """
        if self.is_file() or (not exist_ok and self.is_dir()):
            raise FileExistsError(f"{self} exists")

    def iterdir(self) -> Iterator["ObjectPath"]:
        """What is directly in it.

        Raises:
            FileNotFoundError: nothing is.
        """
        names = {posixpath.basename(item.rstrip("/")) for item in self._call("ls", detail=False)}
        yield from (self / name for name in sorted(names - {"", self.name}))

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """What lies below it and fits; `*` does not cross a slash."""
        found = (self / pattern)._call("glob")
        yield from (ObjectPath(self.scheme, item.strip("/")) for item in sorted(found))

    def stat(self) -> Stat:
        """Its size.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return Stat(int(self._call("info")["size"]))

    def open(self, mode: str = "r") -> IO[Any]:
        """The object for reading, as text (UTF-8) or bytes; what is written is put whole."""
        if mode not in ("r", "rb"):
            raise ValueError(f"mode is {mode!r}; an object is read, or written whole")
        return self._call("open", mode)

    def read_bytes(self) -> bytes:
        """All of it."""
        return self._call("cat_file")

    def read_range(self, start: int, count: int) -> bytes:
        """Bytes from `start` on, fewer at the end."""
        return self._call("cat_file", start=start, end=start + count)

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of it as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> int:
        """Replace the object in one step."""
        self._call("pipe_file", data)
        return len(data)

    def write_text(self, text: str) -> int:
        """Replace the object in one step."""
        return self.write_bytes(text.encode())

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if not (missing_ok and not self.is_file()):
            self._call("rm_file")

    def remove_tree(self) -> None:
        """Remove all below it; nothing there is no error."""
        if self.exists():
            self._call("rm", recursive=True)

    def rename(self, target: "ObjectPath") -> "ObjectPath":
        """Copy it, or all below it, to `target`, then remove it here: not one step."""
        inside = self._inside()
        for name, item in inside.items():
            item._call("cp_file", str(target / name))
        for item in inside.values():
            item._call("rm_file")
        return target

    def _inside(self) -> dict[str, "ObjectPath"]:
        """All objects below it (or itself) by their names from here on."""
        found = [ObjectPath(self.scheme, item.strip("/")) for item in self._call("find")]
        if not found:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self))
        return {str(item.key.relative_to(self.key)): item for item in found}

    def download(self, folder: Path) -> None:
        """Copy all below it into a local folder, which is made."""
        for name, item in self._inside().items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            item._call("get_file", str(target))

    def upload(self, source: Path) -> None:
        """Put a local file here in one step, or all files of a local folder below here."""
        if source.is_file():
            with _reaching(str(self)):
                file_system(self.scheme).put_file(str(source), str(self))
            return
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            (self / file.relative_to(source).as_posix()).upload(file)
