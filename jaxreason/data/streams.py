"""One packer's part of the data: its examples in order, the rows made of them, and its place.

A run's packed rows come from a fixed number of streams, whatever the number of processes. A process
runs those of its share; their states together are the state of the run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.data.batch_config import BatchConfig
from jaxreason.data.packing import Plan, assemble, targets_of
from jaxreason.errors import FailureError, InputError

COUNTS = ("position", "dropped", "truncated", "examples", "tokens", "slots")
"""What a stream counts, as part of its state."""


class ExampleStream:
    """The rows that one packer contributes to every batch.

    Args:
        examples: all examples of the stream in order, every epoch of them.
        epoch_length: how many of them make an epoch.
        config: how they become rows.
        pad_id: token id of the padding.
    """

    def __init__(
        self,
        examples: Sequence[Mapping[str, Any]],
        epoch_length: int,
        config: BatchConfig,
        pad_id: int,
    ):
        self._examples = examples
        self._length = len(examples)
        self._epoch_length = epoch_length
        self._config = config
        self._pad_id = pad_id
        self._planner = config.planner()
        self._held: dict[int, Mapping[str, Any]] = {}
        self._counts = dict.fromkeys(COUNTS, 0)
        self._parts: dict[str, int] = {}
        self._dropped_in_a_row = 0
        self._peeked: Mapping[str, Any] | None = None

    def plan(self) -> Plan | None:
        """What the next rows hold; None at the end. It must be laid out before the next one."""
        plan = None
        while plan is None and (example := self._upcoming()) is not None:
            position = self._counts["position"]
            self._held[position] = example
            plan = self._planner.add(position, len(example["tokens"]))
            self._counts["position"] = position + 1
            self._peeked = None
        return self._planner.flush() if plan is None else plan

    def lay_out(self, plan: Plan | None) -> dict[str, np.ndarray]:
        """The rows of a plan; of None, rows of padding."""
        if plan is None:
            rows, length = self._config.rows_per_stream, self._config.length
            plan = Plan([], rows, length)
        batch = assemble(plan, self._held, loss_on=self._config.loss_on, pad_id=self._pad_id)
        self._release(plan)
        self._counts["slots"] += plan.row_count * plan.length
        if self._config.overflow != "error":
            # What is dropped right after a batch counts with it, or the last would go uncounted.
            self._upcoming()
        return batch

    @property
    def batches(self) -> int:
        """Batches laid out, for rows of one length."""
        return self._counts["slots"] // (self._config.rows_per_stream * self._config.length)

    def count_batches(self) -> int:
        """How many batches a finite stream has from here on; it goes to its end."""
        count = 0
        while (plan := self.plan()) is not None:
            self._release(plan)
            count += 1
        return count

    def _release(self, plan: Plan) -> None:
        for position in (position for row in plan.rows for position in row):
            self._counts["examples"] += 1
            example = self._held.pop(position)
            self._counts["tokens"] += len(example["tokens"])
            self._counts["truncated"] += bool(example.get("cut"))
            if "part" in example:
                self._parts[example["part"]] = self._parts.get(example["part"], 0) + 1

    def _upcoming(self) -> Mapping[str, Any] | None:
        """The example at the position, moved on over dropped ones; None at the end."""
        while self._peeked is None and self._counts["position"] < self._length:
            example = self._cut(self._examples[self._counts["position"]])
            if self._fits(example):
                self._peeked = example
            else:
                self._counts["position"] += 1
        return self._peeked

    def _cut(self, example: Mapping[str, Any]) -> Mapping[str, Any]:
        """An example that is too long without its beginning or end, where that is asked for."""
        size, length = len(example["tokens"]), self._config.length
        if size <= length or not self._config.overflow.startswith("truncate"):
            return example
        start = size - length if self._config.overflow == "truncate_left" else 0
        kept = slice(start, start + length)
        targets = targets_of(example, self._config.loss_on)[kept]
        cut = {"tokens": example["tokens"][kept], "targets_mask": targets, "cut": True}
        return {**example, **cut}

    def _fits(self, example: Mapping[str, Any]) -> bool:
        size, length = len(example["tokens"]), self._config.length
        hollow = "cut" in example and not example["targets_mask"][1:].any()
        if size <= length and not hollow:
            self._dropped_in_a_row = 0
            return True
        if self._config.overflow == "error":
            raise InputError(
                f"example {example['index']} has {size} tokens but length is {length}; raise "
                "length, or set overflow to 'drop' to leave such examples out and count them"
            )
        self._counts["dropped"] += 1
        self._dropped_in_a_row += 1
        # Two epochs' worth of consecutive examples surely contains a whole epoch.
        if self._dropped_in_a_row >= min(2 * self._epoch_length, self._length):
            raise InputError(
                f"none of the {self._epoch_length} examples fits into length {length}; the last "
                + (f"one has {size} tokens" if size > length else "one has no target left, cut off")
            )
        return False

    def get_state(self) -> dict[str, Any]:
        """Counts, position, and the examples that wait; plain JSON."""
        parts = {"parts": dict(self._parts)} if self._parts else {}
        return {**self._counts, **parts, "planner": self._planner.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state."""
        # Older states do not say what was cut: nothing was.
        self._counts = {"truncated": 0} | {name: state[name] for name in COUNTS if name in state}
        self._parts = dict(state.get("parts", {}))
        self._dropped_in_a_row = 0
        self._peeked = None
        held = (row for rows in state["planner"].values() for row in rows)
        positions = [position for row in held for position in row]
        self._held = {position: self._cut(self._examples[position]) for position in positions}
        self._planner = self._config.planner()
        self._planner.set_state(
            state["planner"], lambda position: len(self._held[position]["tokens"])
        )


def merge_states(states: Sequence[Any]) -> Any:
    """The data state of a whole run from those of its processes.

    `streams` are collected; everything else must be the same everywhere. Any process can go on from
    the result, also among another number of processes.

    Args:
        states: what `get_state` of every process gave; plain JSON.

    Raises:
        FailureError: the processes are not at the same place of the same data.
    """
    merged, streams = dict(_common(states[0])), dict[str, Any]()
    for process, state in enumerate(states):
        common = _common(state)
        for name in sorted(merged.keys() | common.keys()):
            if merged.get(name) != common.get(name):
                raise FailureError(
                    f"process {process} has the data position {name} {common.get(name)!r}, process "
                    f"0 {merged.get(name)!r}; all must read the same data in step"
                )
        if isinstance(state, Mapping):
            _collect(streams, state.get("streams", {}), process)
    if not isinstance(states[0], Mapping):
        return states[0]
    ordered = {name: streams[name] for name in sorted(streams, key=int)}
    return {**merged, "streams": ordered} if "streams" in states[0] else merged


def _common(state: Any) -> dict[str, Any]:
    if not isinstance(state, Mapping):
        return {"state": state}
    return {name: value for name, value in state.items() if name != "streams"}


def _collect(streams: dict[str, Any], own: Mapping[str, Any], process: int) -> None:
    for name, state in own.items():
        if streams.setdefault(name, state) != state:
            raise FailureError(
                f"process {process} is at another place of data stream {name} than a process before"
                " it with the same rows; all must read the same data in step"
            )
