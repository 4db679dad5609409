"""What a supervised run compiles, its data aside: one description for running and for preflight."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule
from jaxreason.tokens.layouts import LayoutRow
from jaxreason.types import Objective, Params

BatchShapes = Mapping[str, jax.ShapeDtypeStruct]


class TrainingParts(NamedTuple):
    """The pieces of a supervised run that decide its programs.

    Attributes:
        objective: what is minimised.
        model_init: key to parameters; their shapes are also those of parameters read from a base.
        optimizer: of the parameters.
        batch_shapes: every shape that a global batch can have.
        flops_per_token: of training; None where no formula is known.
        rules: where each leaf of the state lives.
    """

    objective: Objective
    model_init: Callable[[Any], Params]
    optimizer: optax.GradientTransformation
    batch_shapes: Sequence[BatchShapes]
    flops_per_token: float | None
    rules: Sequence[Rule] = TRANSFORMER_RULES


def next_token_shapes(rows: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of packed examples, see `data.pipeline.training_batches`."""
    shape = (rows, length)
    return {
        "tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
        "targets_mask": jax.ShapeDtypeStruct(shape, jnp.bool_),
        "segments": jax.ShapeDtypeStruct(shape, jnp.int32),
        "positions": jax.ShapeDtypeStruct(shape, jnp.int32),
    }


def layout_shapes(rows: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of several tasks, see `data.multimodal.mixing.mixed_batches`."""
    shape = (rows, length)
    return {
        "tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
        **{name: jax.ShapeDtypeStruct(shape, jnp.bool_) for name in LayoutRow._fields[1:]},
        "segments": jax.ShapeDtypeStruct(shape, jnp.int32),
        "task": jax.ShapeDtypeStruct((rows,), jnp.int32),
    }
