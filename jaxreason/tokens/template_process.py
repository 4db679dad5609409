"""The process that renders templates, seen from outside: one per process that needs it."""

import atexit
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.errors import FailureError, InputError

SECONDS = 10.0
"""Of processor time, for one rendering."""
MEMORY = 1 << 30
"""Bytes of address space of the process that renders."""

_PROGRAM = Path(__file__).with_name("template_worker.py")


class Answer(NamedTuple):
    """What came of a request.

    Attributes:
        kind: "" if it went well; "syntax", "template", "long", "memory" or "time" if not.
        error: more about that.
        text: what was rendered.
        spans: (start, end) of what stood inside generation tags.
    """

    kind: str = ""
    error: str = ""
    text: str = ""
    spans: tuple[tuple[int, int], ...] = ()


class TemplateProcess:
    """Starts the program when it is first asked, and again after it was ended."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: dict[str, Any]) -> Answer:
        """The answer to one request; see `template_worker.rendered`.

        Raises:
            InputError: jinja2 is not installed, or too old to be a sandbox; the request is no JSON.
            FailureError: the process cannot be started, or was ended by somebody else.
        """
        try:
            line = json.dumps(request).encode() + b"\n"
        except (RecursionError, ValueError, TypeError) as error:
            raise InputError(f"the messages cannot be written as JSON: {error}") from error
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(line)
                process.stdin.flush()
                answer = process.stdout.readline()
            except BaseException as error:
                self._stop()  # what it would answer now answers nothing that is asked later
                if not isinstance(error, BrokenPipeError):
                    raise
                answer = b""
            if answer.endswith(b"\n"):
                return Answer(**json.loads(answer))
            code = process.wait()
            self._stop()
        if code == -signal.SIGPROF:
            return Answer("time")
        raise FailureError(f"the process that renders chat templates ended with code {code}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid():
            if self._process.poll() is None:
                return self._process
            self._stop()
        _check_jinja()
        command = [sys.executable, "-P", str(_PROGRAM), str(self.seconds), str(self.memory)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1
            )
        except OSError as error:
            raise FailureError(f"no process to render chat templates: {error}") from error
        self._owner = os.getpid()
        atexit.register(self._stop)
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        atexit.unregister(self._stop)
        if process is None or self._owner != os.getpid():
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()


def _check_jinja() -> None:
    if importlib.util.find_spec("jinja2") is None:
        raise InputError(
            "chat templates need jinja2; install it with `pip install 'jaxreason[hf]'`"
        )
    found = version("jinja2")
    if tuple(int(part) for part in found.split(".")[:3] if part.isdecimal()) < (3, 1, 6):
        raise InputError(
            f"jinja2 is {found}, whose sandbox has known holes; chat templates need 3.1.6 or later"
        )


PROCESS = TemplateProcess()
