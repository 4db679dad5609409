"""JSON of unknown origin as plain values, or one sentence about what is wrong with it."""

import json
from typing import Any, NoReturn

from jaxreason.errors import InputError

MAX_DEPTH = 64
"""How deeply lists and objects may be nested; no published data set comes near."""


def parse(text: bytes | str, where: str) -> Any:
    """The value a JSON text stands for.

    Raises:
        InputError: no JSON, not UTF-8, numbers JSON does not have, or nested too deeply; names
            `where`.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: no JSON ({error.msg} at character {error.pos + 1})") from None
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({str(error)[:200]})") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def check_value(value: Any, where: str, depth: int = 0) -> None:
    """That no text inside has half of a surrogate pair, and nesting ends.

    Such halves can be written in JSON as escapes, but are no characters: no tokenizer takes them.

    Raises:
        InputError: names `where`.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        # Encoding is the fastest test there is, and most text is ASCII.
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{where}: a text has half of a surrogate pair at character {error.start}; "
                    "write the character whole"
                ) from None
    elif isinstance(value, dict):
        for key, entry in value.items():
            check_value(key, where, depth + 1)
            check_value(entry, where, depth + 1)
    elif isinstance(value, list):
        for entry in value:
            check_value(entry, where, depth + 1)
