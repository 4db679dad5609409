"""The mesh changes where the arithmetic happens, not what comes out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sharded_losses

WARNING = "nvoluntary full rematerialization"
MESHES = [(1, 1), (8, 1), (4, 2), (2, 4)]


def in_own_process(cases):
    """Losses of each case, and everything XLA said while compiling."""
    script = str(Path(sharded_losses.__file__))
    # A program from the cache is not compiled, and says nothing.
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    ended = subprocess.run(
        [sys.executable, script, json.dumps(cases)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_meshes_agree_and_nothing_is_silently_replicated(tied):
    cases = [{"fsdp": fsdp, "tensor": tensor, "tied": tied} for fsdp, tensor in MESHES]
    found, said = in_own_process(cases)
    assert len(found) == len(MESHES)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-5)
    assert found[0][0][0] > found[0][-1][0], "five steps on one batch must lower its loss"
    assert WARNING not in said


@pytest.mark.slow
def test_accumulation_remat_and_chunks_agree_on_a_mesh():
    plain = {"fsdp": 2, "tensor": 2}
    cases = [plain, {**plain, "accumulation": 2, "remat": "dots", "chunk": 32}]
    found, said = in_own_process(cases)
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-5)
    assert WARNING not in said


def test_wrong_rule_for_the_embedding_would_be_noticed():
    _, said = in_own_process([{"fsdp": 4, "tensor": 2, "features": True}])
    assert WARNING in said
