"""Masks on the way into and out of an optimizer, entry by entry."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxreason.masks.in_state import MaskOrFunction, map_active, store


class MaskState(NamedTuple):
    """State of `mask_updates` and `mask_gradients`.

    Attributes:
        mask: one array per parameter; `read_mask` makes bool arrays of it.
    """

    mask: Any


def negative_zero(dtype: Any) -> Any:
    """The number that changes no other when added: x + (-0.0) has the bits of x, -0.0 included."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.asarray(complex(-0.0, -0.0), dtype)
    return jnp.asarray(-0.0 if jnp.issubdtype(dtype, jnp.inexact) else 0, dtype)


def hold(update: Any, mask: Any) -> Any:
    """The update where the mask is True, elsewhere the update that changes no bit."""
    return jnp.where(mask, update, negative_zero(jnp.asarray(update).dtype))


def zero_outside(gradient: Any, mask: Any) -> Any:
    """The gradient where the mask is True, elsewhere zero."""
    return jnp.where(mask, gradient, jnp.zeros((), jnp.asarray(gradient).dtype))


def _masking(mask: MaskOrFunction, fill: Any, allow_empty: bool) -> Any:
    def init(params: Any) -> MaskState:
        return MaskState(store(mask, params, allow_empty))

    def update(
        updates: Any, state: MaskState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, MaskState]:
        del params, extra_args
        return map_active(fill, updates, state.mask), state

    return optax.GradientTransformationExtraArgs(init, update)


def mask_updates(
    mask: MaskOrFunction, *, allow_empty: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Lets through the updates of active entries; all others get an update that changes nothing.

    Placed last in a chain it freezes exactly what the mask leaves out, whatever the optimizer
    before it does: momentum, weight decay, orthogonalised updates. Frozen entries get -0.0, since
    p + (-0.0) has the bits of p for every normal p, while p + 0.0 turns -0.0 into 0.0. Two kinds
    of numbers are changed by the addition in `optax.apply_updates` itself: on CPU, subnormal
    float32 parameters (below 1.2e-38) are flushed to zero, and signalling NaNs become quiet ones;
    `jaxreason.masks.apply_updates` keeps those bits too. The mask selects and never multiplies:
    NaN or infinity in a frozen entry's update goes no further.

    The mask lives in the optimizer's state, in the form given: a bool takes 1 byte per entry,
    packed bits 1/8, an index list 4 per active entry.

    Args:
        mask: a mask tree (see `jaxreason.masks.forms`), or a function from the parameters to one,
            called once in `init`. True means active. `optax.masked` would take an array for a
            single truth value; here every entry counts.
        allow_empty: accept a mask without an active entry.

    Raises:
        InputError: in `init`, a mask that does not fit (the path is named), is not boolean, or is
            empty; in `update`, updates of another structure or shape.

    >>> import optax
    >>> import jax.numpy as jnp
    >>> from jaxreason.masks import mask_updates
    >>> params = {"w": jnp.array([1.0, 2.0])}
    >>> mask = {"w": jnp.array([True, False])}
    >>> decayed_sgd = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.5))
    >>> optimizer = optax.chain(decayed_sgd, mask_updates(mask))
    >>> updates, _ = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
    >>> print(optax.apply_updates(params, updates)["w"])
    [0.25 2.  ]
    """
    return _masking(mask, hold, allow_empty)


def mask_gradients(
    mask: MaskOrFunction, *, allow_empty: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Sets the gradients of inactive entries to zero: the operation of the subnetworks paper.

    The paper (Mukherjee et al. 2025, arXiv:2505.11711, section 4) does this right before the
    optimizer, after any clipping, without weight decay. It is **not** a freeze:

    | chain                                       | entries outside the mask            |
    |---------------------------------------------|-------------------------------------|
    | mask_gradients, adam                        | stay, if their moments were zero    |
    | mask_gradients, adamw                       | decay by lr x weight decay each step|
    | mask_gradients put in front mid-run         | move on with the momentum they had  |
    | mask_gradients, coupled optimizer (Muon ...)| move                                |
    | any optimizer, mask_updates                 | stay, always                        |

    Clipping before it sees the norm of all gradients, clipping after it that of the active ones:
    the steps of the active entries differ. For a freeze use `freeze_outside` or `mask_updates`.

    Args:
        mask: as for `mask_updates`.
        allow_empty: accept a mask without an active entry.

    Raises:
        InputError: as for `mask_updates`.

    >>> import optax
    >>> import jax.numpy as jnp
    >>> from jaxreason.masks import mask_gradients
    >>> params = {"w": jnp.array([1.0, 2.0])}
    >>> optimizer = optax.chain(mask_gradients({"w": jnp.array([True, False])}), optax.sgd(0.5))
    >>> updates, _ = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
    >>> print(optax.apply_updates(params, updates)["w"])
    [0.5 2. ]
    """
    return _masking(mask, zero_outside, allow_empty)
