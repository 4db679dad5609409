"""Freed memory stays with the process: later steps fault no pages in anew."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
import numpy as np
from jaxreason.training.allocator import keep_freed_memory

thread, keep = sys.argv[1:]
kept = keep == "keep" and keep_freed_memory()

def allocate():
    for _ in range(5):
        block = np.ones(10_000_000)  # 80 MB: more than the arena of a thread can hold
        del block

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if thread == "main":
        allocate()
    else:
        worker = threading.Thread(target=allocate)
        worker.start()
        worker.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults(), int(kept))
"""


def faults(thread: str, keep: str) -> tuple[int, int]:
    """Page faults of the second round of allocations, and whether memory was kept."""
    command = [sys.executable, "-c", PROGRAM, thread, keep]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, kept = map(int, done.stdout.split())
    return count, kept


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc only")
@pytest.mark.parametrize("thread", ["main", "another"])
def test_large_blocks_are_used_again_instead_of_mapped_again(thread):
    before, _ = faults(thread, "leave")
    after, kept = faults(thread, "keep")
    if not kept:
        pytest.skip("the C library has no mallopt")
    assert after * 10 < before
