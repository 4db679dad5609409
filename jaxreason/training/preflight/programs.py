"""The programs a training run will call, ready to be compiled from shapes alone."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxreason.errors import InputError
from jaxreason.models.lora import lora_mask
from jaxreason.sharding.mesh import batch_sharding
from jaxreason.training.parts import TrainingParts
from jaxreason.training.state import TrainState, abstract_state
from jaxreason.training.step import Step, make_step


class Planned(NamedTuple):
    """One program of a run.

    Attributes:
        name: what it does.
        lower: traces it for the mesh; `.compile()` of the result compiles it.
        arguments: what it is given, by category: name to bytes on one device.
        resident: what else lies on a device while it runs, the same way.
        flops: model FLOPs of one call over all devices; None where no formula is known.
        calls: calls in one training step.
        donated: bytes on one device that it should write over in place.
        seen: share of the keys that a query attends to, for kernels that do not say.
        gradients: bytes on one device of one set of gradients, which are among the temporaries.
    """

    name: str
    lower: Callable[[], Any]
    arguments: Mapping[str, int]
    resident: Mapping[str, int]
    flops: float | None
    calls: float
    donated: int
    seen: float = 1.0
    gradients: int = 0


def planned_programs(experiment: Any, mesh: Mesh) -> list[Planned]:
    """The programs of a training step of `experiment.run` on this mesh, the update first.

    What is called besides, at evaluations and before the first step, is not among them.

    Raises:
        InputError: an experiment of a kind that is not trained, or fields that do not fit.
    """
    causal = getattr(getattr(experiment, "model", None), "attention", "") == "causal"
    kind = getattr(experiment, "kind", "")
    causal = causal or kind in ("reinforcement", "preference") or kind.startswith("language_")
    return [one._replace(seen=0.5 if causal else 1.0) for one in _programs(experiment, mesh)]


def _programs(experiment: Any, mesh: Mesh) -> list[Planned]:
    if hasattr(experiment, "parts"):
        parts, accumulation = experiment.parts(mesh), experiment.train.accumulation
        resident = {}
        if "language_" in getattr(experiment, "kind", ""):
            from jaxreason.training.preflight.policies import base_bytes, placed_base

            resident = base_bytes(experiment, placed_base(experiment, mesh), mesh)
        elif getattr(experiment, "base", ""):
            # The state begins as a copy of a base's parameters, which stay where they are.
            state = abstract_state(parts.model_init, parts.optimizer, mesh, parts.rules)
            resident = {"base": device_bytes(state.params)}
        return supervised_programs(parts, mesh, accumulation, resident)
    if experiment.kind in ("reinforcement", "language_reinforcement"):
        from jaxreason.training.preflight.policies import reinforcement_programs

        return reinforcement_programs(experiment, mesh)
    if experiment.kind in ("diffusion_reinforcement", "diffusion_language_reinforcement"):
        from jaxreason.training.preflight.diffusion_policies import (
            diffusion_reinforcement_programs,
        )

        return diffusion_reinforcement_programs(experiment, mesh)
    if experiment.kind == "preference":
        from jaxreason.training.preflight.preferences import preference_programs

        return preference_programs(experiment, mesh)
    raise InputError(
        f"the file defines a {type(experiment).__name__}, which is not trained: there is nothing "
        "to compile"
    )


def supervised_programs(
    parts: TrainingParts, mesh: Mesh, accumulation: int, resident: Mapping[str, int] | None = None
) -> list[Planned]:
    """The training step for each shape that a batch can have; `resident` as in `Planned`."""
    step = make_step(parts.objective, parts.optimizer, mesh, parts.rules, accumulation)
    state = abstract_state(parts.model_init, parts.optimizer, mesh, parts.rules)
    several = len(parts.batch_shapes) > 1
    found = []
    for shapes in parts.batch_shapes:
        first = next(iter(shapes.values())).shape
        name = f"training step {'x'.join(map(str, first))}" if several else "training step"
        found.append(
            update_program(name, step, state, shapes, parts.flops_per_token, 1.0, resident)
        )
    return found


def update_program(
    name: str,
    step: Step,
    state: TrainState,
    shapes: Mapping[str, Any],
    flops_per_token: float | None,
    calls: float = 1.0,
    resident: Mapping[str, int] | None = None,
) -> Planned:
    """A training step; the other arguments are fields of `Planned`."""
    assert step.mesh is not None
    tokens = math.prod(shapes["tokens"].shape) if "tokens" in shapes else 0
    held = state_bytes(state)
    low_rank = lora_mask(state.params)
    trained = state.params
    if any(jax.tree.leaves(low_rank)):
        trained = jax.tree.map(lambda x, wanted: x if wanted else None, trained, low_rank)
    return Planned(
        name=name,
        lower=lambda: step.lower(state, dict(shapes)),
        arguments={**held, "batch": batch_bytes(shapes, step.mesh)},
        resident=resident or {},
        flops=flops_per_token * tokens if flops_per_token else None,
        calls=calls,
        donated=sum(held.values()),
        gradients=device_bytes(trained),
    )


_MASK_FIELDS = {"mask", "indices", "ever_updated", "changed", "sparsity"}
"""Of the states in `jaxreason.masks`."""


def state_bytes(state: TrainState) -> dict[str, int]:
    """Bytes of a state on one device, by what they are."""
    masks: list[Any] = []
    moments: list[Any] = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer_state):
        # What `masks` keeps in a state: masks in any form, and what is tracked of updates.
        names = {getattr(key, "name", None) for key in path}
        (masks if names & _MASK_FIELDS else moments).append(leaf)
    rest = state._replace(params={}, optimizer_state=(), auxiliary=None)
    found = {
        "parameters": device_bytes(state.params),
        "optimizer": device_bytes(moments),
        "masks": device_bytes(masks),
        "counters": device_bytes(rest),
    }
    if state.auxiliary is not None:
        found["second network"] = device_bytes(state.auxiliary)
    return {name: count for name, count in found.items() if count}


def batch_bytes(shapes: Mapping[str, Any], mesh: Mesh) -> int:
    """Bytes of a batch on one device, its rows split over the mesh."""
    placed = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding(mesh))
        for name, x in shapes.items()
    }
    return device_bytes(placed)


def device_bytes(tree: Any) -> int:
    """Bytes of a tree of shapes with shardings on one device."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.shape
        if isinstance(leaf.sharding, NamedSharding):
            shape = leaf.sharding.shard_shape(shape)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct((), leaf.dtype))
            total += math.prod(shape) * data.size * data.dtype.itemsize
        else:
            total += math.prod(shape) * leaf.dtype.itemsize
    return total
