"""Masks that change during training."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.errors import InputError
from jaxreason.masks.elementwise import hold, zero_outside
from jaxreason.masks.forms import expand
from jaxreason.masks.in_state import is_placeholder, map_active

Moments = Literal["keep", "zero", "decay"]


class ScheduledMaskState(NamedTuple):
    """State of `scheduled_mask`.

    Attributes:
        step: [] int32, updates made.
        mask: the mask of the last update, one bool array per parameter; all False before it.
        inner_state: of the wrapped optimizer.
    """

    step: jax.Array
    mask: Any
    inner_state: Any


def scheduled_mask(
    mask_fn: Callable[[Any, Any, jax.Array], Any],
    schedule: Callable[[jax.Array], Any],
    inner: optax.GradientTransformation | None = None,
    *,
    moments: Moments = "keep",
) -> optax.GradientTransformationExtraArgs:
    """`freeze_outside` with a mask that is computed anew whenever the schedule says so.

    Without `inner` it masks the updates it is given: put it last in a chain. With `inner`, it also
    decides what happens to the moments of frozen entries:

    - "keep": the optimizer sees all gradients, so the moments of frozen entries stay up to date
      and an entry that is released continues as if it had never been frozen.
    - "zero": frozen entries have the state of `inner.init` (zero moments) until released.
    - "decay": the optimizer sees zero gradients for frozen entries, so their moments fade at its
      own rate.

    Adam corrects its bias by the count of all updates, not of an entry's own. Entries released
    with zero moments at a late count therefore take a first step of (1 - b1) / sqrt(1 - b2) = 3.16
    learning rates (b1 0.9, b2 0.999; 2.51 at count 1000, 0.48 at count 10) and, under a constant
    gradient, steps of 5 to 7 learning rates about a dozen updates later. "keep" avoids this;
    with the others let the learning rate warm up after a change.

    Args:
        mask_fn: `(params, gradients, count) -> mask tree` in any form (see
            `jaxreason.masks.forms`); traced under jit, so its shapes must be static. `gradients`
            are the updates this transform receives.
        schedule: `count -> bool`, count from 0: whether to compute the mask before this update.
            Before update 0 it is always computed.
        inner: an optimizer, or None.
        moments: "keep", "zero" or "decay"; only "keep" without `inner`.

    Raises:
        InputError: an unknown policy, or one that has no optimizer to act on; in `update`, a mask
            that does not fit the parameters (the path is named).

    >>> import optax
    >>> from jaxreason.masks import scheduled_mask
    >>> def largest(params, gradients, count):
    ...     return jax.tree.map(lambda g: jnp.abs(g) == jnp.abs(g).max(), gradients)
    >>> every_ten = lambda count: count % 10 == 0
    >>> optimizer = optax.chain(scheduled_mask(largest, every_ten, optax.sgd(0.5)))
    >>> params = {"w": jnp.zeros(3)}
    >>> updates, _ = optimizer.update({"w": jnp.arange(3.0)}, optimizer.init(params), params)
    >>> print(optax.apply_updates(params, updates)["w"])
    [ 0.  0. -1.]
    """
    if moments not in get_args(Moments):
        raise InputError(f"moments={moments!r}: expected one of {', '.join(get_args(Moments))}")
    if inner is None and moments != "keep":
        raise InputError(
            f"moments={moments!r} needs the optimizer whose moments are meant: pass it as inner"
        )
    base = optax.with_extra_args_support(optax.identity() if inner is None else inner)

    def init(params: Any) -> ScheduledMaskState:
        step = jnp.zeros((), jnp.int32)
        if is_placeholder(params):
            return ScheduledMaskState(step, params, base.init(params))
        nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, bool), params)
        return ScheduledMaskState(step, nothing, base.init(params))

    def update(
        updates: Any, state: ScheduledMaskState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScheduledMaskState]:
        def compute() -> Any:
            mask = mask_fn(params, updates, state.step)
            return jax.tree.map(jnp.asarray, expand(mask, updates))

        due = (state.step == 0) | jnp.asarray(schedule(state.step), bool)
        mask = jax.lax.cond(due, compute, lambda: state.mask)
        seen = map_active(zero_outside, updates, mask) if moments == "decay" else updates
        new, inner_state = base.update(seen, state.inner_state, params, **extra_args)
        if moments == "zero":
            inner_state = _restart_outside(base, inner_state, mask, params, updates)
        step = optax.safe_increment(state.step)
        return map_active(hold, new, mask), ScheduledMaskState(step, mask, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _restart_outside(
    inner: optax.GradientTransformation, state: Any, mask: Any, params: Any, updates: Any
) -> Any:
    """The state with what belongs to frozen entries as `inner.init` makes it."""
    fresh = inner.init(updates if params is None else params)
    masks = optax.tree_utils.tree_map_params(
        inner,
        lambda leaf, own: leaf if _hidden(leaf) else own,
        state,
        mask,
        transform_non_params=lambda _: True,
        is_leaf=_hidden,
    )

    def restart(leaf: Any, new: Any, own: Any) -> Any:
        if own is True or np.shape(own) != np.shape(leaf):
            return leaf
        return jnp.where(own, leaf, new)

    return jax.tree.map(restart, state, fresh, masks)


def _hidden(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
