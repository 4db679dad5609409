"""`jaxreason data list`, `show` and `check`: data sets for language models."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import tyro

from jaxreason.cli.data_text import Seen, shown
from jaxreason.cli.options import parse_options
from jaxreason.data.language.columns import kinds_of
from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.known import KNOWN, known_set
from jaxreason.data.language.messages import column_names
from jaxreason.data.language.reading import Records, open_records, open_rows
from jaxreason.data.language.records import PromptRecord
from jaxreason.errors import InputError

MOST_ERRORS = 10
"""How many bad records are named."""


@dataclass(frozen=True)
class List:
    """List the data sets that can be named in `data.known`: what they are and where to get them."""


@dataclass(frozen=True)
class Look:
    """What `show` and `check` are told."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|FILE")]
    """a file (.jsonl, .json, .gz, .parquet), a folder or pattern of them, or a provided data set"""
    path: str = ""
    """of a provided data set: where its files are"""
    kind: str = ""
    """text, chat, preference, labelled, prompts or image_text; by the columns if not given"""
    split: str = ""
    """of a folder or provided data set"""
    columns: dict[str, str] = field(default_factory=dict)
    """our name of a column and the data's, in turn, where they differ"""
    images: str = ""
    """folder of the pictures' relative names"""
    tokenizer: str = ""
    """a published folder, or RUN/tokenizer: show texts and lengths as its model would see them"""
    template: str = "chat"
    """chat, or plain for models without a chat template"""


@dataclass(frozen=True)
class Show(Look):
    """Show records as a model would see them; what it learns stands between angle quotes.

    Of a provided data set without --path: what it is, where to get it and what it takes.
    """

    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 3
    """how many records"""
    first: int = 0
    """the first of them, counted from 0"""


@dataclass(frozen=True)
class Check(Look):
    """Read all records and report columns, counts, lengths and what is wrong; 1 if anything is.

    A prompt whose answer nothing can be judged against is wrong, as RL refuses it.
    """


def run(name: str, argv: Sequence[str]) -> int:
    """Runs one of the subcommands.

    Raises:
        InputError: a setting outside its range, or data of which not even the form can be read.
        FailureError: a file cannot be read.
    """
    kind = {"list": List, "show": Show, "check": Check}[name]
    arguments = parse_options(kind, argv, f"jaxreason data {name}")
    if name == "list":
        return _list()
    if name == "show" and arguments.source in KNOWN and not arguments.path:
        _describe(arguments.source)
        return 0
    return (_show if name == "show" else _check)(arguments)


def _list() -> int:
    for known in KNOWN.values():
        print(f"{known.name:<18}{known.title}")
        print(f"{'':<18}{'/'.join(known.kinds)}; {known.size}; {known.disk}; {known.licence}")
    print("\n`jaxreason data show NAME` says where to get one, with --path FILES it shows records")
    return 0


def _describe(name: str) -> None:
    known = known_set(name)
    print(f"{known.name}: {known.title}")
    for label in ("size", "source", "licence", "disk", "layout"):
        print(f"  {label:<9}{getattr(known, label)}")
    print(f"  {'kinds':<9}{', '.join(known.kinds)}")
    print(f'\nDataConfig(known="{name}", path="...", kind="{known.kinds[0]}")')


def _records(look: Look) -> Records:
    known = look.source in KNOWN
    if look.path and not known:
        raise InputError(
            f"path is {look.path!r}, but {look.source!r} is no provided data set; expected one of "
            + ", ".join(KNOWN)
        )
    config: dict[str, Any] = {
        "path": look.path if known else look.source,
        "known": look.source if known else "",
        "split": look.split,
        "columns": look.columns,
        "images": look.images,
    }
    kind = look.kind or (KNOWN[look.source].kinds[0] if known else _kind(config))
    return open_records(DataConfig(**config, kind=kind))


def _kind(config: dict[str, Any]) -> str:
    """The kind that takes most of the first row's columns."""
    rows = open_rows(DataConfig(path=config["path"], split=config["split"]))
    if not len(rows):
        raise InputError(f"data {config['path']!r} has no record")
    names = {theirs: ours for ours, theirs in config["columns"].items()}
    row = {names.get(column, column): value for column, value in rows[0].items()}
    kinds = kinds_of(row)
    if not kinds:
        raise InputError(
            f"{rows.where(0)}: columns {column_names(row)} are of no kind; rename them with "
            "--columns"
        )
    if len(kinds) > 1:
        print(f"read as {kinds[0]}; --kind {' or '.join(kinds[1:])} is possible as well\n")
    return kinds[0]


def _seen(look: Look) -> Callable[[Any], Seen]:
    """From a record to its parts; through the tokenizer if one is named."""
    tokenizer = None
    if look.tokenizer:
        from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

        tokenizer = PretrainedTokenizer(look.tokenizer)
    return lambda record: shown(record, tokenizer, look.template)


def _show(look: Show) -> int:
    if look.count < 1 or look.first < 0:
        raise InputError(
            f"count is {look.count} and first {look.first}; expected at least 1, and at least 0"
        )
    records, seen = _records(look), _seen(look)
    if look.first >= len(records):
        raise InputError(f"first is {look.first}; the data set has {len(records)} records")
    for place in range(look.first, min(look.first + look.count, len(records))):
        record = records[place]
        parts = seen(record)
        print(f"--- {record.where}" + (f" ({parts.size} tokens)" if look.tokenizer else ""))
        print(parts.text)
    print(f"--- {len(records):,} records of kind {records.config.kind}")
    return 0


def _check(look: Check) -> int:
    records, seen = _records(look), _seen(look)
    columns: Counter[str] = Counter()
    sizes, errors = [], []
    for record, row, error in _read(records, seen):
        columns.update(row)
        if error:
            errors.append(error)
        else:
            sizes.append(record.size)
    print(f"{len(records):,} records, kind {records.config.kind}, {len(errors):,} bad")
    for name, count in columns.items():
        print(f"  column {name!r}: {count:,}")
    if sizes:
        unit = "tokens" if look.tokenizer else "characters"
        least, half, most, longest = np.percentile(sizes, [0, 50, 95, 100]).round().astype(int)
        print(
            f"  {unit}: {least:,} at least, median {half:,}, 95 % up to {most:,}, {longest:,} at "
            "most"
        )
    for message in errors[:MOST_ERRORS]:
        print(f"  {message}")
    if len(errors) > MOST_ERRORS:
        print(f"  and {len(errors) - MOST_ERRORS:,} more")
    return 1 if errors else 0


def _read(
    records: Records, seen: Callable[[Any], Seen]
) -> Iterator[tuple[Any, Sequence[str], str]]:
    """Of every record its parts, its columns and what is wrong with it."""
    for place in range(len(records)):
        row: Sequence[str] = ()
        try:
            row = tuple(records.rows[place])
            record = records[place]
            parts = seen(record)
            if isinstance(record, PromptRecord):
                _check_answer(record)
            yield parts, row, ""
        except InputError as error:
            yield None, row, str(error)


def _check_answer(record: PromptRecord) -> None:
    """Refuses a prompt that has no answer to judge completions against, as training does."""
    from jaxreason.rewards.math_answers import gold_answer

    try:
        gold_answer(record.answer)
    except InputError as error:
        raise InputError(f"{record.where}: {error}") from error
