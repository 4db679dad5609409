"""JSON of files that others have written: parsed strictly, with every way to fail a ValueError."""

import json
import reprlib
from pathlib import Path
from typing import Any

MOST_BYTES = 100_000_000
"""Of a header or an index; the limit that the reference implementation of safetensors has."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlist = _SHORT.maxdict = 8


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{shown(name)} stands in it twice")
            seen.add(name)
    return found


def parse_json(text: str | bytes) -> Any:
    """What JSON text says.

    Raises:
        ValueError: it is no JSON, has a name twice, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """What a JSON file says.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: see `parse_json`; or it has more than `most` bytes.
    """
    if not path.is_file():  # a pipe would never end
        raise OSError("there is no such file")
    if path.stat().st_size > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return parse_json(path.read_bytes())


def shown(value: Any) -> str:
    """A value for a message, cut short."""
    return _SHORT.repr(value)


def named(name: str) -> str:
    """A name for a message: as it is, unless it is very long or would not print."""
    return name if len(name) <= _SHORT.maxstring and name.isprintable() else shown(name)


def cut(error: BaseException, most: int = 600) -> str:
    """What an error says, for a message; a value in it may be as long as a file."""
    text = str(error)
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"
