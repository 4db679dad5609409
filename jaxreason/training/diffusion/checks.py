"""What supervised diffusion experiments check before any long work."""

import math

import jax
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import BATCH_AXES

SHAPE = ("layers", "width", "heads", "kv_heads", "head_size", "mlp_width", "qkv_bias", "tied")
"""Fields of a model that decide which parameters it has, its vocabulary aside."""

MEANING = ("rope_base", "norm_epsilon")
"""Fields that decide what the same parameters compute."""


def check_shape(base: str, shape: TransformerConfig, own: TransformerConfig) -> None:
    """That the parameters of a base fit a model.

    Args:
        base: its run directory.
        shape: of its model.
        own: the model that is to go on with them.

    Raises:
        InputError: names the first field that differs.
    """
    for name in (*SHAPE, *MEANING):
        if getattr(shape, name) != getattr(own, name):
            raise InputError(
                f"base {base} has model.{name} {getattr(shape, name)}, this experiment "
                f"{getattr(own, name)}; they must agree"
            )


def check_rows(rows: int, accumulation: int, mesh: Mesh | None) -> None:
    """That the rows of a batch split evenly over micro-batches and devices.

    Args:
        rows: of a batch of one process.
        accumulation: micro-batches.
        mesh: devices; None is one.

    Raises:
        InputError: they do not.
    """
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    count = jax.process_count()
    if rows * count % (ways * accumulation):
        raise InputError(
            f"rows sum to {rows} on each of {count} processes; together they must be a multiple of "
            f"train.accumulation ({accumulation}) x mesh axes replica x fsdp ({ways})"
        )
