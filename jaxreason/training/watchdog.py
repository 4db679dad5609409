"""A thread that ends a process whose training does not move any more.

A collective waits for ever for a process that is alive but stuck, and for minutes for one that has
died. The watchdog ends such a process with exit code 43 after all its stacks have been written
(`sharding.lost`), so that whoever launched it can start all of them again.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

from jaxreason.sharding.lost import end_lost, stacks_into
from jaxreason.training.clock import Clock

STEP_TIMEOUT = 600.0
"""Seconds without a finished step that are too many by default, with several processes."""

PATIENCE = {"compile": 6.0, "evaluation": 6.0, "checkpoint": 6.0}
"""How many times longer than a step these parts of a run may take, each time they come."""

_TICKS = 50


class Watchdog:
    """Counts the seconds since the last step was finished.

    Seconds of compiling, evaluations and checkpoints are counted apart, each up to its own limit
    of `PATIENCE` times the time-out. Seconds count only while this process runs: a machine that
    slept is not at fault.

    Args:
        timeout: seconds without a finished step after which this process ends.
        clock: knows which parts of the run are under way.
    """

    def __init__(self, timeout: float, clock: Clock) -> None:
        self._timeout, self._clock = timeout, clock
        self._step = -1
        self._spent: dict[str, float] = {}
        self._long: str | None = None
        self._over = threading.Event()

    def finished(self, step: int) -> None:
        """A step has been finished on this process."""
        self._step, self._spent = step, {}

    def watch(self) -> None:
        """Look at the clock until `close`; ends the process when a limit is passed."""
        tick = min(self._timeout / _TICKS, 1.0)
        while not self._over.wait(tick):
            late = self.count(self._clock.parts, tick)
            if late is not None:
                end_lost(late)

    def count(self, parts: Sequence[str], seconds: float) -> str | None:
        """Add seconds of what is under way; a sentence once they are too many.

        Args:
            parts: of the run, outermost first, as `Clock.parts`.
            seconds: since the last count.
        """
        long = next((part for part in parts if part in PATIENCE), None)
        kind = long or "step"
        if long != self._long:
            # A long part that is over was in time.
            self._spent = {"step": self._spent.get("step", 0.0)}
            self._long = long
        self._spent[kind] = self._spent.get(kind, 0.0) + seconds
        limit = PATIENCE.get(kind, 1.0) * self._timeout
        if self._spent[kind] < limit:
            return None
        now = f" (now in {parts[-1]})" if parts else ""
        what = f"no step was finished{now} in" if long is None else f"{long} took"
        after = f"after step {self._step}" if self._step >= 0 else "before the first step"
        return (
            f"{what} {limit:g} s {after}, too long with train.step_timeout={self._timeout:g}: this "
            "or another process is stuck or gone"
        )

    def close(self) -> None:
        """Stop watching."""
        self._over.set()


@contextmanager
def watching(timeout: float | None, run_directory: Any, clock: Clock) -> Iterator[Watchdog]:
    """A watchdog over what happens inside.

    Args:
        timeout: seconds, 0 for none; None means `STEP_TIMEOUT` with several processes and none
            with one.
        run_directory: gets the stacks of a process that is ended, in `stacks/`.
        clock: knows which parts of the run are under way.
    """
    several = jax.process_count() > 1
    if timeout is None:
        timeout = STEP_TIMEOUT if several else 0.0
    if several or timeout:
        stacks_into(run_directory)
    watchdog = Watchdog(timeout, clock)
    if timeout:
        name = "jaxreason-watchdog"
        threading.Thread(target=watchdog.watch, name=name, daemon=True).start()
    try:
        yield watchdog
    finally:
        watchdog.close()
