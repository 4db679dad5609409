"""What one device holds of a training step's or a sampler's memory, from the compiled program."""

from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from mesh_cases import Sampling, Training

from jaxreason.sharding.mesh import batch_sharding
from jaxreason.training.judging import ambient
from jaxreason.training.state import abstract_state
from jaxreason.training.step import make_step


def device_bytes(tree: Any) -> int:
    """Bytes that one device holds of arrays given by shape and sharding."""

    def one(leaf: Any) -> int:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return 8
        return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize

    return sum(one(leaf) for leaf in jax.tree.leaves(tree))


def measure(case: Training | Sampling, mesh: Mesh | None) -> dict[str, int]:
    """Bytes of one device by what they are."""
    optimizer = optax.adamw(1e-3) if isinstance(case, Training) else optax.identity()
    rules = {"rules": case.rules} if isinstance(case, Training) else {}
    state = abstract_state(case.init, optimizer, mesh, **rules)
    given = case.batch if isinstance(case, Training) else case.prompts
    rows = None if mesh is None else batch_sharding(mesh)
    shapes: Any = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in given.items()
    }
    if isinstance(case, Training):
        lowered = make_step(case.objective, optimizer, mesh, case.rules).lower(state, shapes)
    else:
        with ambient(mesh):
            lowered = jax.jit(lambda p, x, k: case.sampler(p, x, k)).lower(
                state.params, shapes, jax.random.key(0)
            )
    temporaries = int(lowered.compile().memory_analysis().temp_size_in_bytes)
    parameters, moments = device_bytes(state.params), device_bytes(state.optimizer_state)
    return {
        "parameters": parameters,
        "optimizer": moments,
        "temporaries": temporaries,
        "all": parameters + moments + temporaries,
    }
