"""One step of a Hugging Face trainer at a time: `train` runs in a thread that waits at each."""

import threading
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class Gate(TrainerCallback):
    """Lets a trainer do one optimizer step whenever it is asked to."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Waits."""
        self.go.acquire()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Says so."""
        self.done.release()


def one_by_one(trainer: Any) -> Callable[[], None]:
    """A function that does the trainer's next step and waits for it."""
    gate = Gate()
    trainer.add_callback(gate)

    def train() -> None:
        try:
            trainer.train()
            gate.error = RuntimeError("the trainer has done all its steps")
        except BaseException as error:
            gate.error = error
        gate.done.release()

    threading.Thread(target=train, daemon=True).start()

    def step() -> None:
        gate.go.release()
        gate.done.acquire()
        if gate.error is not None:
            raise gate.error

    return step


class Phases:
    """Seconds by phase, from methods of an object that are wrapped."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []

    def wrap(self, target: Any, method: str, phase: str, only_within: str = "") -> None:
        """Counts the time of `target.method` as `phase`; calls inside another phase do not count.

        Args:
            target: whose method.
            method: its name.
            phase: counted as.
            only_within: counted only while this phase is open, which it is taken from.
        """
        inner = getattr(target, method)

        def timed(*given: Any, **named: Any) -> Any:
            parent = self._open[-1] if self._open else ""
            if parent != only_within:
                return inner(*given, **named)
            self._open.append(phase)
            start = time.perf_counter()
            try:
                return inner(*given, **named)
            finally:
                spent = time.perf_counter() - start
                self._open.pop()
                self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
                if parent:
                    self.seconds[parent] = self.seconds.get(parent, 0.0) - spent

        setattr(target, method, timed)

    def take(self) -> dict[str, float]:
        """The seconds since the last call."""
        found, self.seconds = self.seconds, {}
        return found
