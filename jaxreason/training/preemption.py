"""SIGTERM means: finish the step, save, and leave with exit code 42 to be started again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import jax
from jax.experimental import multihost_utils

PREEMPTED_EXIT_CODE = 42


class Preempted(Exception):
    """The run was asked to stop, saved a checkpoint and can be continued by the same command.

    The command line exits with `exit_code` = 42, which launchers take as "start me again".
    """

    exit_code = PREEMPTED_EXIT_CODE


class Termination:
    """Whether this run has been asked to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask to stop after the step under way."""
        self._event.set()

    def requested(self, step: int) -> bool:
        """True on all processes at the same step, whichever of them got the signal first."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._event.is_set()


@contextmanager
def termination() -> Iterator[Termination]:
    """Catch SIGTERM inside; a second one ends the process at once, as without us.

    Outside the main thread no handler can be set, so signals are left alone there. With several
    processes JAX's preemption service owns the signal.
    """
    asked = Termination()
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or jax.process_count() > 1:
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
