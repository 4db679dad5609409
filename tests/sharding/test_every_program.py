"""Every objective and every sampler under every mesh: where it is computed changes nothing.

Losses, gradients and samples on one device against those on meshes over eight, and no tensor is
silently replicated on the way.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import case_results
import numpy as np
import pytest

WARNING = "nvoluntary full rematerialization"
MESHES = [(8, 1, 1, 1), (1, 8, 1, 1), (2, 2, 2, 1), (1, 2, 2, 2), (1, 1, 4, 2)]
QUICK = ["masked diffusion", "UniGRPO", "words"]


def check(names, meshes):
    """Compare in a process of its own, where everything that is said while compiling is heard."""
    ended = subprocess.run(
        [sys.executable, str(Path(case_results.__file__)), json.dumps(names), json.dumps(meshes)],
        capture_output=True,
        text=True,
        check=False,
        # A program from the cache is not compiled, and says nothing.
        env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    assert ended.returncode == 0, ended.stderr
    assert WARNING not in ended.stderr
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [case["case"] for case in found] == names
    for case in found:
        alone, *others = case["results"]
        assert len(others) == len(meshes)
        for mesh, other in zip(meshes, others, strict=True):
            for name, expected in alone.items():
                message = f"{name} of {case['case']} on {mesh}"
                if name == "tokens":
                    np.testing.assert_array_equal(other[name], expected, message)
                else:
                    np.testing.assert_allclose(
                        other[name], expected, rtol=1e-5, atol=1e-5, err_msg=message
                    )


def test_representatives_agree_with_one_device():
    check(QUICK, [(1, 2, 2, 2)])


@pytest.mark.slow  # five programs each
@pytest.mark.parametrize("name", case_results.CASES)
def test_every_program_agrees_on_every_mesh(name):
    check([name], MESHES)
