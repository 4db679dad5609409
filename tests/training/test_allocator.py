"""Freed memory stays with the process: later steps fault no pages in anew."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from jaxreason.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = np.ones(4_000_000)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, kept, after = faults(), keep_freed_memory(), (faults(), faults())[1]
print(before, int(kept), after)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc only")
def test_large_blocks_are_used_again_instead_of_mapped_again():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, kept, after = map(int, done.stdout.split())
    if not kept:
        pytest.skip("the C library has no mallopt")
    assert after * 10 < before
