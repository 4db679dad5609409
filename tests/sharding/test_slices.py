"""Slices joined by a slow network: only the replica axis crosses it."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from jaxreason.errors import InputError
from jaxreason.sharding.mesh import MeshConfig, make_mesh

SCRIPT = """
import json, sys
from jaxreason.sharding.topologies import prepare_libtpu, topology_devices
prepare_libtpu()
import jax, jax.numpy as jnp
from jaxreason.sharding.mesh import MeshConfig, batch_sharding, make_mesh
mesh = make_mesh(MeshConfig(replica=2, tensor=2), topology_devices("v5e-4", slices=2))
x = jax.ShapeDtypeStruct((8, 128), jnp.float32, sharding=batch_sharding(mesh))
program = jax.jit(lambda x: x.sum()).lower(x).compile()
print(json.dumps([
    [[d.slice_index for d in part.flat] for part in mesh.devices],
    list(mesh.devices.shape),
    "all-reduce" in program.as_text(),
]))
"""


@dataclass(frozen=True)
class Fake:
    """As much of a device as a mesh looks at."""

    id: int
    slice_index: int
    process_index: int
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"
    core_on_chip: int = 0

    @property
    def coords(self):
        return (self.id % 4 % 2, self.id % 4 // 2, 0)


def two_slices(sizes=(4, 4)):
    """Devices of two slices, alternating, as no program should rely on their order."""
    parts = [[Fake(10 * s + i, s, s) for i in range(size)] for s, size in enumerate(sizes)]
    mixed = [d for pair in zip(*parts, strict=False) for d in pair]
    return mixed + [d for part in parts for d in part[len(parts[0]) :]]


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (MeshConfig(replica=2), (2, 4, 1, 1)),
        (MeshConfig(replica=2, fsdp=2, tensor=2), (2, 2, 2, 1)),
        (MeshConfig(replica=4, fsdp=2), (4, 2, 1, 1)),
        (MeshConfig(replica=8, fsdp=1), (8, 1, 1, 1)),
    ],
)
def test_every_replica_lies_in_one_slice(config, shape):
    mesh = make_mesh(config, two_slices())
    assert mesh.devices.shape == shape
    for number, replica in enumerate(mesh.devices):
        assert {d.slice_index for d in replica.flat} == {number * 2 // shape[0]}
    assert len({d.id for d in mesh.devices.flat}) == 8


def test_other_axes_over_slices_are_refused():
    with pytest.raises(InputError, match="replica=1: expected a multiple of the 2 slices"):
        make_mesh(MeshConfig(), two_slices())
    with pytest.raises(InputError, match=r"slices have \[2, 4\] devices"):
        make_mesh(MeshConfig(replica=2), two_slices((2, 4)))


def test_hosts_of_gpus_follow_each_other_along_any_axis():
    gpus = [Fake(i, i // 4, i // 4, "gpu", "NVIDIA H200") for i in (5, 1, 4, 0, 7, 3, 6, 2)]
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2), gpus)
    assert [d.id for d in mesh.devices.flat] == list(range(8))


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_compiler_accepts_a_mesh_over_two_slices():
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=os.environ
    )
    assert ended.returncode == 0, ended.stderr
    slices, shape, reduces = json.loads(ended.stdout.splitlines()[-1])
    assert slices == [[0] * 4, [1] * 4]
    assert shape == [2, 2, 2, 1]
    assert reduces, "the sum over both slices must meet"
