"""Which kernels a step spends its time in, from JAX's own profiler."""

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def largest_costs(work: Callable[[], Any], most: int = 15) -> list[dict[str, Any]]:
    """The longest events on the device while `work` runs once, by name.

    Returns:
        `name`, `seconds` and `share` of all device time; on a machine without accelerators, of the
        events of XLA's threads. Empty if the profiler saw none.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(work())
        events = [
            event
            for path in Path(folder).rglob("*.trace.json.gz")
            for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
        ]
    return summary(events, most)


def summary(events: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Sums the complete events of device tracks, see `largest_costs`; times are microseconds.

    On GPUs the lines named after streams hold kernels; others hold the same time again by module,
    step or source.
    """
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    threads = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"
    }
    devices = {pid for pid, name in processes.items() if "/device:" in name}

    def counts(event: dict[str, Any]) -> bool:
        thread = threads.get((event["pid"], event.get("tid")), "")
        if devices:
            return event["pid"] in devices and thread.startswith(("Stream", "XLA Ops"))
        return "hlo_op" in event.get("args", {})

    seconds: Counter[str] = Counter()
    for event in events:
        if event.get("ph") == "X" and counts(event):
            seconds[event["name"]] += event["dur"] / 1e6
    total = sum(seconds.values())
    return [
        {"name": name, "seconds": spent, "share": spent / total}
        for name, spent in seconds.most_common(most)
    ]
