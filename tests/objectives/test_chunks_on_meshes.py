"""Chunks of logits on a mesh: every device its own tokens, the head's gradient summed once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.objectives.chunks import over_chunks
from jaxreason.sharding.mesh import BATCH_AXES, MeshConfig, make_mesh


def _values(head, hidden, targets):
    logits = (hidden.astype(jnp.bfloat16) @ head.astype(jnp.bfloat16)).astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - chosen, logits.max(axis=1)


def _gradient(chunk):
    def loss(head, hidden, targets):
        return over_chunks(_values, head, hidden, targets, chunk)[0].mean()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


@pytest.fixture(scope="module")
def arrays():
    keys = jax.random.split(jax.random.key(0), 3)
    head = jax.random.normal(keys[0], (16, 24))
    hidden = jax.random.normal(keys[1], (8, 32, 16))
    return head, hidden, jax.random.randint(keys[2], (8, 32), 0, 24)


def test_the_heads_gradient_is_summed_over_devices_once_and_in_its_own_precision(arrays):
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, sequence=2))
    everywhere = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec(BATCH_AXES, "sequence"))
    placed = [jax.device_put(arrays[0], everywhere), *jax.device_put(arrays[1:], rows)]
    with jax.set_mesh(mesh):
        lowered = _gradient(8).lower(*placed)
        found = lowered.compile()(*placed)
    sums = re.findall(r"all_reduce.*?-> (tensor<[^>]*>)", lowered.as_text(), re.DOTALL)
    assert sums == ["tensor<16x24xf32>"]
    for one, many in zip(_gradient(None)(*arrays), found, strict=True):
        np.testing.assert_allclose(one, many, atol=1e-3)  # bfloat16 products
