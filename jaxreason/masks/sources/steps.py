"""Masks of what the first steps of a run changed."""

from collections.abc import Iterable
from typing import Any

import jax

from jaxreason.errors import InputError
from jaxreason.masks.sources.checks import check_not_empty
from jaxreason.masks.sources.from_checkpoints import Mode, difference


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
        raise InputError("trees has fewer than two parameter trees: expected a first and later ones")
    check_not_empty(changed, f"no tree differs from the first in mode {mode}")
    return changed
