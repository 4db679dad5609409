"""Examples that are too long: told at the start of a run, and counted in its metrics."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

from jaxreason.errors import InputError
from jaxreason.sharding.placement import agree
from jaxreason.types import Params

Evaluation = Callable[[Params, int], Mapping[str, float]]

LOOKED_AT = 1000
"""Examples that are encoded before training to tell how many are too long."""


def say(line: str, progress: bool) -> None:
    """One line on standard error, from the first process of a run that shows its progress."""
    if progress and jax.process_index() == 0:
        print(line, file=sys.stderr)


def counted(name: str, counts: Mapping[str, int], what: str, after: str = "") -> str:
    """`data: 120 prompts, 3 dropped, 0 truncated (prompt_tokens 512)`."""
    parts = [f"{counts['kept']:,} {what}"]
    parts += [f"{count:,} {how}" for how, count in counts.items() if how != "kept"]
    return f"{name}: {', '.join(parts)}{f' ({after})' if after else ''}"


def too_long(name: str, source: Any, length: int, overflow: str) -> str:
    """One line about how many of the first examples do not fit into a row.

    Args:
        name: of the data.
        source: examples by index with `tokens`; what it has encoded it may keep.
        length: tokens of a row.
        overflow: what is done about longer ones.

    Raises:
        InputError: there are such, and `overflow` is "error".
    """
    looked = min(LOOKED_AT, len(source))
    longer = [i for i in range(looked) if len(source[i]["tokens"]) > length]
    if longer and overflow == "error":
        raise InputError(
            f"{name}: {len(longer):,} of the first {looked:,} examples are longer than {length} "
            f"tokens, the first one of them has {len(source[longer[0]]['tokens']):,}; raise "
            "batch.length, or set batch.overflow to 'drop' or 'truncate_left' or 'truncate_right'"
        )
    of = f"{looked:,}" if looked == len(source) else f"the first {looked:,} of {len(source):,}"
    return (
        f"{name}: {len(longer):,} of {of} examples are longer than {length} tokens "
        f"(batch.overflow {overflow})"
    )


def named(name: str, make: Callable[[], Any]) -> Any:
    """What `make` returns; what it refuses begins with the name of the data.

    Raises:
        InputError: as `make`.
    """
    try:
        return make()
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def with_numbers(evaluate: Evaluation, numbers: Callable[[], Mapping[str, float]]) -> Evaluation:
    """Adds numbers to those of an evaluation."""

    def both(params: Params, step: int) -> Mapping[str, float]:
        return {**evaluate(params, step), **numbers()}

    return both


class CountedBatches:
    """Training batches whose counts can be asked for while they are trained on.

    Args:
        batches: what `training_batches` returns.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self._iterator: Any = None

    def __iter__(self) -> Iterator[Any]:
        self._iterator = iter(self._batches)
        return self._iterator

    def numbers(self) -> dict[str, float]:
        """`data_dropped` and `data_truncated` so far, by all processes, which all must ask."""
        own = (
            [0, 0] if self._iterator is None else [self._iterator.dropped, self._iterator.truncated]
        )
        dropped, truncated = zip(*agree(own), strict=True)
        return {"data_dropped": float(sum(dropped)), "data_truncated": float(sum(truncated))}
