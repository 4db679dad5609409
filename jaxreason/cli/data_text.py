"""Records as text for a reader: plain, or as the tokens a model would see."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.data.language.encoding import encode_answer, encode_prompt, encode_record
from jaxreason.data.language.records import (
    ChatRecord,
    ImageTextRecord,
    LabelledRecord,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
)

LEARNT = "«", "»"
"""Around what a model learns."""


class Seen(NamedTuple):
    """A record for a reader.

    Attributes:
        text: several lines.
        size: of the longest sequence, in tokens, or in characters if there is no tokenizer.
    """

    text: str
    size: int


def shown(record: Any, tokenizer: Any, template: str) -> Seen:
    """A record as text.

    Args:
        record: of any kind.
        tokenizer: of a model; None shows the record's own texts. Pictures have no tokens here.
        template: see `data.language.language_source`.

    Raises:
        InputError: the tokenizer's template refuses the record; names its place.
    """
    if tokenizer is None or isinstance(record, ImageTextRecord):
        return _plain(record)
    where = record.where
    if isinstance(record, TextRecord | ChatRecord):
        return _tokens(tokenizer, *encode_record(record, tokenizer, template, "all"))
    if isinstance(record, PromptRecord):
        ids = encode_prompt(record.messages, tokenizer, template, where)
        seen = _tokens(tokenizer, ids, np.zeros(len(ids), np.bool_))
        return Seen(f"{seen.text}\n[answer] {record.answer}", seen.size)
    parts = [
        (
            label,
            _tokens(tokenizer, *encode_answer(record.prompt, answer, tokenizer, template, where)),
        )
        for label, answer in _answers(record)
    ]
    text = "\n".join(f"[{label}] {seen.text}" for label, seen in parts)
    return Seen(text, max(seen.size for _, seen in parts))


def _answers(record: PreferenceRecord | LabelledRecord) -> list[tuple[str, Any]]:
    if isinstance(record, LabelledRecord):
        return [("desirable" if record.desirable else "undesirable", record.completion)]
    return [("chosen", record.chosen), ("rejected", record.rejected)]


def _tokens(tokenizer: Any, tokens: np.ndarray, learnt: np.ndarray) -> Seen:
    """The decoded tokens, runs of learnt ones marked."""
    edges = np.flatnonzero(np.diff(learnt.astype(np.int8))) + 1
    texts = []
    for run in np.split(np.arange(len(tokens)), edges):
        text = tokenizer.decode(tokens[run], skip_special=False)
        texts.append(text.join(LEARNT) if len(run) and learnt[run[0]] else text)
    return Seen("".join(texts), len(tokens))


def _plain(record: Any) -> Seen:
    lines: list[str] = []
    if isinstance(record, TextRecord):
        lines.append(record.text)
    elif isinstance(record, ChatRecord):
        lines += _turns(record.messages)
    elif isinstance(record, PromptRecord):
        lines += [*_turns(record.messages), f"[answer] {record.answer}"]
    elif isinstance(record, ImageTextRecord):
        image = record.image
        lines.append(
            f"[image] {f'{len(image):,} bytes' if isinstance(image, bytes) else image or 'none'}"
        )
        lines += _turns(record.messages)
        if record.caption:
            lines.append(f"[caption] {record.caption}")
    else:
        lines += _turns(record.prompt)
        for label, answer in _answers(record):
            lines += [f"[{label}]", *_turns(answer)]
    text = "\n".join(lines)
    return Seen(text, len(text))


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"[{message['role']}] {message['content']}" for message in messages]
