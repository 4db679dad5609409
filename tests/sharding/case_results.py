"""Losses, gradients and samples of the benchmark's cases on one mesh after the other, in a script.

Arguments: names of cases as JSON, meshes as JSON (lists of four sizes). For every case prints one
line of JSON: {"case", and per mesh "loss" and "gradients" (a few sums) or "tokens" and
"log_probabilities"}; the first result is that of one device.
"""

import json
import sys
from functools import cache
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments/benchmarks"))
from mesh_cases import Size, Training, sampling_cases, training_cases

from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.placement import place_everywhere
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.training.judging import ambient, draw

SIZE = Size(chunk=16)
CASES = {**training_cases(SIZE), **sampling_cases(SIZE)}


@cache
def on_host(init):
    """Parameters, and the same for every case that is initialised alike."""
    return jax.device_get(jax.jit(init)(jax.random.key(0)))


def learned(case, mesh):
    """Loss and gradients of one batch, the parameters laid out as in training."""
    params, shardings = on_host(case.init), None
    if mesh is not None:
        shardings = match_rules(case.rules, params, mesh)
        params = jax.device_put(params, shardings)

    def step(params, batch):
        (loss, _), gradients = jax.value_and_grad(case.objective, has_aux=True)(
            params, batch, jax.random.key(1)
        )
        return loss, gradients

    with ambient(mesh):
        run = jax.jit(step, out_shardings=None if mesh is None else (None, shardings))
        loss, gradients = run(params, place_everywhere(dict(case.batch), mesh))
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(jax.device_get(gradients))])
    weights = np.cos(np.arange(flat.size))
    return {"loss": float(loss), "gradients": [float(flat @ weights), float(flat @ flat)]}


def sampled(case, mesh):
    """Tokens or codes, and their log-probabilities."""
    params = on_host(case.init)
    if mesh is not None:
        params = jax.device_put(params, match_rules(TRANSFORMER_RULES, params, mesh))
    found = draw(case.sampler, params, dict(case.prompts), jax.random.key(2), mesh)
    return {
        "tokens": np.asarray(found[0]).tolist(),
        "log_probabilities": np.asarray(found.log_probabilities).tolist(),
    }


def mesh_of(sizes):
    if sizes is None:
        return None
    devices = jax.devices()[: int(np.prod(sizes))]
    return make_mesh(MeshConfig(*sizes), devices)


def main(names, meshes):
    for name in names:
        case = CASES[name]()
        run = learned if isinstance(case, Training) else sampled
        results = [run(case, mesh_of(sizes)) for sizes in [None, *meshes]]
        print(json.dumps({"case": name, "results": results}), flush=True)


if __name__ == "__main__":
    main(*map(json.loads, sys.argv[1:]))
