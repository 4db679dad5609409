"""Fields of a config.json, taken as what they must be or refused by name."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError
from jaxreason.weights.json_text import read_json, shown

MOST_BYTES = 16_000_000
"""No config.json is longer; a longer file is not read."""
_ABSENT: Any = object()


class Fields:
    """Fields by name; null is the same as absent.

    Attributes:
        values: name to value, without nulls.
        names: of all that are there, nulls included.
        where: the file, and the field within it that holds these; for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = {name: value for name, value in values.items() if value is not None}
        self.names = frozenset(values)
        self.where = where

    def refuse(self, name: str, expected: str) -> InputError:
        """The error that names a field, its value and what is expected."""
        if name not in self.values:
            return InputError(f"{self.where} has no {name}; {expected}")
        return InputError(f"{self.where}: {name} is {shown(self.values[name])}; {expected}")

    def _of(self, name: str, default: Any, good: Any, expected: str) -> Any:
        value = self.values.get(name, default)
        if value is _ABSENT or (name in self.values and not good(value)):
            raise self.refuse(name, expected)
        return value

    def integer(
        self, name: str, default: Any = _ABSENT, least: int = 1, most: int = 2**31 - 1
    ) -> Any:
        """A whole number from `least` to `most`."""

        def good(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

        return self._of(name, default, good, f"expected a whole number, {least} to {most}")

    def number(self, name: str, default: Any = _ABSENT) -> Any:
        """A positive number."""

        def good(value: Any) -> bool:
            if not isinstance(value, int | float) or isinstance(value, bool):
                return False
            return 0 < value < 2**63 and math.isfinite(value)

        value = self._of(name, default, good, "expected a positive number")
        return value if value is None else float(value)

    def flag(self, name: str, default: Any = False) -> Any:
        """True or false."""
        return self._of(
            name, default, lambda value: isinstance(value, bool), "expected true or false"
        )

    def text(self, name: str, allowed: Collection[str], default: Any = _ABSENT) -> Any:
        """One of some texts."""

        def good(value: Any) -> bool:
            return isinstance(value, str) and value in allowed

        return self._of(name, default, good, f"expected {' or '.join(map(repr, allowed))}")

    def inner(self, name: str) -> "Fields | None":
        """The object that a field holds; None without one."""
        value = self._of(name, None, lambda value: isinstance(value, Mapping), "expected an object")
        return None if value is None else Fields(value, f"{self.where}: {name}")


def read_document(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FailureError: there is none, or it is not a JSON object of a sane size.
    """
    try:
        document = read_json(file, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise FailureError(f"{file} cannot be read as a model's configuration: {error}") from error
    if not isinstance(document, dict):
        raise FailureError(f"{file} cannot be read as a model's configuration: it is no object")
    return document
