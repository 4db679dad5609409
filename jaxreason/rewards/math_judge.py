"""Whether answers equal what was expected, by math-verify in processes that can be ended.

math-verify limits its time by an alarm, which works in the main thread of a process only and
reaches no long computation in C. Here each comparison runs in a worker process with a limit of
time and memory, from any thread; a worker that overruns is killed and started anew.
"""

import atexit
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from jaxreason.errors import FailureError, InputError

START_SECONDS = 300.0
"""A worker imports SymPy before it is ready; on a busy machine that takes long."""

GRACE_SECONDS = 2.0
"""What a worker's own alarm may be late by before the worker is killed."""

PER_WORKER = 32
"""Comparisons that are worth starting another worker for."""

INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,18})")


class MathVerdict(NamedTuple):
    """What is said of one answer.

    Attributes:
        correct: it equals the expected one.
        answered: it could be read as an answer.
        undecided: limits of time or memory, or an error, ended the comparison; not correct then.
    """

    correct: bool
    answered: bool
    undecided: bool


class MathJudge:
    """A pool of worker processes, started as they are needed; safe to use from threads.

    Args:
        seconds: limit of one comparison.
        workers: how many processes at most; by default the cores of the machine, up to 8.

    Raises:
        InputError: a number out of range, or math-verify is not installed.
    """

    def __init__(self, seconds: float = 5.0, workers: int | None = None) -> None:
        if not 0 < seconds < float("inf"):
            raise InputError(f"seconds is {seconds}; expected more than 0")
        if workers is not None and workers < 1:
            raise InputError(f"workers is {workers}; it must be at least 1")
        check_math_verify()
        self.seconds = seconds
        self._workers = [Worker() for _ in range(workers or min(8, os.cpu_count() or 1))]
        self._locks = [threading.Lock() for _ in self._workers]
        atexit.register(self.close)

    def __call__(self, golds: Sequence[str], answers: Sequence[str]) -> list[MathVerdict]:
        """One verdict per pair; equal pairs are compared once.

        Args:
            golds: what was expected, in LaTeX or plain.
            answers: what is to be judged: an expression, or text to find one in.

        Raises:
            FailureError: a worker cannot be started.
        """
        pairs = list(zip(golds, answers, strict=True))
        known: dict[tuple[str, str], MathVerdict] = {}
        unknown: list[tuple[str, str]] = []
        for pair in dict.fromkeys(pairs):
            verdict = at_once(*pair)
            if verdict is None:
                unknown.append(pair)
            else:
                known[pair] = verdict
        if unknown:
            parts = min(len(self._workers), -(-len(unknown) // PER_WORKER))
            with ThreadPoolExecutor(parts) as threads:
                shares = [unknown[i::parts] for i in range(parts)]
                for share, found in zip(
                    shares, threads.map(self._judge, range(parts), shares), strict=True
                ):
                    known.update(zip(share, found, strict=True))
        return [known[pair] for pair in pairs]

    def _judge(self, index: int, pairs: Sequence[tuple[str, str]]) -> list[MathVerdict]:
        with self._locks[index]:
            return [self._workers[index].ask(*pair, self.seconds) for pair in pairs]

    def close(self) -> None:
        """End all workers; they start again when asked."""
        for worker in self._workers:
            worker.end()


class Worker:
    """One process; started at the first question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, gold: str, answer: str, seconds: float) -> MathVerdict:
        """The verdict of one pair; undecided if the process overruns or dies of it."""
        if self._process is None:
            self._start()
        reply = self._exchange(json.dumps([gold, answer, seconds]), seconds + GRACE_SECONDS)
        if not reply:
            self.end()
            return MathVerdict(False, True, True)
        return MathVerdict(*json.loads(reply))

    def _start(self) -> None:
        script = Path(__file__).with_name("math_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            encoding="utf-8",
        )
        if self._exchange(None, START_SECONDS) != "ready\n":
            self.end()
            raise FailureError(
                f"the process that judges answers did not start: {sys.executable} {script}; see "
                "whether `python -c 'import math_verify'` works"
            )

    def _exchange(self, line: str | None, seconds: float) -> str:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            if line is not None:
                process.stdin.write(line + "\n")
            return process.stdout.readline()
        except OSError:
            return ""  # it died of the question before
        finally:
            timer.cancel()

    def end(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except OSError:
                        continue  # unsent bytes for a process that is gone


def at_once(gold: str, answer: str) -> MathVerdict | None:
    """The verdict of two whole numbers, and of nothing at all; None if more is to be done."""
    if not answer.strip():
        return MathVerdict(False, False, False)
    if INTEGER.fullmatch(gold) and INTEGER.fullmatch(answer):
        same = int(gold.replace(",", "")) == int(answer.replace(",", ""))
        return MathVerdict(same, True, False)
    return None


def check_math_verify() -> None:
    """Refuse to go on without math-verify.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise InputError(
            "mathematical answers are judged by math-verify, which is not installed: "
            "pip install 'jaxreason[math]'"
        )
