"""Ending a process that waits in vain for another one: all stacks, one sentence, exit code 43.

A process cannot tell by itself that another one has died. JAX's runtime finds out by heartbeats
(100 s without one, or at once when process 0 is gone) and then aborts the process, which here
becomes exit code 43, too. Until then a collective waits for ever, or raises an error of the
network; `training.watchdog` ends such waits sooner.
"""

import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

LOST_EXIT_CODE = 43
"""A step hung or another process died: the last checkpoint is kept, start again."""

_WRITE_SECONDS = 10.0
_NETWORK = (
    *("Connection reset", "Connection closed", "Connection refused", "Broken pipe"),
    *("Socket closed", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "Barrier timed out"),
    *("coordination service", "coordination_service"),
)
_NETWORK_OF_CPUS = ("Gloo", "ABORTED", "CANCELLED")
_NETWORK_OF_GPUS = (
    *("remote process", "network error", "ncclRemoteError"),
    *("unhandled system error", "ncclSystemError"),
)
"""NCCL names itself in every error, of which most (a wrong use, a device that is full) would come
again."""


@dataclass
class _Ending:
    """What this process does when it has to end at once."""

    process: int = 0
    reason: str = "the runtime aborted this process"
    directory: Any = None
    code: int | None = None
    before: list[Callable[[str], None]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)


_ending = _Ending()


def is_lost(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that another process cannot be reached."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            break
        name = type(seen).__name__
        if name in ("JaxRuntimeError", "XlaRuntimeError", "BarrierTimeoutException"):
            text = str(seen)
            more = _NETWORK_OF_GPUS if "nccl" in text.lower() else _NETWORK_OF_CPUS
            return any(word in text for word in (*_NETWORK, *more))
        seen = seen.__cause__ or seen.__context__
    return False


def stacks_into(run_directory: Any) -> None:
    """Keep stacks in `stacks/process-<i>.txt` of this run directory from now on."""
    _ending.directory = run_directory


def say_before_end(tell: Callable[[str], None]) -> None:
    """Call `tell(sentence)` when this process ends as lost, for those who wait for it."""
    _ending.before.append(tell)


def leave_with(code: int) -> None:
    """This process is about to end with `code`; an abort meanwhile does not change that."""
    _ending.code = code


def stacks() -> str:
    """What every Python thread of this process is doing now."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()


def end_lost(sentence: str) -> NoReturn:
    """Write all stacks to standard error and to the run directory, and end with exit code 43.

    Nothing else of this process runs any more; what was being saved stays incomplete and is
    cleaned up by the next start.
    """
    if not _ending.lock.acquire(blocking=False):
        threading.Event().wait()  # another thread is ending this process
    if _ending.code is not None:
        os._exit(_ending.code)
    text = f"jaxreason: process {_ending.process}: {sentence}"
    dump = stacks()
    print(f"{dump}\n{text}; start again to go on from the last checkpoint", file=sys.stderr)
    # A file system or a coordinator that hangs must not keep this process.
    errand = threading.Thread(target=_last_errands, args=(text, dump), daemon=True)
    errand.start()
    errand.join(_WRITE_SECONDS)
    sys.stderr.flush()
    os._exit(LOST_EXIT_CODE)


def _last_errands(text: str, dump: str) -> None:
    if _ending.directory is not None:
        path = _ending.directory / "stacks" / f"process-{_ending.process}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = path.read_text() if path.exists() else ""
        when = time.strftime("%Y-%m-%d %H:%M:%S %z")
        path.write_text(f"{earlier}{when} {text}\n\n{dump}\n")
    # Last, as the coordinator may be what is gone.
    for tell in _ending.before:
        tell(text)


def end_on_abort(process: int, reason: str) -> None:
    """From now on an abort of the runtime ends this process as lost, because of `reason`.

    JAX's distributed runtime ends processes through `abort()` when it misses another one, and lets
    no Python code decide. Its hook for that, `missed_heartbeat_callback`, itself aborts in the
    versions at hand, so the signal is caught.

    The handler is Python, so it cannot run while another thread keeps the interpreter's lock in
    native code, and an abort out of the allocator may find its lock taken: such a process hangs
    instead of ending, without stacks. What launched it then ends it, because the others end with
    43; a handler without Python would end every abort by the signal, without a code and stacks.
    """
    _ending.process, _ending.reason = process, reason
    handler = ctypes.CDLL(None).signal
    handler.argtypes, handler.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    handler(signal.SIGABRT, ctypes.cast(_on_abort, ctypes.c_void_p))


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(number: int) -> None:
    end_lost(_ending.reason)
