"""SIGTERM means: finish the step, save, and leave with exit code 42 to be started again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import jax
import orbax.checkpoint.utils as orbax_utils
from jax.experimental import multihost_utils

from jaxreason.errors import PREEMPTED_EXIT_CODE, Preempted

__all__ = ["PREEMPTED_EXIT_CODE", "Preempted", "Termination", "keep_count", "termination"]


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
    """Catch SIGTERM inside; on a single process a second one ends it at once, as without us.

    Outside the main thread no handler can be set, so signals are left alone there. With several
    processes JAX's preemption service owns the signal from their start on, and a second one and
    later ones change nothing.
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


def keep_count() -> None:
    """Keep Orbax from asking JAX's preemption service, which only the training loop may ask.

    The service takes every question as news of the step the process is at. Orbax asks with the
    step of a save, from a thread, when the save is complete: the loop is then further on, the
    count goes back, and the step at which all were to stop may be one that has passed, so that
    this SIGTERM and all later ones would be ignored. Orbax has no option for it, and saves nothing
    by itself here.
    """
    orbax_utils.reached_preemption = _not_asked


def _not_asked(step: int) -> bool:
    del step
    return False
