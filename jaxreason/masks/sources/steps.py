"""Masks of what the first steps of a run changed."""

from collections.abc import Iterable
from typing import Any

import jax

from jaxreason.errors import InputError
from jaxreason.masks.in_state import read_mask
from jaxreason.masks.sources.checks import check_not_empty
from jaxreason.masks.sources.from_checkpoints import Mode, difference
from jaxreason.masks.tracking import TrackUpdatesState


def changed_in_steps(
    trees: Iterable[Any],
    mode: Mode = "exact",
    *,
    tolerance: float = 1e-5,
    eta: float = 1e-3,
    read_dtype: Any = None,
) -> Any:
    """The union of what differs from the first tree in any of the later ones.

    With the parameters before a run and after each of its first steps this is the subnetwork as
    early as it can be seen. It holds the mask of the last step, and what changed and came back.

    Args:
        trees: parameters of a run, oldest first; only the first and the current one are held.
        mode: what counts as a change; with tolerance, eta and read_dtype as for `difference`.
        tolerance: of mode `absolute`.
        eta: of mode `bf16_relative`.
        read_dtype: cast to this type before comparing.

    Returns:
        A tree of bool arrays like the first tree.

    Raises:
        InputError: fewer than two trees; nothing ever differs; else as `difference`.

    >>> import jax.numpy as jnp
    >>> run = [{"w": jnp.array(values)} for values in ([0.0, 0, 0], [1.0, 0, 0], [0.0, 0, 2])]
    >>> changed_in_steps(run)["w"].tolist()
    [True, False, True]
    """
    steps = iter(trees)
    first = next(steps, None)
    changed = None
    for tree in steps:
        now = difference(
            first,
            tree,
            mode,
            tolerance=tolerance,
            eta=eta,
            read_dtype=read_dtype,
            allow_empty=True,
        )
        changed = now if changed is None else jax.tree.map(lambda a, b: a | b, changed, now)
    if changed is None:
        raise InputError("trees has fewer than two members: expected parameters before and after")
    check_not_empty(changed, f"no tree differs from the first in mode {mode}")
    return changed


def tracked(optimizer_state: Any, params: Any) -> Any:
    """What `track_updates` saw change so far, as a mask.

    After the first n updates this is their union, with every single step looked at; it needs no
    copies of the parameters.

    Args:
        optimizer_state: of a chain with one `track_updates` in it, at any depth.
        params: the parameters it was made for.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: no `track_updates`, or several; nothing has changed yet.

    >>> import optax
    >>> import jax.numpy as jnp
    >>> from jaxreason.masks import track_updates
    >>> params, gradients = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([0.5, 0.0])}
    >>> optimizer = optax.chain(optax.sgd(0.1), track_updates())
    >>> _, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> tracked(state, params)["w"].tolist()
    [True, False]
    """
    nodes = jax.tree.leaves(optimizer_state, is_leaf=_is_tracker)
    trackers = [node for node in nodes if _is_tracker(node)]
    if len(trackers) != 1:
        raise InputError(
            f"the optimizer state holds {len(trackers)} states of track_updates: expected one"
        )
    mask = read_mask(trackers[0].ever_updated, params)
    check_not_empty(mask, f"no update of {int(trackers[0].step)} changed an entry visibly")
    return mask


def _is_tracker(node: Any) -> bool:
    return isinstance(node, TrackUpdatesState)
