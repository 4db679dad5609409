"""A stored weight read block by block, each block where it belongs in our parameters.

The rows of a stored linear layer are its outputs, which follow each other in the file. So a range
of outputs is read from a range of bytes; a range of inputs is cut out of whole rows.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxreason.models.places import Place
from jaxreason.weights.stored_tensor import StoredTensor

BLOCK_BYTES = 1 << 27
"""How much of a tensor is read at once."""


class Rows(NamedTuple):
    """How the rows of a stored weight lie in ours.

    Attributes:
        axis: of ours (without the axis of layers), along which they run.
        unit: rows for each step along that axis.
    """

    axis: int
    unit: int


class Block(NamedTuple):
    """A part of one layer of a leaf.

    Attributes:
        first: where it begins along the axis of `Rows`; it has all of the others.
        array: in our shape.
    """

    first: int
    array: NDArray


def rows_of(place: Place) -> Rows | None:
    """How the rows lie in ours; None if they do not run along one axis."""
    if not place.ours or not place.stored:
        return None
    rows = place.stored[0]
    if not place.transposed:
        step = rows / place.ours[0]
        return Rows(0, int(step)) if step == int(step) else None
    for axis in reversed(range(len(place.ours))):
        if math.prod(place.ours[axis:]) == rows:
            return Rows(axis, rows // place.ours[axis])
    return None


def block_steps(place: Place, itemsize: int, most: int = BLOCK_BYTES) -> int:
    """Steps along the axis of `rows_of(place)` for blocks of equal size, the last a little less.

    Args:
        place: of a weight whose rows run along an axis of ours.
        itemsize: bytes of a number.
        most: bytes of a block, if one step has not more.
    """
    rows = rows_of(place)
    if rows is None:
        return 1
    size = place.ours[rows.axis]
    step = math.prod(place.stored[1:]) * rows.unit * itemsize
    count = -(-size // max(1, most // max(1, step)))
    return -(-size // max(1, count))


def blocks(
    tensor: StoredTensor,
    place: Place,
    first: int = 0,
    last: int | None = None,
    steps: int | None = None,
) -> Iterator[Block]:
    """The weight in our shape, in blocks along the axis of its rows.

    Args:
        tensor: as stored.
        place: of it.
        first: steps along the axis of `rows_of(place)` to begin with; 0 where there is no such.
        last: to end before; the end if None.
        steps: of a block; see `block_steps` if None.

    Raises:
        FailureError: the file cannot be read.
    """
    rows = rows_of(place)
    if rows is None:
        yield Block(0, place.to_ours(tensor.read()))
        return
    axis, unit = rows
    last = place.ours[axis] if last is None else last
    steps = steps or block_steps(place, np.dtype(tensor.dtype).itemsize)
    for start in range(first, last, max(1, steps)):
        stop = min(start + steps, last)
        part = place._replace(
            stored=((stop - start) * unit, *place.stored[1:]),
            ours=(*place.ours[:axis], stop - start, *place.ours[axis + 1 :]),
        )
        # No name for the array: it must be gone when the next one is read.
        yield Block(start, part.to_ours(tensor.rows(start * unit, stop * unit)))
