"""Functions of logits computed a few tokens at a time, so that all logits never exist at once."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxreason.sharding.mesh import BATCH_AXES

PerToken = Callable[[Any, Array, Array], tuple[Array, Array]]
"""`(head, hidden [N, D], targets [N]) -> two arrays [N]`."""


def over_chunks(
    function: PerToken,
    head: Any,
    hidden: Float[Array, "B T D"],
    targets: Int[Array, "B T"],
    chunk: int | None,
) -> tuple[Array, Array]:
    """Two arrays [B, T]: `function` of every token, computed `chunk` tokens at a time.

    What `function` makes on the way is computed again in the backward pass. On a mesh every device
    goes through its own tokens in chunks of that size; left to itself, the compiler would gather
    all tokens and have every device go through all of them. The gradient of `head` is summed over
    devices once, not chunk by chunk.

    Args:
        function: must not close over arrays.
        head: parameters it reads.
        hidden: states, one per target.
        targets: token ids.
        chunk: tokens of a device at once; None computes all of them together.
    """
    if chunk is None:
        return _in_steps(function, None, head, hidden, targets)
    axes, entries = _split(targets.shape)
    steps = partial(_in_steps, function, chunk)
    if not axes:
        return steps(head, hidden, targets)
    tokens = PartitionSpec(*entries)

    def own(head: Any, hidden: Array, targets: Array) -> tuple[Array, Array]:
        # Marked as each device's own here, outside the loop and before any cast: where this mark
        # stands, the backward pass sums the gradient over devices.
        head = jax.tree.map(lambda x: jax.lax.pcast(x, tuple(axes), to="varying"), head)
        return steps(head, hidden, targets)

    mapped = jax.shard_map(
        own,
        in_specs=(PartitionSpec(), PartitionSpec(*entries, None), tokens),
        out_specs=(tokens, tokens),
        axis_names=axes,
    )
    return mapped(head, hidden, targets)


def _split(shape: tuple[int, ...]) -> tuple[set[str], list[Any]]:
    """Axes of the ambient mesh over which rows and tokens lie, and where; none without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return set(), []
    wanted = (tuple(BATCH_AXES), ("sequence",))
    axes: set[str] = set()
    entries: list[Any] = []
    for dimension, names in zip(shape, wanted, strict=True):
        present = tuple(name for name in names if mesh.shape.get(name, 1) > 1)
        ways = math.prod(mesh.shape[name] for name in present)
        split = ways > 1 and dimension % ways == 0
        axes |= set(present) if split else set()
        entries.append(present if split else None)
    return axes, entries


def _in_steps(
    function: PerToken, chunk: int | None, head: Any, hidden: Array, targets: Array
) -> tuple[Array, Array]:
    shape, count = targets.shape, targets.size
    flat, flat_targets = hidden.reshape(count, hidden.shape[-1]), targets.reshape(count)
    if chunk is None or count <= chunk:
        first, second = function(head, flat, flat_targets)
        return first.reshape(shape), second.reshape(shape)
    padding = -count % chunk
    rows = jnp.pad(flat, ((0, padding), (0, 0))).reshape(-1, chunk, flat.shape[-1])
    row_targets = jnp.pad(flat_targets, (0, padding)).reshape(-1, chunk)

    def step(carry: None, xs: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        return carry, jax.checkpoint(function)(head, *xs)

    _, (first, second) = jax.lax.scan(step, None, (rows, row_targets))
    return first.reshape(-1)[:count].reshape(shape), second.reshape(-1)[:count].reshape(shape)
