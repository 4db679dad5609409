"""Masks as sets of entries: union, intersection, complement, overlap, density."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError
from jaxreason.masks.forms import IndexMask, PackedMask, expand, is_mask_leaf, match, to_boolean


def union(*masks: Any, params: Any = None) -> Any:
    """The entries active in any of the masks.

    Args:
        *masks: mask trees of any form, of the same parameters.
        params: the parameters, or their shapes; needed where a mask is a prefix, or has Python
            bools for whole leaves.

    Returns:
        A tree of bool arrays.

    Raises:
        InputError: no mask; masks that do not match (the path is named); shapes unknown.

    >>> union({"w": np.array([True, False])}, {"w": np.array([False, False])})
    {'w': array([ True, False])}
    """
    return _combine(lambda first, second: first | second, masks, params)


def intersection(*masks: Any, params: Any = None) -> Any:
    """The entries active in all of the masks; arguments and errors as `union`."""
    return _combine(lambda first, second: first & second, masks, params)


def complement(mask: Any, params: Any = None) -> Any:
    """The entries that are not active; arguments and errors as `union`."""
    (expanded,) = _expand_all((mask,), params)
    return jax.tree.map(lambda leaf: ~leaf, expanded)


@dataclass(frozen=True)
class Density:
    """How many entries are active.

    Attributes:
        active: number of active entries.
        size: number of entries.
        leaves: the same for each leaf, by its path.
    """

    active: int
    size: int
    leaves: Mapping[str, "Density"] = field(default_factory=dict, repr=False)

    @property
    def share(self) -> float:
        """Active entries over entries; 0 where there are none."""
        return self.active / self.size if self.size else 0.0

    def __str__(self) -> str:
        rows = [(name, leaf) for name, leaf in self.leaves.items()]
        lines = [
            (name, f"{part.active:,}", f"{part.size:,}", f"{100 * part.share:.3f} %")
            for name, part in [*rows, ("all", self)]
        ]
        return _table([("leaf", "active", "entries", "density"), *lines])


def density(mask: Any, params: Any = None) -> Density:
    """Counts of active entries, per leaf and in all, as Python ints.

    Packed bits and index lists are counted as they are, without making bool arrays of them.

    Args:
        mask: a mask tree of any form.
        params: the parameters, or their shapes; needed as for `union`.

    Raises:
        InputError: the mask does not match the parameters (the path is named); shapes unknown.

    >>> print(density({"w": np.array([True, False, False, False])}))
    leaf  active  entries   density
    w          1        4  25.000 %
    all        1        4  25.000 %
    """
    triples, _ = match(mask, _template((mask,), params))
    leaves = {}
    for name, found, leaf in triples:
        size = math.prod(np.shape(leaf))
        leaves[name] = Density(_count(found, size), size)
    return Density(
        sum(leaf.active for leaf in leaves.values()),
        sum(leaf.size for leaf in leaves.values()),
        leaves,
    )


@dataclass(frozen=True)
class Overlap:
    """How far two masks choose the same entries.

    o1 (1 - s1) = o2 (1 - s2) with the sparsities s, and Jaccard = o1 o2 / (o1 + o2 - o1 o2).

    Attributes:
        first: entries active in the first mask.
        second: entries active in the second mask.
        both: entries active in both.
        size: entries.
        leaves: the same for each leaf, by its path.
    """

    first: int
    second: int
    both: int
    size: int
    leaves: Mapping[str, "Overlap"] = field(default_factory=dict, repr=False)

    @property
    def o1(self) -> float:
        """Share of the first mask that is in the second too; NaN where the first is empty."""
        return self.both / self.first if self.first else math.nan

    @property
    def o2(self) -> float:
        """Share of the second mask that is in the first too; NaN where the second is empty."""
        return self.both / self.second if self.second else math.nan

    @property
    def jaccard(self) -> float:
        """Entries in both over entries in either; NaN where both are empty."""
        either = self.first + self.second - self.both
        return self.both / either if either else math.nan

    def __str__(self) -> str:
        rows = [(name, leaf) for name, leaf in self.leaves.items()]
        lines = [
            (
                name,
                *(f"{n:,}" for n in (part.first, part.second, part.both)),
                *(f"{x:.4f}" for x in (part.o1, part.o2, part.jaccard)),
            )
            for name, part in [*rows, ("all", self)]
        ]
        return _table([("leaf", "first", "second", "both", "o1", "o2", "Jaccard"), *lines])


def overlap(first: Any, second: Any, params: Any = None) -> Overlap:
    """One-sided overlaps and Jaccard index of two masks (Mukherjee et al. 2025, section 5).

    arXiv:2505.11711: o1 = |A and B| / |A|, o2 = |A and B| / |B|. Counts are Python ints.

    Args:
        first: a mask tree of any form.
        second: another, of the same parameters.
        params: the parameters, or their shapes; needed as for `union`.

    Raises:
        InputError: the masks do not match (the path is named); shapes unknown.

    >>> a, b = {"w": np.array([True, True, False])}, {"w": np.array([True, False, False])}
    >>> overlap(a, b)
    Overlap(first=2, second=1, both=1, size=3)
    """
    template = _template((first, second), params)
    pairs = zip(match(first, template)[0], match(second, template)[0], strict=True)
    leaves = {}
    for (name, one, leaf), (_, two, _) in pairs:
        shape, size = np.shape(leaf), math.prod(np.shape(leaf))
        both = to_boolean(one, shape) & to_boolean(two, shape)
        leaves[name] = Overlap(_count(one, size), _count(two, size), _count(both, size), size)
    totals = {
        count: sum(getattr(leaf, count) for leaf in leaves.values())
        for count in ("first", "second", "both", "size")
    }
    return Overlap(**totals, leaves=leaves)


def _count(mask: Any, size: int) -> int:
    """Active entries of one mask leaf that stands for `size` entries."""
    if isinstance(mask, IndexMask):
        mask = mask.indices < size
    elif isinstance(mask, PackedMask):
        if isinstance(mask.bits, np.ndarray):
            return int(np.bitwise_count(mask.bits).sum(dtype=np.int64))
        # At most 8 per byte: rows are summed in 32 bits, their sums in 64.
        rows = jax.lax.population_count(mask.bits).sum(axis=-1, dtype=jnp.uint32)
        return int(np.asarray(rows).sum(dtype=np.int64))
    elif not np.ndim(mask):
        return size if bool(mask) else 0
    if isinstance(mask, np.ndarray):
        return int(np.count_nonzero(mask))
    if mask.size < 2**31:
        return int(mask.sum(dtype=jnp.int32))
    if mask.ndim == 1:
        return sum(_count(mask[start : start + 2**30], size) for start in range(0, size, 2**30))
    return int(np.asarray(mask.sum(axis=-1, dtype=jnp.int32)).sum(dtype=np.int64))


def _template(masks: tuple[Any, ...], params: Any) -> Any:
    """Something with the shapes of the parameters: `params`, or a mask that knows them all."""
    if params is not None:
        return params
    if not masks:
        raise InputError("no mask given: expected at least one")
    for mask in masks:
        leaves, structure = jax.tree.flatten(mask, is_leaf=is_mask_leaf)
        if all(is_mask_leaf(leaf) or hasattr(leaf, "shape") for leaf in leaves):
            shapes = [jax.ShapeDtypeStruct(leaf.shape, bool) for leaf in leaves]
            return jax.tree.unflatten(structure, shapes)
    raise InputError(
        "the mask has Python bools for whole leaves, so its shapes are unknown: give `params`"
    )


def _expand_all(masks: tuple[Any, ...], params: Any) -> list[Any]:
    template = _template(masks, params)
    return [expand(mask, template) for mask in masks]


def _combine(operation: Callable[[Any, Any], Any], masks: tuple[Any, ...], params: Any) -> Any:
    first, *others = _expand_all(masks, params)
    return reduce(lambda one, two: jax.tree.map(operation, one, two), others, first)


def _table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as needed, the first to the left and numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    first, *others = widths
    return "\n".join(
        "  ".join([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, others, strict=True))])
        for name, *cells in rows
    )
