"""The small files beside a tokenizer: what they say, read with suspicion."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.errors import FailureError

LARGEST = 1 << 28
"""Bytes of a tokenizer.json that is read; the largest published ones have a tenth of it."""
LARGEST_SMALL = 1 << 24
"""Bytes of any of the other files."""
GROWTH = 1 << 10
"""Characters that a normalizer may make of one."""

TOKENIZER, CONFIG, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
TEMPLATE, TEMPLATES = "chat_template.jinja", "additional_chat_templates"
GENERATION = "generation_config.json"

COPIED = (
    *(CONFIG, SPECIAL, "added_tokens.json", TEMPLATE, "chat_template.json", GENERATION),
    *("vocab.json", "merges.txt", "tokenizer.model"),
)
"""What is copied with tokenizer.json and the further templates; nothing of it is code."""

NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class AddedToken(NamedTuple):
    """One entry of `added_tokens_decoder`."""

    id: int
    content: str
    options: dict[str, bool]


class TokenizerSettings(NamedTuple):
    """What the files say besides the tokenizer itself.

    Attributes:
        special: each named special token (`bos_token`, ...; also a model's own `x_token`).
        extra: further special tokens.
        added: tokens with their ids, where the configuration lists them.
        templates: each chat template by its name; the usual one is "default".
        stops: ids that end a generation, of generation_config.json.
        split_special: special tokens in a text are ordinary text.
    """

    special: dict[str, str]
    extra: tuple[str, ...]
    added: tuple[AddedToken, ...]
    templates: dict[str, str]
    stops: tuple[int, ...]
    split_special: bool


def read_bytes(path: Path, largest: int) -> bytes:
    """A file's content.

    Raises:
        FailureError: it cannot be read, or has more than `largest` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise FailureError(f"{str(path)!r} cannot be read: {error}") from error
    if len(content) > largest:
        raise FailureError(f"{str(path)!r} has more than {largest} bytes, which nothing needs")
    return content


def read_text(path: Path) -> str:
    """A small file as UTF-8; FailureError if it is not."""
    try:
        return read_bytes(path, LARGEST_SMALL).decode()
    except UnicodeDecodeError as error:
        raise FailureError(f"{str(path)!r} is not UTF-8: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file that holds an object, {} if there is none; FailureError if it does not."""
    if not path.exists():
        return {}
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FailureError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FailureError(f"{str(path)!r} holds a {type(value).__name__}; expected an object")
    return value


def present(folder: Path) -> dict[str, Path]:
    """The files that make up the tokenizer of a folder, by their names in it.

    tokenizer.json is the last: where the copies appear one by one, it says that all are there.
    """
    found = {name: folder / name for name in COPIED if (folder / name).is_file()}
    if (folder / TEMPLATES).is_dir():
        for path in sorted((folder / TEMPLATES).glob("*.jinja")):
            found[f"{TEMPLATES}/{path.name}"] = path
    if (folder / TOKENIZER).is_file():
        found[TOKENIZER] = folder / TOKENIZER
    return found


def read_settings(folder: Path) -> TokenizerSettings:
    """What the files of a folder say; all of them may be missing.

    Raises:
        FailureError: a file that is no JSON, or a field of a type that it cannot have.
    """
    path = folder / CONFIG
    config = read_json(path)
    if "added_tokens_decoder" not in config:  # as written before 2023
        config |= read_json(folder / SPECIAL)
    special, more = _special(config, path)
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(extra, dict):
        special |= {name: _token(value, path, name) for name, value in extra.items()}
        extra = []
    split = config.get("split_special_tokens", False)
    if not isinstance(split, bool):
        raise _wrong(path, "split_special_tokens", split, "true or false")
    return TokenizerSettings(
        special | more,
        tuple(_token(value, path, "extra_special_tokens") for value in _list(extra, path)),
        _added(config.get("added_tokens_decoder", {}), path),
        _templates(folder, config.get("chat_template"), path),
        _stops(folder / GENERATION),
        split,
    )


def check_growth(state: bytes, path: Path) -> None:
    """Refuses a normalizer or decoder whose replacements, one after the other, blow a text up.

    Args:
        state: as JSON.
        path: of the file that it comes from.

    Raises:
        FailureError: more than `GROWTH` characters for one.
    """
    growth, left = 1, [json.loads(state)]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if part.get("type") in ("Replace", "Prepend"):
                growth *= max(1, len(part.get("content") or part.get("prepend") or ""))
            left += part.values()
        elif isinstance(part, list):
            left += part
        if growth > GROWTH:
            raise FailureError(
                f"{str(path)!r} replaces one character by {growth} or more; no tokenizer does"
            )


def _wrong(path: Path, field: str, value: Any, expected: str) -> FailureError:
    return FailureError(f"{str(path)!r} has {field} {value!r:.100}; expected {expected}")


def _token(value: Any, path: Path, field: str) -> str:
    """A token given as a text, or as an object with its `content` (older files)."""
    content = value.get("content") if isinstance(value, Mapping) else value
    if not isinstance(content, str) or not content or _has_surrogates(content):
        raise _wrong(path, field, value, "a token")
    return content


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _list(value: Any, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "extra_special_tokens", value, "a list or an object")
    return value


def _special(config: Mapping[str, Any], path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The tokens that every tokenizer may have, and a model's own."""
    names = [f"{name}_token" for name in NAMED]
    special = {
        name: _token(config[name], path, name) for name in names if config.get(name) is not None
    }
    own = {
        name: value
        for name, value in config.items()
        if name.endswith("_token") and name not in names and isinstance(value, str) and value
    }
    return special, own


def _added(entries: Any, path: Path) -> tuple[AddedToken, ...]:
    field = "added_tokens_decoder"
    if not isinstance(entries, dict):
        raise _wrong(path, field, entries, "an object")
    tokens = []
    for number, entry in entries.items():
        if not number.isdecimal() or len(number) > 9 or not isinstance(entry, dict):
            raise _wrong(path, field, {number: entry}, "ids and tokens")
        options = {}
        for name in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            value = entry.get(name, name == "normalized" and not entry.get("special", False))
            if not isinstance(value, bool):
                raise _wrong(path, f"{field}[{number}].{name}", value, "true or false")
            options[name] = value
        tokens.append(AddedToken(int(number), _token(entry, path, field), options))
    return tuple(sorted(tokens))


def _templates(folder: Path, given: Any, path: Path) -> dict[str, str]:
    """Templates in files of their own, else those of the configuration."""
    found = {}
    if (folder / TEMPLATE).exists():
        found["default"] = read_text(folder / TEMPLATE)
    if (folder / TEMPLATES).is_dir():
        for file in sorted((folder / TEMPLATES).glob("*.jinja")):
            found[file.name.removesuffix(".jinja")] = read_text(file)
    if found or given is None:
        return found
    if isinstance(given, str):
        return {"default": given}
    entries = given if isinstance(given, list) else [given]
    templates = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        source = entry.get("template") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(source, str):
            raise _wrong(path, "chat_template", entry, "a template, or a list of name and template")
        templates[name] = source
    return templates


def _stops(path: Path) -> tuple[int, ...]:
    given = read_json(path).get("eos_token_id")
    stops = given if isinstance(given, list) else [] if given is None else [given]
    for stop in stops:
        if isinstance(stop, bool) or not isinstance(stop, int) or not 0 <= stop < 2**31:
            raise _wrong(path, "eos_token_id", given, "ids")
    return tuple(stops)
