"""Where weights of published files belong in our parameters.

Linear layers there hold [outputs, inputs]; ours hold [inputs, outputs] with the heads apart, and
the layers of a stack lie along axis 0 of one leaf. A model's table of places says all of it, so
that names are checked, weights read and written in one way for every model.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import InputError
from jaxreason.types import Params


class Place(NamedTuple):
    """Where a stored weight belongs.

    Attributes:
        path: keys of the leaf in our parameters.
        layer: index on the leaf's axis 0; None if the leaf is the whole weight.
        stored: shape in the files, [outputs, inputs] of a linear layer.
        ours: shape in our parameters, without the axis of layers.
        transposed: the stored array has the axes of ours in reverse, before they are split.
    """

    path: tuple[str, ...]
    layer: int | None
    stored: tuple[int, ...]
    ours: tuple[int, ...]
    transposed: bool

    def to_ours(self, array: NDArray) -> NDArray:
        """The stored weight in our shape; a view where it can be one."""
        return (array.T if self.transposed else array).reshape(self.ours)

    def to_stored(self, array: NDArray) -> NDArray:
        """Our weight (one layer of it) in the shape of the files; a view where it can be one."""
        if not self.transposed:
            return array.reshape(self.stored)
        return array.reshape(self.stored[::-1]).T


def check_places(
    model: str,
    shapes: Mapping[str, tuple[int, ...]],
    places: Mapping[str, Place],
    ignored: Collection[str] = (),
) -> None:
    """Makes sure that every weight is there, in its shape, and nothing else.

    Args:
        model: what to call it: `LLaDA`.
        shapes: name to shape of what is stored.
        places: of the model's weights, by name.
        ignored: names that may be there besides.

    Raises:
        InputError: a weight is missing, unknown or of another shape; names it.
    """
    missing = [name for name in places if name not in shapes]
    unknown = sorted(set(shapes) - set(places) - set(ignored))
    for verb, names, relation in (("lack", missing, "needs"), ("hold", unknown, "lacks")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise InputError(
                f"{model} weights {verb} {names[0]!r}{more}, which the model's configuration "
                f"{relation}"
            )
    for name, place in places.items():
        if tuple(shapes[name]) != place.stored:
            raise InputError(
                f"{model} weight {name!r} has shape {tuple(shapes[name])}; the model's "
                f"configuration needs {place.stored}"
            )


def by_leaf(places: Mapping[str, Place]) -> dict[tuple[str, ...], list[tuple[str, Place]]]:
    """Path of a leaf of our parameters to the weights it is made of."""
    leaves: dict[tuple[str, ...], list[tuple[str, Place]]] = {}
    for name, place in places.items():
        leaves.setdefault(place.path, []).append((name, place))
    return leaves


def gather(weights: Mapping[str, NDArray], places: Mapping[str, Place]) -> Params:
    """Our parameters (NumPy arrays, dtypes kept) from weights that `check_places` has passed."""
    params: dict[str, Any] = {}
    for (*branch, last), parts in by_leaf(places).items():
        node = params
        for key in branch:
            node = node.setdefault(key, {})
        for name, place in parts:
            array = place.to_ours(np.asarray(weights[name]))
            if place.layer is None:
                node[last] = array
                continue
            if last not in node:
                node[last] = np.empty((len(parts), *place.ours), array.dtype)
            node[last][place.layer] = array
    return params


def scatter(params: Params, places: Mapping[str, Place]) -> dict[str, NDArray]:
    """The weights by name: the inverse of `gather`."""
    weights = {}
    for name, place in places.items():
        leaf: Any = params
        for key in place.path:
            leaf = leaf[key]
        array = np.asarray(leaf if place.layer is None else leaf[place.layer])
        weights[name] = place.to_stored(array)
    return weights
