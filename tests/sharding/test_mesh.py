"""Meshes: always the same axes in the same order, and a sentence when the sizes do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxreason.errors import InputError
from jaxreason.sharding.mesh import AXES, BATCH_AXES, MeshConfig, constrain, make_mesh
from jaxreason.sharding.placement import place_batch


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (MeshConfig(), (1, 8, 1, 1)),
        (MeshConfig(fsdp=2, tensor=-1), (1, 2, 4, 1)),
        (MeshConfig(replica=2, fsdp=2, tensor=2), (2, 2, 2, 1)),
        (MeshConfig(fsdp=1, sequence=8), (1, 1, 1, 8)),
    ],
)
def test_axes_and_their_order(config, shape):
    mesh = make_mesh(config)
    assert mesh.axis_names == AXES == ("replica", "fsdp", "tensor", "sequence")
    assert mesh.devices.shape == shape
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"tensor": 3}, r"axis fsdp cannot be filled, 8 devices are not divisible by 3"),
        ({"fsdp": 4, "tensor": 4}, r"fsdp=4 x tensor=4 x sequence=1 needs 16 devices but .* 8"),
        ({"fsdp": 1}, r"needs 1 devices but there are 8"),
    ],
)
def test_indivisible_mesh_names_axis_sizes_and_devices(sizes, message):
    with pytest.raises(InputError, match=message):
        make_mesh(MeshConfig(**sizes))


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="tensor=0"):
        MeshConfig(tensor=0)
    with pytest.raises(InputError, match="fsdp, tensor are all -1"):
        MeshConfig(tensor=-1)


def test_batch_rows_are_split_over_the_batch_axes():
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2))
    rows = np.arange(8 * 3).reshape(8, 3)
    placed = place_batch({"tokens": rows}, mesh)["tokens"]
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 3)}
    np.testing.assert_array_equal(placed, rows)


def test_constrain_does_nothing_without_a_mesh():
    x = jnp.ones((4, 6))
    assert constrain(x, BATCH_AXES, "tensor") is x


def test_constrain_lays_out_what_divides():
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    with jax.set_mesh(mesh):
        y = jax.jit(lambda x: constrain(x * 1, BATCH_AXES, "tensor"))(jnp.ones((8, 6)))
        assert y.sharding.spec == PartitionSpec("fsdp", "tensor")
        odd = jax.jit(lambda x: constrain(x * 1, BATCH_AXES, "tensor"))(jnp.ones((8, 5)))
        assert odd.sharding.shard_shape(odd.shape)[0] == 2
        with pytest.raises(InputError, match="1 entries for an array of shape"):
            constrain(jnp.ones((8, 6)), "fsdp")
