"""How many programs a command compiled, and how many came out of the compilation cache.

    python experiments/benchmarks/cache_counts.py OUTPUT.json train experiments/maze/tiny.py ...

Runs `jaxreason` with the words after OUTPUT.json in this process and writes what JAX's own
monitoring events say: `requests` for a program, `hits` in the cache, `compiled` (their difference),
`written` to the cache, and the seconds spent compiling or reading.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax

from jaxreason.cli.main import main

EVENTS = {
    "/jax/compilation_cache/compile_requests_use_cache": "requests",
    "/jax/compilation_cache/cache_hits": "hits",
    "/jax/compilation_cache/cache_misses": "written",
}
COMPILING = "/jax/core/compile/backend_compile_duration"
"""Seconds of a request, whether XLA compiled or the cache was read."""


def counting() -> Callable[[], dict[str, float]]:
    """Counts from now on; the function returned says how many there were."""
    counts: Counter[str] = Counter(dict.fromkeys(EVENTS.values(), 0))
    seconds: list[float] = []

    def counted(event: str, **_: str | int) -> None:
        if event in EVENTS:
            counts[EVENTS[event]] += 1

    def timed(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILING:
            seconds.append(duration_secs)

    jax.monitoring.register_event_listener(counted)
    jax.monitoring.register_event_duration_secs_listener(timed)

    def found() -> dict[str, float]:
        compiled = len(seconds) - counts["hits"]
        total = round(sum(seconds), 3)
        return {**counts, "programs": len(seconds), "compiled": compiled, "seconds": total}

    return found


def count(arguments: list[str]) -> dict[str, float]:
    """Runs the command and returns its counts, and its exit code as `code`."""
    found = counting()
    code = main(arguments)
    return {**found(), "code": code}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(count(sys.argv[2:])) + "\n")
