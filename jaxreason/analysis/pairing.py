"""Checkpoints walked through together, one tensor at a time.

Tensors are matched by name, whether its parts are joined by "/" or ".". Where a checkpoint has
its layers stacked on a first axis, each layer counts as a tensor of its own (`layers/3/query`).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxreason.analysis.names import stacked_prefixes
from jaxreason.analysis.published import alike_named
from jaxreason.analysis.tensors import Checkpoint
from jaxreason.errors import InputError


class _Part(NamedTuple):
    """A tensor, or one layer of a stacked tensor."""

    stored: str
    layer: int | None
    shape: tuple[int, ...]
    size: int


def _parts_of(checkpoint: Checkpoint, split_layers: bool) -> dict[str, _Part]:
    """Logical name to where it is stored; `layers/query [L, ...]` becomes `layers/0/query` ..."""
    shapes = {name: checkpoint.shape(name) for name in checkpoint.names()}
    prefixes = stacked_prefixes(shapes) if split_layers else {}
    found: dict[str, _Part] = {}
    for name, shape in shapes.items():
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        size = checkpoint.tensors[name].size
        if prefix is None:
            found[name] = _Part(name, None, shape, size)
            continue
        layers = prefixes[prefix]
        for layer in range(layers):
            logical = f"{prefix}{layer}{prefix[-1]}{name.removeprefix(prefix)}"
            found[logical] = _Part(name, layer, shape[1:], size // layers)
    return found


def _by_plain_name(parts: dict[str, _Part]) -> dict[str, tuple[str, _Part]]:
    """Names with "." for "/", so that the same tree exported in another format is recognised."""
    plain = {name.replace(".", "/"): (name, part) for name, part in parts.items()}
    return plain if len(plain) == len(parts) else {n: (n, part) for n, part in parts.items()}


class Reshaped(NamedTuple):
    """A tensor both checkpoints have, in different shapes."""

    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Together:
    """The tensors that several checkpoints have in common; iterating reads them, one at a time.

    Iterating yields `(name, arrays)`, one array per checkpoint. Only one tensor of each is held
    at a time, and each is read once, also where one checkpoint has its layers stacked.

    Attributes:
        checkpoints: in the order given.
        common: names of what all have in the same shape, in the order they are read.
        shapes: name to shape, of `common`.
        missing: names that the first has and another has not, with their shapes.
        extra: names that another has and the first has not, with their shapes.
        reshaped: names that the first and another have in different shapes.
    """

    checkpoints: tuple[Checkpoint, ...]
    common: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    missing: dict[str, tuple[int, ...]]
    extra: dict[str, tuple[int, ...]]
    reshaped: tuple[Reshaped, ...]
    _places: tuple[dict[str, _Part], ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.common)

    def dtypes(self, name: str) -> tuple[np.dtype, ...]:
        """dtype of a common tensor in each checkpoint."""
        return tuple(
            checkpoint.dtype(places[name].stored)
            for checkpoint, places in zip(self.checkpoints, self._places, strict=True)
        )

    def __iter__(self) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
        readers = [_last_kept(checkpoint) for checkpoint in self.checkpoints]
        for name in self.common:
            arrays = []
            for reader, places in zip(readers, self._places, strict=True):
                part = places[name]
                array = reader(part.stored)
                arrays.append(array if part.layer is None else array[part.layer])
            yield name, tuple(arrays)
            del array, arrays  # before the next are read


def _last_kept(checkpoint: Checkpoint) -> Callable[[str], np.ndarray]:
    """Reads tensors by name and keeps the last, so that the layers of a stack are read once."""
    kept: deque[tuple[str, np.ndarray]] = deque(maxlen=1)

    def read(name: str) -> np.ndarray:
        if not kept or kept[0][0] != name:
            kept.clear()  # before the next is read: two at once would double the peak
            kept.append((name, checkpoint.read(name)))
        return kept[0][1]

    return read


def _keyed(checkpoint: Checkpoint, split_layers: bool) -> dict[str, tuple[str, _Part]]:
    return _by_plain_name(_parts_of(checkpoint, split_layers))


def align(*checkpoints: Checkpoint, split_layers: bool = True) -> Together:
    """What several checkpoints have in common, from their headers; iterate to read it.

    Args:
        checkpoints: two or more; the first decides spelling and order. Where one is a run, the
            tensors of published folders go by the names of our parameters.
        split_layers: whether stacked layers count as tensors of their own.

    Raises:
        InputError: they have nothing in common: another model.
    """
    checkpoints = tuple(alike_named(checkpoints, split_layers))
    first, *others = (_keyed(checkpoint, split_layers) for checkpoint in checkpoints)
    missing, extra, reshaped, common = {}, {}, {}, []
    for other in others:
        for key, (name, part) in other.items():
            if key not in first:
                extra[name] = part.shape
    for key, (name, part) in first.items():
        found = [other[key][1] for other in others if key in other]
        different = [there for there in found if there.shape != part.shape]
        if different:
            reshaped[name] = Reshaped(name, part.shape, different[0].shape)
        if len(found) < len(others):
            missing[name] = part.shape
        elif not different:
            common.append(key)
    if not common:
        odd = min(others, key=lambda other: _alike(first, other))
        paths = ", ".join(str(checkpoint.path) for checkpoint in checkpoints)
        raise InputError(
            f"{paths} have no tensor of the same name and shape in common: they are checkpoints "
            f"of different models (the first has {_first(first)}, another {_first(odd)})"
        )
    keyed = (first, *others)
    common.sort(key=_reading_order(keyed, common))
    spelled = {key: first[key][0] for key in common}
    return Together(
        checkpoints=checkpoints,
        common=tuple(spelled.values()),
        shapes={spelled[key]: first[key][1].shape for key in common},
        missing=missing,
        extra=extra,
        reshaped=tuple(reshaped.values()),
        _places=tuple({spelled[key]: table[key][1] for key in common} for table in keyed),
    )


def _alike(first: dict[str, tuple[str, _Part]], other: dict[str, tuple[str, _Part]]) -> int:
    """Number of tensors of the same name and shape."""
    return sum(
        key in other and other[key][1].shape == part.shape for key, (_, part) in first.items()
    )


def _first(table: dict[str, tuple[str, _Part]]) -> str:
    name, part = next(iter(table.values()))
    return f"{name} {list(part.shape)}"


def _reading_order(
    tables: tuple[dict[str, tuple[str, _Part]], ...], common: list[str]
) -> Callable[[str], tuple[int, int]]:
    """The order of the first checkpoint, but the layers of any stack one after the other."""
    rank: dict[str, int] = {}
    order: dict[str, tuple[int, int]] = {}
    for place, key in enumerate(common):
        parts = [table[key][1] for table in tables]
        stack = next((part for part in parts if part.layer is not None), None)
        group = key if stack is None else f"stack {stack.stored}"
        layer = 0 if stack is None or stack.layer is None else stack.layer
        order[key] = rank.setdefault(group, place), layer
    return order.__getitem__


def pairs(before: Checkpoint, after: Checkpoint, split_layers: bool = True) -> Together:
    """The tensors two checkpoints have in common; iterate for `(name, (before, after))`.

    Args:
        before: from `open_checkpoint`.
        after: likewise.
        split_layers: whether stacked layers count as tensors of their own.

    Raises:
        InputError: they have nothing in common: another model.
    """
    return align(before, after, split_layers=split_layers)
