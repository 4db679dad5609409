"""Peers in a process of their own, which may have another Python: torch, transformers, TRL."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PACKAGES = ("torch", "transformers", "trl")
INSTALL = 'pip install -e ".[oracle]"'
"""What gives the peers to an environment that lacks them."""

Contestant = Callable[[int], float]
"""Runs so many times and returns the seconds spent, waiting included."""


class PeerError(RuntimeError):
    """A peer that is installed and failed."""


@dataclass
class PeerProcess:
    """Peers at work in another process, which prints one JSON object for each it is sent.

    Attributes:
        process: where they are.
        cache: folder of torch's compiler, removed in the end.
        names: of the contestants.
        facts: what the peers said of themselves when they were made.
        told: what each call told, such as its seconds by phase; see `peers/worker.py`.
    """

    process: subprocess.Popen[str]
    cache: tempfile.TemporaryDirectory[str]
    names: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            PeerError: the peer failed, or its process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerError("the peer's process has ended") from error
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"the peer's process ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def contestants(self) -> dict[str, Contestant]:
        """The peers as contestants of `take_turns`; the clock runs in their process."""

        def runner(name: str) -> Contestant:
            def run(times: int) -> float:
                answer = self.ask({"run": name, "times": times})
                self.told.setdefault(name, []).extend(answer.get("told", []))
                return float(answer["seconds"])

            return run

        return {name: runner(name) for name in self.names}

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.cache.cleanup()

    def __enter__(self) -> "PeerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Peer:
    """The Python that peers run in.

    Attributes:
        python: an interpreter; None where none was found.
        versions: of those of `PACKAGES` that it has.
        threads: threads the peers use.
    """

    python: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    threads: int = 2

    def has(self, *packages: str) -> bool:
        """Whether all of these are installed there."""
        return self.python is not None and all(name in self.versions for name in packages)

    def lacks(self, *packages: str) -> str:
        """The command that installs what is not there; "" when all of these are."""
        return "" if self.has(*packages) else INSTALL

    def start(self, module: str, settings: Mapping[str, Any]) -> PeerProcess:
        """The contestants of `peers/<module>.py`, ready to run.

        Args:
            module: has `contestants(settings) -> {name: work}`, and may put facts about what it
                made, as plain JSON, into `settings["facts"]`.
            settings: plain JSON, and what is written in files.

        Raises:
            PeerError: it cannot be made ready.
        """
        assert self.python is not None
        cache = tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True)
        environment = {
            **os.environ,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "TORCHINDUCTOR_CACHE_DIR": cache.name,  # one that no killed process left half written
        }
        process = subprocess.Popen(
            [self.python, str(FOLDER / "peers" / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running = PeerProcess(process, cache)
        try:
            answer = running.ask(
                {"module": module, "threads": self.threads, "settings": dict(settings)}
            )
        except BaseException:
            running.close()
            raise
        running.names, running.facts = tuple(answer["names"]), answer["facts"]
        return running


def usable_cores() -> int:
    """Cores this process may use: fewer than the machine's in a container or a cpuset."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def find_peer(python: str | None, threads: int | None = None) -> Peer:
    """The peers of an interpreter, by default this one's; none where torch is not installed.

    Raises:
        PeerError: the interpreter named does not run or has no torch.
    """
    script = (
        "import importlib.metadata as m, importlib.util as u, json; "
        f"print(json.dumps({{n: m.version(n) for n in {PACKAGES} if u.find_spec(n)}}))"
    )
    chosen = python or sys.executable
    try:
        told = subprocess.run([chosen, "-c", script], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerError(f"--peer-python {chosen} does not run: {error}") from error
    versions = json.loads(told.stdout)
    count = threads or usable_cores()
    if "torch" not in versions:
        if python is not None:
            raise PeerError(f"--peer-python {python} has no torch; there: {INSTALL}")
        return Peer(threads=count)
    return Peer(chosen, versions, count)
