"""Mask trees: which entries of a parameter tree are active, and the forms a leaf may have.

A mask tree has the structure of the parameters or is a prefix of it. True means active (may
change). A leaf is one of

    True, False        everything below this place
    bool array         of the parameter's shape (a bool scalar stands for the whole leaf)
    PackedMask         one bit per entry
    IndexMask          the flat positions of the active entries, 4 bytes each

Entries are matched to parameters by their path, so that a mask of nested dicts also fits the same
parameters held in other containers.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.errors import InputError
from jaxreason.masks.leaves import (
    IndexMask,
    PackedMask,
    any_active,
    check_leaf,
    is_mask_leaf,
    packed_shape,
)

__all__ = [
    "IndexMask",
    "PackedMask",
    "check_not_empty",
    "expand",
    "is_mask_leaf",
    "match",
    "pack",
    "packed_shape",
    "path_name",
    "scatter",
    "to_boolean",
    "to_indices",
    "unpack",
]


def _numpy(*arrays: Any) -> Any:
    """The module to compute with: numpy for host arrays, so that large masks stay on the host."""
    return np if all(isinstance(x, np.ndarray | np.generic) for x in arrays) else jnp


def unpack(bits: Any, shape: Sequence[int]) -> Any:
    """The bool array of packed bits; jit-safe."""
    shape = tuple(shape)
    last = shape[-1] if shape else 1
    module = _numpy(bits)
    flags = module.unpackbits(bits, axis=-1, count=last, bitorder="little")
    return flags.astype(bool).reshape(shape)


def scatter(indices: Any, shape: Sequence[int]) -> Any:
    """The bool array that is True at flat positions; positions outside are ignored; jit-safe."""
    size = math.prod(shape)
    if _numpy(indices) is np:
        flags = np.zeros(size, bool)
        flags[indices[indices < size]] = True
        return flags.reshape(tuple(shape))
    return jnp.zeros(size, bool).at[indices].set(True, mode="drop").reshape(tuple(shape))


def to_boolean(mask: Any, shape: Sequence[int] | None = None) -> Any:
    """One mask leaf as a bool array; jit-safe, host arrays stay numpy.

    Args:
        mask: any form of leaf.
        shape: of the parameter; may be left out where the form knows it.

    Raises:
        InputError: the mask has another shape, or is no mask.

    >>> to_boolean(IndexMask(np.array([0, 3]), (2, 2)))
    array([[ True, False],
           [False,  True]])
    """
    check_leaf(mask, shape, "mask")
    if isinstance(mask, PackedMask):
        return unpack(mask.bits, mask.shape)
    if isinstance(mask, IndexMask):
        return scatter(mask.indices, mask.shape)
    if shape is not None and np.shape(mask) != tuple(shape):
        mask = np.bool_(mask) if isinstance(mask, bool) else mask
        return _numpy(mask).broadcast_to(mask, tuple(shape))
    return np.asarray(mask) if isinstance(mask, bool | np.bool_) else mask


def pack(mask: Any) -> PackedMask:
    """A bool array (or another form with a shape) as packed bits; jit-safe.

    >>> pack(np.array([True, False, True])).bits
    array([5], dtype=uint8)
    """
    if isinstance(mask, PackedMask):
        return mask
    mask = to_boolean(mask)
    rows = mask.reshape(mask.shape or (1,))
    return PackedMask(_numpy(mask).packbits(rows, axis=-1, bitorder="little"), mask.shape)


def to_indices(mask: Any, size: int | None = None) -> IndexMask:
    """A bool array (or another form with a shape) as the list of its active positions.

    Args:
        mask: a concrete mask, unless `size` is given.
        size: length of the list, padded at the end (positions beyond it are lost); makes the
            function jit-safe.

    Raises:
        InputError: the parameter has 2**31 entries or more.

    >>> to_indices(np.array([[True, False], [False, True]])).indices
    array([0, 3], dtype=int32)
    """
    if isinstance(mask, IndexMask) and size is None:
        return mask
    mask = to_boolean(mask)
    if mask.size >= 2**31:
        raise InputError(f"mask of shape {mask.shape}: index lists need fewer than 2**31 entries")
    if size is None:
        return IndexMask(np.flatnonzero(np.asarray(mask)).astype(np.int32), mask.shape)
    (found,) = jnp.nonzero(mask.reshape(-1), size=size, fill_value=mask.size)
    return IndexMask(found.astype(jnp.int32), mask.shape)


def path_name(path: Sequence[Any]) -> str:
    """A tree path as words joined by `/`: `layers/gate`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/") or "(root)"


def _words(path: Sequence[Any]) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _is_hidden(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def match(mask: Any, params: Any) -> tuple[list[tuple[str, Any, Any]], Any]:
    """Each parameter with the mask leaf that speaks for it.

    Parameters that an outer `optax.masked` or `partition` hides are passed over.

    Returns:
        [(path, mask leaf, parameter)] in the order of `jax.tree.leaves(params)`, and the tree
        structure of `params`.

    Raises:
        InputError: a parameter without a mask, a mask without a parameter, an array that stands
            for a subtree, a wrong shape or dtype; the path is named.
    """
    given = {
        _words(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(
            mask, is_leaf=lambda node: is_mask_leaf(node) or _is_hidden(node)
        )[0]
    }
    covered: dict[tuple[str, ...], int] = {}
    triples = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_hidden)[0]:
        words, name = _words(path), path_name(path)
        if _is_hidden(leaf):
            for entry in given:
                if entry[: len(words)] == words or words[: len(entry)] == entry:
                    covered[entry] = covered.get(entry, 0) + 1
            continue
        prefix = next((words[:n] for n in range(len(words), -1, -1) if words[:n] in given), None)
        if prefix is None:
            raise InputError(f"the mask has no entry for the parameter {name}")
        covered[prefix] = covered.get(prefix, 0) + 1
        found = given[prefix]
        # An array may stand for a box around one parameter, such as a flax variable.
        if covered[prefix] > 1 and (is_mask_leaf(found) or np.ndim(found)):
            raise InputError(
                f"the mask entry {'/'.join(prefix) or '(root)'} is an array, but stands for the "
                f"subtree of {name}: only True or False can"
            )
        check_leaf(found, np.shape(leaf), f"the mask entry {name}")
        triples.append((name, found, leaf))
    extra = [words for words in given if words not in covered and not _is_hidden(given[words])]
    if extra:
        raise InputError(f"the mask entry {'/'.join(extra[0])} matches no parameter")
    return triples, jax.tree.structure(params)


def expand(mask: Any, params: Any, *, allow_empty: bool = True) -> Any:
    """The mask as one bool array per parameter, in the structure of `params`; jit-safe.

    Args:
        mask: a mask tree of any forms, or a prefix of one.
        params: arrays, or anything with shapes.
        allow_empty: whether a mask without a single active entry is accepted (host masks only).

    Raises:
        InputError: the mask does not fit the parameters (the path is named), or is empty.

    >>> params = {"weight": np.ones((2, 2)), "bias": np.ones(2)}
    >>> expand({"weight": pack(np.eye(2, dtype=bool)), "bias": False}, params)["bias"]
    array([False, False])
    """
    triples, structure = match(mask, params)
    if not allow_empty:
        check_not_empty(found for _, found, _ in triples)
    leaves = [to_boolean(found, np.shape(leaf)) for _, found, leaf in triples]
    return jax.tree.unflatten(structure, leaves)


def check_not_empty(leaves: Iterable[Any]) -> None:
    """Refuse mask leaves that are known to hold no active entry at all.

    Raises:
        InputError: nothing could ever change.
    """
    if all(any_active(leaf) is False for leaf in leaves):
        raise InputError("the mask is empty: no entry is active, so nothing could change")
