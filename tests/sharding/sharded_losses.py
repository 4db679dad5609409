"""Five training steps of a small transformer on one mesh; run as a script it prints the losses."""

import json
import sys

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxreason.models.transformer import Transformer, TransformerConfig
from jaxreason.objectives.next_token import next_token
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.state import init_state
from jaxreason.training.step import make_step


def packed_batch(rows=8, length=16, vocabulary=24):
    """Rows of two packed examples and some padding."""
    random = np.random.default_rng(0)
    segments = np.repeat([[1] * 7 + [2] * 6 + [0] * 3], rows, axis=0).astype(np.int32)
    positions = np.repeat([[*range(7), *range(6), 0, 0, 0]], rows, axis=0).astype(np.int32)
    return {
        "tokens": random.integers(0, vocabulary, (rows, length)).astype(np.int32),
        "targets_mask": (segments > 0) & (random.random((rows, length)) < 0.7),
        "segments": segments,
        "positions": positions,
    }


def losses(fsdp, tensor, tied=True, accumulation=1, remat="none", chunk=None, features=False):
    """[(loss, gradient norm)] of five steps; `features` splits the embedding the wrong way."""
    config = TransformerConfig(
        24, 2, 16, 4, 2, 4, 32, qkv_bias=True, tied=tied, remat=remat, attention="causal"
    )
    model = Transformer(config)
    devices = jax.devices()[: fsdp * tensor]
    mesh = make_mesh(MeshConfig(fsdp=fsdp, tensor=tensor), devices)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=1, total_steps=10))
    wrong = (Rule(r"(^|/)embedding$", P(None, ("fsdp", "tensor"))),) if features else ()
    rules = (*wrong, *TRANSFORMER_RULES)
    state = init_state(model.init, optimizer, jax.random.key(0), mesh, rules)
    step = make_step(next_token(model, chunk), optimizer, mesh, rules, accumulation)
    found = []
    for _ in range(5):
        state, metrics = step(state, packed_batch())
        total, count = jax.device_get(metrics["loss"])
        found.append((float(total / count), float(metrics["gradient_norm"][0])))
    return found


if __name__ == "__main__":
    for case in json.loads(sys.argv[1]):
        print(json.dumps(losses(**case)), flush=True)
