"""Rows of files by index: what every file format is read as."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """Rows by index; reading one does not need the others in memory."""

    @property
    def identity(self) -> Any:
        """Plain JSON that changes with the content."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Column to value; InputError names the place of a row that cannot be read."""
        ...

    def where(self, index: int) -> str:
        """File and line, or row, for messages."""
        ...


class JoinedRows:
    """The rows of several files, one after the other."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    @property
    def identity(self) -> Any:
        """Of all parts, in order."""
        return [part.identity for part in self._parts]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        part, place = self._find(index)
        return part[place]

    def where(self, index: int) -> str:
        """File and line of a row."""
        part, place = self._find(index)
        return part.where(place)

    def _find(self, index: int) -> tuple[Rows, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        return self._parts[number], index - before
