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

PATIENCE = 6.0
"""How many times longer it may take when something long came since the last step."""

LONG = ("compile", "evaluation", "checkpoint", "sampling", "reward", "scoring")
"""Parts of a run that may take so long; every step of reinforcement learning has the last three."""

_TICKS = 50


class Watchdog:
    """Counts the seconds since a step was finished, by this process and so by all of them.

    `timeout` seconds are too many; `PATIENCE` times as many from a part of the run in `LONG` on
    until the step that it was for, or that came after it, is finished: other processes may take
    longer with it (a program that is in this one's compilation cache is not in theirs), and the
    step waits for them. So it is before the first step. Seconds count only while this process
    runs: a machine that slept is not at fault.

    Args:
        timeout: seconds without a finished step after which this process ends.
        clock: knows which parts of the run are under way.
    """

    def __init__(self, timeout: float, clock: Clock) -> None:
        self._timeout, self._clock = timeout, clock
        self._spent = 0.0
        self._over = threading.Event()
        self._long: str | None = "start"
        self.begun(0)
        clock.notice = self._notice

    def begun(self, step: int) -> None:
        """The run goes on after this many steps, the next of which is this process's first."""
        self._step = self._dispatched = step
        self._patient_until = step + 1

    def dispatched(self, step: int) -> None:
        """This many steps were given to the device, which may still be at them."""
        self._dispatched = step

    def finished(self, step: int) -> None:
        """This many steps have been finished by all processes."""
        if step > self._step:
            self._step, self._spent = step, 0.0
            if step >= self._patient_until:
                self._long = None

    def _notice(self, part: str) -> None:
        if part in LONG:
            self._long, self._patient_until = part, self._dispatched + 1

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
        self._spent += seconds
        limit = self._timeout * (1.0 if self._long is None else PATIENCE)
        if self._spent < limit:
            return None
        after = f"after step {self._step}" if self._step > 0 else "before the first step"
        since = "" if self._long is None else f" and its {self._long}"
        return (
            f"no step was finished in {limit:g} s {after}{since} (now in "
            f"{parts[-1] if parts else 'other'}; train.step_timeout={self._timeout:g}): this or "
            "another process is stuck or gone; if this comes again at the same step, raise "
            "train.step_timeout"
        )

    def close(self) -> None:
        """Stop watching."""
        self._clock.notice = None
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
