"""`jaxreason launch --processes N -- train ...`: several processes on this machine, kept going."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Any

from jaxreason.cli.launched import check_gpus, ended_with_us, environment, held_port
from jaxreason.cli.processes import take
from jaxreason.errors import InputError

HELP = "several processes of a command on this machine, started again when they stop"

_USAGE = f"""usage: jaxreason launch --processes N [OPTION ...] -- SUBCOMMAND ...

{HELP}.

  --processes N             how many; they meet over the loopback interface
  --devices-per-process K   devices of each (default 1): CPU devices, or, of this machine's
                            GPUs, process i gets numbers i*K to i*K+K-1
  --restarts R              times that all are started again (default 3)
  --grace S                 seconds (default 60) that the others have to end by themselves when
                            one has ended, before they are killed
  --stop-grace S            seconds (default 600) that all have to save and end after SIGTERM,
                            before they are killed

Their lines carry the number of the process. SIGTERM and SIGINT are passed on as SIGTERM: with
`train` a checkpoint is saved, and nothing is started again. A second one kills them, and on Linux
they get SIGTERM when this command itself is killed.

All are started again when one ends with 42 (stopped by SIGTERM), with 43 (a step hung or another
process died) or by a signal; with 1 (failure) or 2 (bad input) never, as that would only repeat.

exit codes: those of the processes; 1 or 2 if one of them gave it
"""
_RESTART = (42, 43)


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        command: subcommand of `jaxreason` and its arguments.
        processes: how many.
        devices: CPU devices or GPUs of each.
        restarts: times that all are started again.
        grace: seconds between a process's end and the killing of those that still run.
        stop_grace: seconds between SIGTERM and the killing of those that still run.
    """

    command: tuple[str, ...]
    processes: int
    devices: int = 1
    restarts: int = 3
    grace: float = 60.0
    stop_grace: float = 600.0

    def __post_init__(self) -> None:
        if not self.command:
            raise InputError("launch has no command; expected -- train FILE ...")
        least = {"processes": 1, "devices": 1, "restarts": 0, "grace": 0, "stop_grace": 0}
        flags = {"devices": "devices-per-process", "stop_grace": "stop-grace"}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InputError(
                    f"--{flags.get(name, name)} is {getattr(self, name)}; it must be at least "
                    f"{smallest}"
                )


def run(argv: Sequence[str]) -> int:
    """Runs the subcommand; returns the exit code of the processes.

    Raises:
        InputError: an option that is unknown or out of range.
    """
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if words else 2
    if "--" not in words:
        raise InputError("launch expects -- and a subcommand after its options: -- train FILE ...")
    options, command = words[: words.index("--")], tuple(words[words.index("--") + 1 :])
    processes = _number(options, "--processes", None)
    launch = Launch(
        command,
        int(processes),
        int(_number(options, "--devices-per-process", 1)),
        int(_number(options, "--restarts", 3)),
        _number(options, "--grace", 60, float),
        _number(options, "--stop-grace", 600, float),
    )
    if options:
        raise InputError(f"unknown argument {options[0]!r} (`jaxreason launch --help` lists all)")
    return run_launch(launch)


def _number(options: list[str], flag: str, default: float | None, kind: Any = int) -> float:
    value = take(options, flag)
    if value is None:
        if default is None:
            raise InputError(f"launch needs {flag} N")
        return default
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{flag} is {value!r}; expected a number") from None


def run_launch(launch: Launch) -> int:
    """Start the processes, again and again if need be, and return their exit code.

    Raises:
        InputError: CUDA_VISIBLE_DEVICES names fewer GPUs than the processes are to have.
    """
    check_gpus(os.environ, launch.processes, launch.devices)
    group = _Group(launch)
    with _Forwarding(group):
        for attempt in range(launch.restarts + 1):
            codes = group.run_once()
            code = _verdict(codes)
            text = ", ".join(_meaning(item) for item in codes)
            if code == 0 or code not in _RESTART or group.asked.is_set():
                break
            left = launch.restarts - attempt
            _say(
                f"processes ended with {text}; "
                + (f"starting all again ({left} restarts left)" if left else "no restarts left")
            )
    if code:
        _say(f"processes ended with {text}")
    return code


def _verdict(codes: Sequence[int]) -> int:
    """One exit code of several: failures that would repeat first, signals count as 43."""
    lasting = [code for code in codes if code > 0 and code not in _RESTART]
    if lasting:
        return lasting[0]
    return max(43 if code < 0 else code for code in codes)


def _meaning(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else str(code)


def _say(text: str) -> None:
    print(f"jaxreason launch: {text}", file=sys.stderr, flush=True)


@dataclass
class _Group:
    """The processes of one start.

    Attributes:
        launch: what to start.
        running: those that were started, the ended ones too.
        asked: set once all are to stop; nothing is started from then on.
    """

    launch: Launch
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)

    def run_once(self) -> list[int]:
        """Start all, wait for all, and return their exit codes (negative: a signal)."""
        self.running = []
        printers: list[threading.Thread] = []
        with held_port() as port:
            for i in range(self.launch.processes):
                if self.asked.is_set():
                    break
                process = self._started(i, f"127.0.0.1:{port}")
                self.running.append(process)
                for stream, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    printer = threading.Thread(
                        target=_prefixed, args=(i, stream, target), daemon=True
                    )
                    printer.start()
                    printers.append(printer)
            if self.asked.is_set():
                # One that was being started when the signal came has not got it yet.
                self.signal_all(signal.SIGTERM)
            self._wait()
        for printer in printers:
            printer.join()
        return [process.returncode for process in self.running] or [-signal.SIGTERM]

    def _started(self, index: int, coordinator: str) -> subprocess.Popen[bytes]:
        count, devices = self.launch.processes, self.launch.devices
        return subprocess.Popen(
            [sys.executable, "-m", "jaxreason.cli.main", *self.launch.command],
            env=environment(os.environ, coordinator, count, index, devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A terminal's Ctrl-C reaches them once, through us.
            start_new_session=True,
            preexec_fn=ended_with_us(),
        )

    def _wait(self) -> None:
        """Wait for all; those that run on after one has ended, or all were told to, are killed."""
        deadlines: dict[str, float] = {}
        while any(process.poll() is None for process in self.running):
            now = time.monotonic()
            if any(process.poll() is not None for process in self.running):
                deadlines.setdefault("one ended", now + self.launch.grace)
            if self.asked.is_set():
                deadlines.setdefault("all were told to", now + self.launch.stop_grace)
            if any(now > deadline for deadline in deadlines.values()):
                self.signal_all(signal.SIGKILL)
            time.sleep(0.05)

    def signal_all(self, number: int) -> None:
        """Send a signal to every process that still runs."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(number)


class _Forwarding:
    """SIGTERM and SIGINT go to all processes as SIGTERM, a second one as SIGKILL."""

    def __init__(self, group: _Group) -> None:
        self._group = group
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        asked = self._group.asked
        self._group.signal_all(signal.SIGKILL if asked.is_set() else signal.SIGTERM)
        asked.set()


def _prefixed(index: int, stream: IO[bytes] | None, target: Any) -> None:
    """Copy lines with the number of their process before them."""
    assert stream is not None
    with stream:
        for line in stream:
            target.write(f"[{index}] {line.decode(errors='replace')}")
            target.flush()
