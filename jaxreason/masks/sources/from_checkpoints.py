"""The mask of what an update changed: two parameter trees, before and after."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxreason.errors import InputError
from jaxreason.masks.sources.checks import (
    check_not_empty,
    check_numbers,
    check_same_shapes,
    named_leaves,
)

Mode = Literal["exact", "absolute", "bf16_relative"]


def difference(
    before: Any,
    after: Any,
    mode: Mode = "exact",
    *,
    tolerance: float = 1e-5,
    eta: float = 1e-3,
    read_dtype: Any = None,
    allow_empty: bool = False,
) -> Any:
    """True where two parameter trees differ: the subnetwork that an update touched.

    `exact` compares bit patterns (so 0 and -0 differ). `absolute` finds |after - before| above
    the tolerance, as Mukherjee et al. 2025, arXiv:2505.11711, do with 1e-5 on bfloat16
    checkpoints; there a step of one unit in the last place goes unseen for weights below 2**-9.
    `bf16_relative` casts both to bfloat16 and finds |after - before| above eta times the larger
    magnitude (Zhu et al. 2025, arXiv:2511.08567).

    Args:
        before: tree of floating-point arrays.
        after: tree of the same paths and shapes.
        mode: what counts as a change.
        tolerance: of `absolute`.
        eta: of `bf16_relative`.
        read_dtype: cast both to this type before comparing, such as "bfloat16" to read float32
            masters as they would be stored.
        allow_empty: return a mask without any entry instead of refusing.

    Returns:
        A tree of bool arrays like before.

    Raises:
        InputError: mode, tolerance or eta; the trees do not match, a leaf is not finite, or in
            mode `exact` has another dtype (named); nothing differs.

    >>> import jax.numpy as jnp
    >>> before, after = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([1.0, 2.5])}
    >>> difference(before, after)["w"].tolist()
    [False, True]
    """
    if mode not in ("exact", "absolute", "bf16_relative"):
        raise InputError(f"mask mode={mode!r}: expected exact, absolute or bf16_relative")
    for name, value in (("tolerance", tolerance), ("eta", eta)):
        if not 0 <= value < float("inf"):
            raise InputError(f"mask {name}={value!r}: expected a finite number, zero or more")
    check_same_shapes(before, after, ("before", "after"))
    check_numbers(before, "before")
    check_numbers(after, "after")
    if read_dtype is None and mode == "exact":
        for (name, old), new in zip(named_leaves(before), jax.tree.leaves(after), strict=True):
            if old.dtype != new.dtype:
                raise InputError(
                    f"{name} is {old.dtype} before and {new.dtype} after: bit patterns cannot be "
                    "compared; give read_dtype or another mode"
                )

    def differs(old: Any, new: Any) -> Array:
        old, new = (jnp.asarray(leaf, read_dtype) for leaf in (old, new))
        if mode == "exact":
            return _bits(old) != _bits(new)
        if mode == "bf16_relative":
            old, new = old.astype(jnp.bfloat16), new.astype(jnp.bfloat16)
        wide = jnp.promote_types(jnp.promote_types(old.dtype, new.dtype), jnp.float32)
        old, new = old.astype(wide), new.astype(wide)
        scale = jnp.maximum(abs(old), abs(new)) * eta if mode == "bf16_relative" else tolerance
        return abs(new - old) > scale

    mask = jax.jit(lambda *trees: jax.tree.map(differs, *trees))(before, after)
    if not allow_empty:
        check_not_empty(mask, f"no entry differs between before and after in mode {mode}")
    return mask


def _bits(leaf: Array) -> Array:
    width = leaf.dtype.itemsize * 8
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{width}"))
