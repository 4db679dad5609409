"""Dataclasses from what JSON made of them, each value of the kind of its field."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from jaxreason.errors import InputError
from jaxreason.weights.json_text import named, shown


def from_json(kind: Any, value: Any, name: str) -> Any:
    """Rebuild a (nested) dataclass from what JSON made of it.

    Args:
        kind: the class, or the type of a field.
        value: what `json.loads` gave.
        name: of the field, for messages; "" for the whole.

    Raises:
        InputError: an unknown field, or a value of another kind than its field; names it.
    """
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, Mapping):
            raise InputError(f"field {name or 'config'} is {shown(value)}; expected an object")
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise InputError(f"field {name + '.' if name else ''}{named(unknown[0])} is unknown")
        fields = {key: from_json(hints[key], item, key) for key, item in value.items()}
        return typing.cast(Any, kind)(**fields)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None:
            return None
        options = [option for option in arguments if option is not type(None)]
        if len(options) > 1 and not dataclasses.is_dataclass(options[0]):
            return tuple(value) if isinstance(value, list) else value
        return from_json(options[0], value, name)
    _check_kind(kind, value, name)
    origin = typing.get_origin(kind)
    if origin in (dict, Mapping):
        _, one = arguments or (str, Any)
        return {key: from_json(one, item, f"{name}.{key}") for key, item in value.items()}
    if origin is not tuple:
        return value
    if not arguments or arguments[-1] is Ellipsis:
        arguments = (arguments or (Any,))[:1] * len(value)
    if len(value) != len(arguments):
        raise InputError(f"field {name} is {shown(value)}; expected {len(arguments)} values")
    items = enumerate(zip(arguments, value, strict=True))
    return tuple(from_json(one, item, f"{name}[{n}]") for n, (one, item) in items)


def _check_kind(kind: Any, value: Any, name: str) -> None:
    """Refuse a value of another kind than its field: it would be met much later."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        good, expected = value in typing.get_args(kind), f"one of {typing.get_args(kind)}"
    elif origin is tuple:
        good, expected = isinstance(value, list | tuple), "a list"
    elif origin in (dict, Mapping):
        good, expected = isinstance(value, Mapping), "an object"
    elif kind is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        good, expected = whole and not isinstance(value, bool), "a whole number"
    elif kind is float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        expected = "a number"
    elif kind in (bool, str):
        good, expected = isinstance(value, kind), "true or false" if kind is bool else "text"
    else:
        return
    if not good:
        raise InputError(f"field {name} is {shown(value)}; expected {expected}")
