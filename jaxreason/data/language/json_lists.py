"""Lists of objects in JSON files: where their items lie, so that each can be read on its own."""

import hashlib
import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from jaxreason.errors import InputError

MAX_LIST_FILE = 4 * 2**30
"""Bytes of a file with a list, which is in memory once while the places of its items are found."""


class Places:
    """Byte ranges of rows and their numbers: 24 bytes a row."""

    def __init__(self) -> None:
        self.starts, self.stops, self.numbers = array("q"), array("q"), array("q")

    def add(self, start: int, stop: int, number: int) -> None:
        """One more row."""
        self.starts.append(start)
        self.stops.append(stop)
        self.numbers.append(number)


def list_places(path: Path, file: IO[bytes], key: str = "") -> tuple[Places, str]:
    """Where the items of the list in a file lie, and a hash of the file.

    Args:
        path: for messages.
        file: with the text.
        key: where the list is, if the file is an object; "" for a list.

    Raises:
        InputError: no such list, or no JSON; names file and line.
    """
    # Asked for more than there is, `read` takes the memory for all of it first.
    if file.seek(0, 2) > MAX_LIST_FILE:
        raise InputError(
            f"data {str(path)!r} is a list of more than {MAX_LIST_FILE // 2**30} GiB, which would "
            "have to be in memory; write it as JSON lines (.jsonl)"
        )
    file.seek(0)
    content = file.read()
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    skip = 1 if text.startswith("\ufeff") else 0
    at = _blank(text, skip)
    if key:
        at = _find(path, text, at, key)
    if text[at : at + 1] != "[":
        raise InputError(
            f"{path}, line {_line(text, at)}: expected a list of objects; one object a line is "
            "read from files called .jsonl"
        )
    places, end = _items(path, text, at)
    if not key and text[end:].strip():
        raise InputError(f"{path}, line {_line(text, end)}: something follows the list")
    return places, digest


def _find(path: Path, text: str, at: int, key: str) -> int:
    """Where the value of a key of the object begins."""
    decode = json.JSONDecoder(parse_constant=float).raw_decode
    mark = "{"
    while text[at : at + 1] == mark:
        at = _blank(text, at + 1)
        start = at
        at = _blank(text, _item_end(path, text, at, decode))
        name = text[start:at].strip()
        if text[at : at + 1] != ":":
            break
        at = _blank(text, at + 1)
        if name == json.dumps(key):
            return at
        at = _blank(text, _item_end(path, text, at, decode))
        mark = ","
    raise InputError(f"{path}, line {_line(text, at)}: expected an object with a list {key!r}")


def _items(path: Path, text: str, at: int) -> tuple[Places, int]:
    """The places of the items of a list, in bytes, and where it ends, in characters."""
    places, decode = Places(), json.JSONDecoder(parse_constant=float).raw_decode
    # Bytes before the character `counted`.
    counted, before = 0, 0
    at = _blank(text, at + 1)
    while text[at : at + 1] != "]":
        start = at
        at = _item_end(path, text, at, decode)
        before += len(text[counted:start].encode())
        size = len(text[start:at].encode())
        places.add(before, before + size, len(places.starts) + 1)
        counted, before = at, before + size
        at = _blank(text, at)
        mark = text[at : at + 1]
        if mark == ",":
            at = _blank(text, at + 1)
        if mark not in (",", "]") or (mark == "," and text[at : at + 1] == "]"):
            raise InputError(
                f"{path}, line {_line(text, at)}: expected ',' or ']' after item "
                f"{len(places.starts)}"
            )
    return places, at + 1


def _item_end(path: Path, text: str, at: int, decode: Callable[..., tuple[Any, int]]) -> int:
    try:
        return decode(text, at)[1]
    except RecursionError:
        raise InputError(f"{path}, line {_line(text, at)}: JSON nested too deeply") from None
    except ValueError as error:
        place = getattr(error, "pos", at)
        reason = str(getattr(error, "msg", error))[:200]
        raise InputError(f"{path}, line {_line(text, place)}: no JSON ({reason})") from None


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\r", "\t"):
        at += 1
    return at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
