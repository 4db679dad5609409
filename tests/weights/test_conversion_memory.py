"""A checkpoint of several gigabytes is converted in the memory of a few tensors."""

import subprocess
import sys

import pytest
from large_checkpoint import large_config, write_large

from jaxreason.weights.folders import open_weights

PROGRAM = """
import sys
from jaxreason.cli.main import main
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
if len(sys.argv) == 1:
    import jax.numpy, jaxreason.training.converting
    jax.numpy.zeros(3).block_until_ready()
else:
    assert main(sys.argv[1:]) == 0
print(peak() // 1024)
"""
LARGEST = 128  # MiB, of a tensor: the embedding
ALLOWED = 4 * LARGEST


def peak(*words):
    """MiB of memory that a command has needed at most."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_four_gigabytes_there_and_back(tmp_path):
    config = large_config(layers=24)
    total = write_large(tmp_path / "published", config)
    assert total > 3.7e9
    baseline = peak()
    assert peak("convert", tmp_path / "published", tmp_path / "run") < baseline + ALLOWED
    assert peak("convert", tmp_path / "run", tmp_path / "back") < baseline + ALLOWED
    first, second = open_weights(tmp_path / "published"), open_weights(tmp_path / "back")
    assert first.shapes == second.shapes
    for name in list(first)[::17]:
        last = second[name].reshape(-1)[-1]
        assert (last, second[name].sum()) == (1, 1), name
