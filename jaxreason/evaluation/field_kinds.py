"""Values that came as text, each held against the kind of its field before anything is loaded."""

import dataclasses
import math
import types
import typing
from numbers import Integral, Real
from typing import Any, Literal

from jaxreason.errors import InputError
from jaxreason.weights.json_text import shown

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "none",
}


def check_kinds(settings: Any) -> None:
    """Makes sure that every field of a dataclass has a value of its kind.

    Nothing is converted: 'no' is neither true nor false, and 8.0 no number of tokens. Fields that
    are dataclasses are theirs to check.

    Raises:
        InputError: a value of another kind; names field, value and what is expected.
    """
    for name, kind in typing.get_type_hints(type(settings)).items():
        if not dataclasses.is_dataclass(kind):
            check_kind(name, getattr(settings, name), kind)


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Makes sure that a value is of a kind: int, float, bool, str, None, a Literal or a union.

    Raises:
        InputError: it is not; infinity and nan are no numbers.
    """
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    options = typing.get_args(kind) if union else (kind,)
    if not any(_is(value, option) for option in options):
        expected = " or ".join(_words(option) for option in options)
        raise InputError(f"{name} is {shown(value)}; expected {expected}")


def check_range(name: str, value: float | None, least: float, most: float | None = None) -> None:
    """Makes sure that a number, where there is one, is within bounds, both included.

    Raises:
        InputError: it is not; names field, value and bounds.
    """
    if value is None:
        return
    if value < least or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise InputError(f"{name} is {value}; expected {expected}")


def _is(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return isinstance(value, str) and value in typing.get_args(kind)
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real)
        return number and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(kind))
    return _WORDS[kind]
