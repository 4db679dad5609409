"""What every benchmark of the suite gives and gets: rows with ratios, and peers in a process.

A benchmark is a module with `measure(quick: bool, peer: Peer) -> list[Row]`; `run.py` runs them
all. Ours and its peers take turns within a round, so that what else the machine does hits all
alike; a ratio is the median of the ratios within the rounds, never a ratio of two medians, and
figures are medians over rounds. A peer that is not installed leaves a row without a ratio.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peer_process import FOLDER, Contestant, Peer, PeerError, find_peer

__all__ = [
    "FOLDER",
    "Contestant",
    "Peer",
    "PeerError",
    "Row",
    "against",
    "contestant",
    "find_peer",
    "ratio",
    "take_turns",
]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        benchmark: name of the module that measured it.
        case: what was done, with its shapes.
        value: our figure; None where only a share or a ratio means anything.
        unit: of `value` and `peer_value`.
        peer: what it is compared with; "" without any.
        peer_value: the peer's figure in this run.
        ratio: times as fast as the peer (above 1: ours is faster), median over rounds.
        quartiles: of the ratio over rounds.
        at_least: the ratio that is the goal, where there is one.
        value_at_least: the smallest `value` that is the goal, where there is one.
        at_most: the largest `value` that is the goal, where there is one.
        missing: the command that installs a peer which was not there.
        note: anything else a reader must know.
    """

    benchmark: str
    case: str
    value: float | None
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    at_least: float | None = None
    value_at_least: float | None = None
    at_most: float | None = None
    missing: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, or with nothing to hold against it."""
        if self.at_least is not None and self.ratio is not None:
            return self.ratio >= self.at_least
        if self.value is None:
            return None
        if self.value_at_least is not None:
            return self.value >= self.value_at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


def contestant(work: Callable[[], Any]) -> Contestant:
    """A function of this process that waits for its own result."""

    def run(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        return time.perf_counter() - start

    return run


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int, times: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of every contestant in every round, after one unmeasured call of each.

    A peer that fails in that first call has none.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    ready = {}
    for name, run in contestants.items():
        try:
            run(1)
            ready[name] = run
        except PeerError as error:
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
    for _ in range(rounds):
        for name, run in ready.items():
            seconds[name].append(run(times) / times)
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """`ratio` and `quartiles` of a row from seconds in the same rounds, or nothing without any."""
    if not theirs:
        return {}
    found = sorted(peer / own for own, peer in zip(ours, theirs, strict=True))
    cuts = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return {"ratio": statistics.median(found), "quartiles": (cuts[0], cuts[2])}


def against(
    seconds: Mapping[str, Sequence[float]],
    ours: str,
    peers: Iterable[str],
    work: float,
    **row: Any,
) -> list[Row]:
    """A row for ours against each peer that was measured beside it.

    Args:
        seconds: of `take_turns`.
        ours: its name there.
        peers: their names there; a row says so of those that failed.
        work: units of work in one call; `value` is work per second.
        **row: the other fields of the rows.
    """
    value = work / statistics.median(seconds[ours])
    present = [name for name in peers if name in seconds]
    if not present:
        return [Row(value=value, **row)]
    rows = []
    for name in present:
        theirs = seconds[name]
        figure = work / statistics.median(theirs) if theirs else None
        given = dict(row) if theirs else {**row, "note": "the peer failed in this run"}
        rows.append(
            Row(value=value, peer=name, peer_value=figure, **ratio(seconds[ours], theirs), **given)
        )
    return rows
