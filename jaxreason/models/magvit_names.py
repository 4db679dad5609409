"""Parameters of the image tokenizer under the names and layouts of `showlab/magvitv2`.

Both directions are pure functions on dicts of numpy arrays. Convolutions are [out, in, rows,
columns] there and [rows, columns, in, out] here; the two tables of the quantiser, which hold no
parameters, are checked on the way in and made on the way out.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import numpy as np

from jaxreason.errors import InputError
from jaxreason.models.magvit import Magvit, MagvitConfig
from jaxreason.types import Params

_RENAMES = (
    (r"(down|up)_(\d+)_block_(\d+)", r"\1.\2.block.\3"),
    (r"(down|up)_(\d+)_(down|up)sample", r"\1.\2.\3sample.conv"),
    (r"mid_(block|attn)_(\d)", r"mid.\1_\2"),
    (r"/(kernel|scale)$", ".weight"),
    (r"/", "."),
)


def published_name(path: str) -> str:
    """`encoder/down_0_block_1/conv1/kernel` to `encoder.down.0.block.1.conv1.weight`."""
    for pattern, replacement in _RENAMES:
        path = re.sub(pattern, replacement, path)
    return path


def published_shapes(config: MagvitConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array in a published file, tables included."""
    shapes = {name: _published_shape(leaf.shape) for name, leaf in _named(config).items()}
    return shapes | {name: table.shape for name, table in _tables(config).items()}


def from_published(config: MagvitConfig, arrays: Mapping[str, np.ndarray]) -> Params:
    """Parameters, numpy arrays of the given dtype, from arrays by published name.

    Raises:
        InputError: a name is missing or unknown, a shape is another, or the quantiser's tables
            are those of another code (bit order, number of bits).
    """
    shapes = published_shapes(config)
    tables = _tables(config)
    missing = sorted(set(shapes) - set(tables) - set(arrays))
    unknown = sorted(set(arrays) - set(shapes))
    for what, names in (("lack", missing), ("have the unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"the image tokenizer's weights {what} {names[0]}{more}")
    for name, array in arrays.items():
        if tuple(array.shape) != shapes[name]:
            raise InputError(
                f"{name} has shape {tuple(array.shape)}; expected {shapes[name]} for this model"
            )
        if name in tables and not np.array_equal(np.asarray(array), tables[name]):
            raise InputError(
                f"{name} does not hold the signs of codes whose first channel is the most "
                "significant bit; these weights are of another quantiser"
            )
    names = _names(config)
    return jax.tree.map(lambda name: _ours(np.asarray(arrays[name])), names)


def to_published(config: MagvitConfig, params: Params) -> dict[str, np.ndarray]:
    """Arrays by published name, the quantiser's tables among them."""
    leaves = zip(jax.tree.leaves(_names(config)), jax.tree.leaves(params), strict=True)
    return {name: _theirs(np.asarray(leaf)) for name, leaf in leaves} | _tables(config)


@cache
def _shapes(config: MagvitConfig) -> Any:
    return jax.eval_shape(Magvit(config).init, jax.random.key(0))


def _names(config: MagvitConfig) -> Any:
    """The tree of parameters with published names as leaves."""

    def name(path: Any, leaf: Any) -> str:
        del leaf
        return published_name(jax.tree_util.keystr(path, simple=True, separator="/"))

    return jax.tree_util.tree_map_with_path(name, _shapes(config))


def _named(config: MagvitConfig) -> dict[str, Any]:
    shapes = jax.tree.leaves(_shapes(config))
    return dict(zip(jax.tree.leaves(_names(config)), shapes, strict=True))


def _published_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _ours(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array


def _theirs(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array


def _tables(config: MagvitConfig) -> dict[str, np.ndarray]:
    powers = 2 ** np.arange(config.code_bits - 1, -1, -1, dtype=np.int64)
    bits = (np.arange(config.codes)[:, None] & powers) > 0
    return {
        "quantize.embedding": np.where(bits, 1.0, -1.0).astype(np.float32),
        "quantize.power_vals": powers,
    }
