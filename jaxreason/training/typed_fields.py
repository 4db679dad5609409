"""Fields of a dataclass given as text, as the command line and overrides give them."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal

from jaxreason.errors import InputError


def typed_fields(kind: Any, given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Values of dataclass fields from text, as their types say.

    Raises:
        InputError: an unknown field, or text that is no value of its type.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name for f in dataclasses.fields(kind)}
    result = {}
    for key, text in given.items():
        if key not in fields:
            raise InputError(
                f"{name} has the unknown field {key!r}; expected some of {', '.join(fields)}"
            )
        try:
            result[key] = _typed(hints[key], text)
        except ValueError as error:
            raise InputError(f"{name} {key} is {text!r}: {error}") from error
    return result


def _typed(hint: Any, text: Any) -> Any:
    if not isinstance(text, str) or hint is str or typing.get_origin(hint) is Literal:
        return text
    options = typing.get_args(hint) or (hint,)
    if typing.get_origin(hint) is tuple:
        parts = text.replace(",", " ").split()
        if len(parts) != len(options):
            raise ValueError(f"expected {len(options)} values, such as '0.3 0.5'")
        return tuple(_typed(one, part) for one, part in zip(options, parts, strict=True))
    if text.lower() == "none" and type(None) in options:
        return None
    for option in options:
        if typing.get_origin(option) is tuple:
            return _typed(option, text)
    if bool in options:
        if text.lower() not in ("true", "false"):
            raise ValueError("expected true or false")
        return text.lower() == "true"
    if int in options:
        return int(text)
    if float in options:
        return float(text)
    return text
