"""Dtypes of parameters; those in bfloat16 are trained by an optimizer that works in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def to_float32(tree: Any) -> Any:
    """Floating leaves as float32, the others as they are."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def in_dtypes_of(params: Any, like: Any) -> Any:
    """The leaves in the dtypes of another tree's, each left where it lies; shapes stay shapes."""
    wanted = jax.tree.map(lambda leaf: jnp.dtype(leaf.dtype), like)
    if jax.tree.all(jax.tree.map(lambda leaf, dtype: leaf.dtype == dtype, params, wanted)):
        return params

    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
        return jax.tree.map(
            lambda leaf, dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), params, wanted
        )

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), tree, wanted)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(cast, out_shardings=shardings)(params)


def in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`inner` sees gradients and parameters in float32, keeps float32 state, gives such updates.

    `optax.apply_updates` then adds in float32 and rounds the sum to the parameters' dtype. Without
    this, bfloat16 parameters get bfloat16 second moments, which never decay: a decrement of 0.1 %
    is below half a unit in the last place.
    """
    extended = optax.with_extra_args_support(inner)

    def init(params: Any) -> Any:
        return extended.init(to_float32(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        params = None if params is None else to_float32(params)
        return extended.update(to_float32(updates), state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)
