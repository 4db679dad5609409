"""Partition rules: one table from parameter path to PartitionSpec, for the whole train state.

Optimizer moments and gradient accumulators carry their parameter's path as a suffix, so the same
rules shard them alike. So do update masks in the state: bools have the parameter's shape, packed
bits (uint8) one byte per eight entries of the last axis; the short leaves of compact states are
rows [1, ..., 1, n]. (The idea of matching paths by regular expression is EasyLM's and
big_vision's.)
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxreason.errors import InputError


class Rule(NamedTuple):
    """Leaves whose path contains a match of `pattern` are laid out as `spec`.

    Attributes:
        pattern: regular expression, searched for in the path (`layers/gate`).
        spec: one entry per dimension.
        or_replicate: a dimension that its mesh axes do not divide together is split over the
            longest beginning of them that does, or replicated, instead of refused.
    """

    pattern: str
    spec: P
    or_replicate: bool = False


# The embedding's feature axis is never split over a batch axis: the lookup would then have to move
# features and rows at once, which XLA answers with an "involuntary full rematerialization". Its
# rows are, and are gathered for the lookup (`Transformer.apply`). The vocabulary may have any size,
# and grouped-query attention may have fewer key-value heads than the tensor axis has devices, so
# these two fall back to replication.
TRANSFORMER_RULES: tuple[Rule, ...] = (
    Rule(r"(^|/)embedding$", P(("tensor", "fsdp"), None), or_replicate=True),
    Rule(r"(^|/)head$", P(None, ("tensor", "fsdp")), or_replicate=True),
    Rule(r"(^|/)layers/query$", P(None, "fsdp", "tensor", None)),
    Rule(r"(^|/)layers/(key|value)$", P(None, "fsdp", "tensor", None), or_replicate=True),
    Rule(r"(^|/)layers/output$", P(None, "tensor", None, "fsdp")),
    Rule(r"(^|/)layers/query_bias$", P(None, "tensor", None)),
    Rule(r"(^|/)layers/(key|value)_bias$", P(None, "tensor", None), or_replicate=True),
    Rule(r"(^|/)layers/(gate|up)$", P(None, "fsdp", "tensor")),
    Rule(r"(^|/)layers/down$", P(None, "tensor", "fsdp")),
    # LoRA's A lies as the inputs of its kernel do, B as the outputs.
    Rule(r"(^|/)layers/(query|key|value|gate|up)_lora_a$", P(None, "fsdp", None)),
    Rule(r"(^|/)layers/(output|down)_lora_a$", P(None, "tensor")),
    Rule(r"(^|/)layers/query_lora_b$", P(None, None, "tensor", None)),
    Rule(r"(^|/)layers/(key|value)_lora_b$", P(None, None, "tensor", None), or_replicate=True),
    Rule(r"(^|/)layers/(gate|up)_lora_b$", P(None, None, "tensor")),
    Rule(r"(^|/)layers/(output|down)_lora_b$", P(None, None, "fsdp")),
    Rule(r"(^|/)layers/(gate|up)_bias$", P(None, "tensor")),
    Rule(r"(^|/)layers/(output|down)_bias$", P()),
    Rule(r"(^|/)layers/(attention|mlp|query|key)_norm$", P()),
)

# Convolutional models are small beside their activations: every device holds all of one, and the
# batch is split.
CONVOLUTION_RULES: tuple[Rule, ...] = (Rule(r"(^|/)kernel$", P()),)


def path_name(path: Sequence[Any]) -> str:
    """A tree path as words joined by `/`: `params/layers/gate`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def leaf_spec(
    rules: Sequence[Rule], name: str, shape: Sequence[int], mesh: Mesh, packed: bool = False
) -> P:
    """The PartitionSpec of one leaf: the first matching rule; scalars and single rows replicate.

    A dimension of packed bits that its mesh axes do not divide is never refused.

    Raises:
        InputError: no rule matches, the rule has more entries than the leaf dimensions, or a
            dimension is not divisible by its mesh axes and the rule does not allow replication.
    """
    if math.prod(shape[:-1]) <= 1:
        return P()
    rule = next((rule for rule in rules if re.search(rule.pattern, name)), None)
    if rule is None:
        raise InputError(f"no partition rule matches {name} {tuple(shape)}: add one to the table")
    if len(rule.spec) > len(shape):
        raise InputError(
            f"partition rule {rule.pattern!r} has {len(rule.spec)} entries "
            f"but {name} has shape {tuple(shape)}"
        )
    entries: list[Any] = []
    for dimension, (size, entry) in enumerate(zip(shape, rule.spec, strict=False)):
        axes = (entry,) if isinstance(entry, str) else (entry or ())
        ways = math.prod(mesh.shape[axis] for axis in axes)
        if size % ways == 0:
            entries.append(entry)
        elif rule.or_replicate or packed:
            entries.append(_dividing(axes, size, mesh))
        else:
            raise InputError(
                f"{name}: dimension {dimension} of size {size} is not divisible by mesh axis "
                f"{'x'.join(axes)}={ways}; change the mesh or the model's size"
            )
    return P(*entries)


def _dividing(axes: Sequence[str], size: int, mesh: Mesh) -> Any:
    """The longest beginning of `axes` that divides a dimension; None if there is none."""
    while axes and size % math.prod(mesh.shape[axis] for axis in axes):
        axes = axes[:-1]
    return None if not axes else axes[0] if len(axes) == 1 else tuple(axes)


def match_rules(rules: Sequence[Rule], tree: Any, mesh: Mesh) -> Any:
    """The tree of NamedShardings for a tree of arrays (or shapes), such as a whole train state.

    Raises:
        InputError: see `leaf_spec`.
    """

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        packed = leaf.dtype == jnp.uint8
        return NamedSharding(mesh, leaf_spec(rules, path_name(path), leaf.shape, mesh, packed))

    return jax.tree_util.tree_map_with_path(sharding, tree)
