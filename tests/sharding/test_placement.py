"""Shares of a batch: which rows a process loads, and whole arrays on every host."""

import os

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.placement import (
    Share,
    _owners,
    agree,
    data_share,
    gather_rows,
    place_everywhere,
    to_host,
)


@given(st.integers(1, 16), st.integers(1, 16))
def test_the_shares_of_a_batch_cover_its_rows_once(count, rows_each):
    total = count * rows_each
    rows = [row for i in range(count) for row in range(total)[Share(i, count).rows(total)]]
    assert rows == list(range(total))


def test_rows_that_do_not_split_are_refused():
    with pytest.raises(InputError, match="10 rows cannot be split over 4 shares"):
        Share(0, 4).rows(10)


def test_one_process_holds_everything():
    mesh = make_mesh(MeshConfig(replica=2, tensor=2))
    assert data_share(None) == data_share(mesh) == Share(0, 1)
    rows = {"rewards": np.arange(4) / 3, "names": np.arange(4)}
    assert gather_rows(rows, mesh) is rows
    assert agree({"step": 3}) == [{"step": 3}]


def test_whole_arrays_come_back_from_any_mesh_as_they_were():
    rows = {"tokens": np.arange(24, dtype=np.int32).reshape(8, 3), "mask": np.eye(8, dtype=bool)}
    for mesh in (None, make_mesh(MeshConfig()), make_mesh(MeshConfig(fsdp=2, tensor=2, replica=2))):
        placed = place_everywhere(rows, mesh)
        if mesh is not None:
            ways = mesh.shape["replica"] * mesh.shape["fsdp"]
            assert placed["tokens"].addressable_shards[0].data.shape == (8 // ways, 3)
        jax.tree.map(np.testing.assert_array_equal, to_host(placed), rows)


def _topology(name):
    pytest.importorskip("libtpu")
    from jax.experimental import topologies

    # Without these libtpu waits for a metadata server, or for another process that uses it.
    os.environ.update(TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices


@pytest.mark.parametrize(
    ("config", "shares", "processes_each"),
    [
        (MeshConfig(), 4, 1),
        (MeshConfig(tensor=2), 4, 1),
        (MeshConfig(tensor=4), 2, 2),
        (MeshConfig(fsdp=1, tensor=-1), 1, 4),
    ],
)
def test_hosts_joined_by_a_tensor_axis_have_the_same_share(config, shares, processes_each):
    devices = _topology("v5e:4x4")  # four hosts of four chips
    owners = _owners(make_mesh(config, devices))
    assert [len(processes) for processes in owners] == [processes_each] * shares
    assert sorted(p for processes in owners for p in processes) == [0, 1, 2, 3]


def test_axes_that_share_a_dimension_of_the_torus_find_a_layout():
    devices = _topology("v5p:2x2x4")
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2, sequence=2), devices)
    assert {device.id for device in mesh.devices.flat} == {device.id for device in devices}
