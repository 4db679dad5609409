"""Training some entries and freezing the others, with any optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxreason.masks.elementwise import hold
from jaxreason.masks.in_state import MaskOrFunction, map_active, store


class FreezeOutsideState(NamedTuple):
    """State of `freeze_outside`.

    Attributes:
        mask: one array per parameter; `read_mask` makes bool arrays of it.
        inner_state: of the wrapped optimizer, for all entries (`compact` keeps the active only).
    """

    mask: Any
    inner_state: Any


def freeze_outside(
    inner: optax.GradientTransformation, mask: MaskOrFunction, *, allow_empty: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Runs the optimizer and then masks its updates: entries outside the mask never change a bit.

    This holds for every optimizer, with weight decay, momentum, clipping, accumulation and
    schedules, and for masks changed mid-run. The optimizer sees all gradients: a global-norm clip
    inside counts the frozen entries too (put `mask_gradients` before the clip if it should not),
    and moments are kept for frozen entries. `mask_updates` describes what is guaranteed about
    bits, and the two exceptions.

    Args:
        inner: any optimizer.
        mask: a mask tree (see `jaxreason.masks.forms`), or a function from the parameters to one,
            called once in `init`. True means active.
        allow_empty: accept a mask without an active entry.

    Raises:
        InputError: in `init`, a mask that does not fit (the path is named), is not boolean, or is
            empty; in `update`, updates of another structure or shape.

    >>> import optax
    >>> import jax.numpy as jnp
    >>> from jaxreason.masks import freeze_outside
    >>> params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}
    >>> mask = {"w": jnp.array([True, False]), "b": False}
    >>> decayed_sgd = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.5))
    >>> optimizer = freeze_outside(decayed_sgd, mask)
    >>> gradients = {"w": jnp.ones(2), "b": jnp.ones(1)}
    >>> updates, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> new = optax.apply_updates(params, updates)
    >>> print(new["w"], new["b"])
    [0.25 2.  ] [3.]
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> FreezeOutsideState:
        return FreezeOutsideState(store(mask, params, allow_empty), inner.init(params))

    def update(
        updates: Any, state: FreezeOutsideState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, FreezeOutsideState]:
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        return map_active(hold, updates, state.mask), FreezeOutsideState(state.mask, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def apply_updates(params: Any, updates: Any) -> Any:
    """`optax.apply_updates` for the last bit: a parameter whose update is zero is not touched.

    The sum p + 0 flushes subnormal numbers on some backends, quiets signalling NaNs, and turns
    -0.0 into 0.0 if the zero is positive; here those parameters are copied.

    Args:
        params: arrays; None is passed over.
        updates: the same structure.

    Returns:
        Parameters of the same structure, shapes and dtypes.
    """

    def leaf(parameter: Any, update: Any) -> Any:
        if parameter is None or update is None:
            return parameter
        parameter = jnp.asarray(parameter)
        moved = jnp.asarray(parameter + update).astype(parameter.dtype)
        return jnp.where(update == 0, parameter, moved)

    return jax.tree.map(leaf, params, updates, is_leaf=lambda node: node is None)
