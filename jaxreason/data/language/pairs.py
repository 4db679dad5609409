"""Preferences as arrays of sequence pairs, as the preference objectives want them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.data.language.encoding import (
    Encoded,
    LanguageTokenizer,
    check_template,
    encode_answer,
)
from jaxreason.data.language.records import LabelledRecord, Messages, PreferenceRecord
from jaxreason.data.orders import epoch_order
from jaxreason.errors import InputError

OVERFLOWS = ("error", "drop", "truncate_left", "truncate_right")
LENGTH_STEP = 32
"""Rows are padded to multiples of this, so that few programs are compiled."""


class PairData(NamedTuple):
    """Preferences as arrays.

    Attributes:
        arrays: `tokens` int32, `targets_mask` bool, `segments` and `positions` int32, each
            [rows, 2, T]: chosen, then rejected; of labelled records the completion, then the same
            prompt with the completion of another record, and `desirable` bool [rows].
        summary: counts of `examples`, `dropped`, `truncated` and `identical` (both answers equal).
    """

    arrays: dict[str, np.ndarray]
    summary: dict[str, int]


def pair_arrays(
    records: Sequence[Any],
    tokenizer: LanguageTokenizer,
    length: int,
    *,
    template: str = "chat",
    overflow: str = "error",
    seed: int = 0,
) -> PairData:
    """Encodes preferences, all in memory: about 26 bytes for each token of a padded pair.

    Args:
        records: of kind "preference" or "labelled".
        tokenizer: of the model.
        length: most tokens of a sequence.
        template: see `language_source`.
        overflow: what to do about longer ones: "error"; "drop" the pair; "truncate_left" cuts the
            beginning of the prompt, by the same amount in both halves; "truncate_right" the end of
            the answer. A pair of which nothing to learn would be left is dropped.
        seed: of the pairing of labelled records.

    Raises:
        InputError: a bad record, one that is too long, or no pair at all; names file and line.
    """
    check_template(template)
    if overflow not in OVERFLOWS:
        raise InputError(f"overflow is {overflow!r}; expected one of {', '.join(OVERFLOWS)}")
    summary = dict.fromkeys(("examples", "dropped", "truncated", "identical"), 0)
    pairs: list[list[Encoded]] = []
    desirable: list[bool | None] = []
    for where, halves, label in _halves(records, seed):
        pair = [
            encode_answer(prompt, answer, tokenizer, template, where) for prompt, answer in halves
        ]
        cut = _fitted(pair, length, overflow, where)
        if cut is None:
            summary["dropped"] += 1
            continue
        summary["truncated"] += cut is not pair
        summary["identical"] += np.array_equal(cut[0].tokens, cut[1].tokens)
        pairs.append(cut)
        desirable.append(label)
    if not pairs:
        raise InputError(f"none of the {len(records)} pairs fits into length {length}")
    summary["examples"] = len(pairs)
    arrays = _lay_out(pairs, tokenizer.pad)
    if desirable[0] is not None:
        arrays["desirable"] = np.array(desirable, np.bool_)
        if arrays["desirable"].all() or not arrays["desirable"].any():
            raise InputError(
                f"label is {bool(desirable[0])} of all {len(pairs)} records; expected some of both"
            )
    return PairData(arrays, summary)


def _halves(
    records: Sequence[Any], seed: int
) -> Iterator[tuple[str, tuple[tuple[Messages, Messages], ...], bool | None]]:
    """(place, (prompt, answer) of both halves, label or None) of every record."""
    if not len(records):
        raise InputError("there is no record to make a pair of")
    first = records[0]
    if isinstance(first, PreferenceRecord):
        for record in records:
            halves = (record.prompt, record.chosen), (record.prompt, record.rejected)
            yield record.where, halves, None
    elif isinstance(first, LabelledRecord):
        if len(records) < 2:
            raise InputError(f"{first.where}: a single record; labelled ones are paired")
        order = epoch_order(len(records), seed, 0)
        # Each with the next of a seeded order, the last with the first.
        other = np.empty_like(order)
        other[order] = np.roll(order, -1)
        for place, record in enumerate(records):
            answer = records[int(other[place])].completion
            halves = (record.prompt, record.completion), (record.prompt, answer)
            yield record.where, halves, record.desirable
    else:
        raise InputError(
            f"{first.where}: {type(first).__name__}; expected kind 'preference' or 'labelled'"
        )


def _fitted(pair: list[Encoded], length: int, overflow: str, where: str) -> list[Encoded] | None:
    """The pair, cut if need be; None if it is to be dropped."""
    longest = max(len(half.tokens) for half in pair)
    if longest > length:
        if overflow == "error":
            raise InputError(
                f"{where}: a sequence has {longest} tokens, but length is {length}; raise length, "
                "or set overflow to 'drop', 'truncate_left' or 'truncate_right'"
            )
        if overflow == "drop":
            return None
        if overflow == "truncate_left":
            excess = longest - length
            if any(half.targets_mask[: excess + 1].any() for half in pair):
                return None  # it would be the answer that is cut
            pair = [Encoded(*(array[excess:] for array in half)) for half in pair]
        else:
            pair = [Encoded(*(array[:length] for array in half)) for half in pair]
    return pair if all(half.targets_mask[1:].any() for half in pair) else None


def _lay_out(pairs: Sequence[Sequence[Encoded]], pad: int) -> dict[str, np.ndarray]:
    longest = max(len(half.tokens) for pair in pairs for half in pair)
    shape = len(pairs), 2, LENGTH_STEP * -(-longest // LENGTH_STEP)
    arrays = {
        "tokens": np.full(shape, pad, np.int32),
        "targets_mask": np.zeros(shape, np.bool_),
        "segments": np.zeros(shape, np.int32),
        "positions": np.zeros(shape, np.int32),
    }
    counting = np.arange(shape[2], dtype=np.int32)
    for row, pair in enumerate(pairs):
        for number, half in enumerate(pair):
            size = len(half.tokens)
            arrays["tokens"][row, number, :size] = half.tokens
            arrays["targets_mask"][row, number, 1:size] = half.targets_mask[1:]
            arrays["segments"][row, number, :size] = 1
            arrays["positions"][row, number, :size] = counting[:size]
    return arrays
