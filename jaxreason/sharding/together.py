"""Several processes end together: with one exit code, and one sentence about what went wrong.

An error on one process leaves the others waiting in a collective that never ends. So a process
that fails says so in the key-value store of JAX's coordinator, where a thread of every other
process looks twice a second. Process 0, whose end would take the store away, leaves last.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxreason.errors import PREEMPTED_EXIT_CODE, FailureError, InputError, describe
from jaxreason.sharding.lost import LOST_EXIT_CODE, end_lost, is_lost, leave_with, say_before_end
from jaxreason.sharding.placement import agree

_ENDED, _LEFT = "jaxreason/ended/", "jaxreason/left/"
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 5.0  # for a process to run into the same error by itself
_PATIENCE_SECONDS = 30.0  # for the others to notice
_LEISURE_SECONDS = 7200.0  # for the others to end when nobody failed: reports, last uploads
_UNTROUBLED = (0, PREEMPTED_EXIT_CODE)


def run_together(work: Callable[[], int]) -> int:
    """Do this process's part of a run; all processes end with the same exit code.

    On a single process this is `work()`. On several, an error that does not say "another process
    is gone" ends all of them with the code it has on its own (`errors.describe`); process 0 prints
    its sentence once. Errors that are bugs show their traceback, too, as a second run may cost
    much. If another process is gone, or has not ended two hours after this one, this one ends with
    exit code 43 (`sharding.lost`).

    Args:
        work: returns an exit code, 0 or 42.

    Returns:
        0 or 42, on all processes; with any other code the process ends here.
    """
    if jax.process_count() == 1:
        return work()
    global _current
    _current = _Together()
    threading.Thread(target=_current.watch, name="jaxreason-together", daemon=True).start()
    try:
        code, sentence = work(), ""
    except BaseException as error:
        code, sentence = _current.failing(error)
    return _current.end(code, sentence)


def tell_others(error: BaseException) -> None:
    """Tell the other processes of an error now, before cleaning up, which may wait for them.

    Without other processes, or outside of `run_together`, nothing happens.
    """
    if _current is not None:
        _current.failing(error)


def same_on_all(config: Any) -> None:
    """Refuse processes that were started with other configs than process 0.

    Args:
        config: nested dicts of plain JSON.

    Raises:
        InputError: on every process; names the fields.
    """
    if jax.process_count() == 1:
        return
    first, *others = (_flatten(item) for item in agree(config))
    for process, other in enumerate(others, 1):
        differing = [
            f"{name} ({other.get(name)!r} there, {first.get(name)!r} on process 0)"
            for name in sorted(first.keys() | other.keys())
            if first.get(name) != other.get(name)
        ]
        if differing:
            raise InputError(
                f"process {process} was started with another config: {', '.join(differing)}; "
                "start all with the same command and experiment file"
            )


def _flatten(tree: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {name: tree}
    items: dict[str, Any] = {}
    for key, value in tree.items():
        items |= _flatten(value, f"{name}.{key}" if name else str(key))
    return items


class _Together:
    """This process's view of how all of them end."""

    def __init__(self) -> None:
        # JAX has no public name for the store; Orbax uses it the same way.
        from jax._src import distributed

        self._store: Any = distributed.global_state.client
        self._index, self._count = jax.process_index(), jax.process_count()
        self._lock = threading.Lock()
        self._mine: tuple[int, str] | None = None
        self._over = threading.Event()
        say_before_end(lambda sentence: self._publish(LOST_EXIT_CODE, sentence))

    def failing(self, error: BaseException) -> tuple[int, str]:
        """(exit code, sentence) of an error on this process, told to the others."""
        if self._mine is not None:
            return self._mine
        if is_lost(error):
            # What was taken for the network may be another fault, to be found by its traceback.
            traceback.print_exception(error)
            first = (str(error).strip().splitlines() or [""])[0]
            end_lost(f"another process cannot be reached any more ({first[:300]})")
        code, sentence = describe(error)
        expected = InputError, FailureError, OSError, KeyboardInterrupt
        if code not in _UNTROUBLED and not isinstance(error, expected):
            traceback.print_exception(error)
        if code not in _UNTROUBLED:
            self._publish(code, sentence)
        return code, sentence

    def watch(self) -> None:
        """End this process when another one has failed and nothing else ends it."""
        deadline: float | None = None
        while not self._over.wait(_POLL_SECONDS):
            failed = {
                process: item
                for process, item in self._read(_ENDED).items()
                if item[0] not in _UNTROUBLED
            }
            if not failed:
                continue
            gone = [process for process, (code, _) in failed.items() if code == LOST_EXIT_CODE]
            if gone:
                end_lost(f"process {gone[0]} ended because it waited in vain")
            patience = _GRACE_SECONDS if self._mine is None else _PATIENCE_SECONDS
            deadline = deadline or time.monotonic() + patience
            if time.monotonic() > deadline:
                code = failed[min(failed)][0]
                self.end(*(self._mine or (code, "")))

    def end(self, code: int, sentence: str) -> int:
        """Wait for the others and end like them; returns only if nobody failed."""
        with self._lock:
            self._publish(code, sentence)
            ended = self._wait_for_all(_ENDED)
            final = _verdict([item[0] for item in ended.values()] or [code])
            if final in _UNTROUBLED:
                self._over.set()
                return final
            leave_with(final)
            if self._index == 0 or 0 not in ended:
                for line in _sentences(ended, self._count):
                    print(f"jaxreason: {line}", file=sys.stderr)
            self._put(_LEFT, [final, ""])
            if self._index == 0:
                self._wait_for_all(_LEFT)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(final)

    def _publish(self, code: int, sentence: str) -> None:
        if self._mine is None:
            self._mine = code, sentence
            self._put(_ENDED, [code, sentence])

    def _put(self, name: str, value: list[Any]) -> None:
        # Without a coordinator there is nobody to tell; the runtime is about to end us for that.
        try:
            self._store.key_value_set(f"{name}{self._index}", json.dumps(value))
        except jax.errors.JaxRuntimeError as error:
            print(f"jaxreason: the coordinator is gone: {error}", file=sys.stderr)

    def _read(self, name: str) -> dict[int, tuple[int, str]]:
        try:
            found = self._store.key_value_dir_get(name)
        except jax.errors.JaxRuntimeError:
            return {}
        return {int(key.rsplit("/", 1)[1]): tuple(json.loads(item)) for key, item in found}

    def _wait_for_all(self, name: str) -> dict[int, tuple[int, str]]:
        """What all have said; after a failure not everyone may be able to."""
        deadline: float | None = None
        late = time.monotonic() + _LEISURE_SECONDS
        while True:
            ended = self._read(name)
            if len(ended) == self._count:
                return ended
            if any(code not in _UNTROUBLED for code, _ in ended.values()) or not ended:
                deadline = deadline or time.monotonic() + _PATIENCE_SECONDS
                if time.monotonic() > deadline:
                    return ended
            elif time.monotonic() > late:
                others = sorted(set(range(self._count)) - ended.keys())
                end_lost(f"processes {others} did not end {_LEISURE_SECONDS:g} s after this one")
            time.sleep(_POLL_SECONDS / 5)


_current: _Together | None = None


def _verdict(codes: list[int]) -> int:
    """The exit code of all: that of bad input or failure first, then lost, stopped, done."""
    failures = [code for code in codes if code not in (*_UNTROUBLED, LOST_EXIT_CODE)]
    return failures[0] if failures else max(codes)


def _sentences(ended: Mapping[int, tuple[int, str]], count: int) -> list[str]:
    """What went wrong, once; with its process where it is not the same on all."""
    said = {process: sentence for process, (_, sentence) in sorted(ended.items()) if sentence}
    if len(said) == count and len(set(said.values())) == 1:
        return [said[0]]
    return [f"process {process}: {sentence}" for process, sentence in said.items()]
