"""What every benchmark of the suite gives and gets: rows with ratios, and peers in a process.

A benchmark is a module with `measure(quick: bool, peer: Peer) -> list[Row]`; `run.py` runs them
all. Ours and its peers take turns within a round, so that what else the machine does hits all
alike; a ratio is the median of the ratios within the rounds, never a ratio of two medians, and
figures are medians over rounds. A peer that is not installed leaves a row without a ratio.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        benchmark: name of the module that measured it.
        case: what was done, with its shapes.
        value: our figure; None where only a share or a ratio means anything.
        unit: of `value` and `peer_value`.
        peer: what it is compared with; "" without any.
        peer_value: the peer's figure in this run.
        ratio: times as fast as the peer (above 1: ours is faster), median over rounds.
        quartiles: of the ratio over rounds.
        at_least: the ratio that is the goal, where there is one.
        value_at_least: the smallest `value` that is the goal, where there is one.
        at_most: the largest `value` that is the goal, where there is one.
        missing: the command that installs a peer which was not there.
        note: anything else a reader must know.
    """

    benchmark: str
    case: str
    value: float | None
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    at_least: float | None = None
    value_at_least: float | None = None
    at_most: float | None = None
    missing: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, or with nothing to hold against it."""
        if self.at_least is not None and self.ratio is not None:
            return self.ratio >= self.at_least
        if self.value is None:
            return None
        if self.value_at_least is not None:
            return self.value >= self.value_at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


def contestant(work: Callable[[], Any]) -> Contestant:
    """A function of this process that waits for its own result."""

    def run(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        return time.perf_counter() - start

    return run


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int, times: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of every contestant in every round, after one unmeasured call of each."""
    for run in contestants.values():
        run(1)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            seconds[name].append(run(times) / times)
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """`ratio` and `quartiles` of a row from seconds in the same rounds, or nothing without any."""
    if not theirs:
        return {}
    found = sorted(peer / own for own, peer in zip(ours, theirs, strict=True))
    cuts = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return {"ratio": statistics.median(found), "quartiles": (cuts[0], cuts[2])}


def against(
    seconds: Mapping[str, Sequence[float]],
    ours: str,
    peers: Iterable[str],
    work: float,
    **row: Any,
) -> list[Row]:
    """A row for ours against each peer that was measured beside it.

    Args:
        seconds: of `take_turns`.
        ours: its name there.
        peers: their names there; those that were not measured are left out.
        work: units of work in one call; `value` is work per second.
        **row: the other fields of the rows.
    """
    value = work / statistics.median(seconds[ours])
    present = [name for name in peers if name in seconds]
    if not present:
        return [Row(value=value, **row)]
    return [
        Row(
            value=value,
            peer=name,
            peer_value=work / statistics.median(seconds[name]),
            **ratio(seconds[ours], seconds[name]),
            **row,
        )
        for name in present
    ]


@dataclass
class PeerProcess:
    """Peers at work in another process, which prints one JSON object for each it is sent.

    Attributes:
        process: where they are.
        names: of the contestants.
        facts: what the peers said of themselves when they were made.
        told: what each call told, such as its seconds by phase; see `peers/worker.py`.
    """

    process: subprocess.Popen[str]
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
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(
            [self.python, str(FOLDER / "peers" / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running = PeerProcess(process)
        try:
            answer = running.ask(
                {"module": module, "threads": self.threads, "settings": dict(settings)}
            )
        except BaseException:
            running.close()
            raise
        running.names, running.facts = tuple(answer["names"]), answer["facts"]
        return running


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
    count = threads or os.cpu_count() or 1
    if "torch" not in versions:
        if python is not None:
            raise PeerError(f"--peer-python {python} has no torch; there: {INSTALL}")
        return Peer(threads=count)
    return Peer(chosen, versions, count)
