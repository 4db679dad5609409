"""Everything a training step reads and writes, as one tree."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, Int, PRNGKeyArray

from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule, match_rules
from jaxreason.types import Params


class TrainState(NamedTuple):
    """The state of a run; a checkpoint holds it and the position in the data.

    Attributes:
        step: [] int32, batches consumed, skipped ones included.
        params: the model's parameters.
        optimizer_state: optax state; its own counters count the updates really made.
        key: [] typed PRNG key, never changed; step n uses `fold_in(key, n)`.
        skipped: [] int32, updates skipped because loss or gradient was not finite.
        consecutive_skipped: [] int32, how many of them in a row up to now.
        auxiliary: the state of a second network trained beside, such as a critic; None without one.
    """

    step: Int[Array, ""]
    params: Params
    optimizer_state: Any
    key: PRNGKeyArray
    skipped: Int[Array, ""]
    consecutive_skipped: Int[Array, ""]
    auxiliary: Any = None


def _init(
    key: PRNGKeyArray,
    model_init: Callable[[PRNGKeyArray], Params],
    optimizer: optax.GradientTransformation,
) -> TrainState:
    params_key, step_key = jax.random.split(key)
    params = model_init(params_key)
    # Three arrays, not one used three times: donation refuses the same buffer twice.
    zeros = [jnp.zeros((), jnp.int32) for _ in range(3)]
    return TrainState(zeros[0], params, optimizer.init(params), step_key, zeros[1], zeros[2])


def abstract_state(
    model_init: Callable[[PRNGKeyArray], Params],
    optimizer: optax.GradientTransformation,
    mesh: Mesh | None = None,
    rules: Sequence[Rule] = TRANSFORMER_RULES,
) -> TrainState:
    """Shapes, dtypes and shardings of the state, with nothing allocated."""
    shapes = jax.eval_shape(lambda key: _init(key, model_init, optimizer), jax.random.key(0))
    if mesh is None:
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: one, shapes)
    else:
        shardings = match_rules(rules, shapes, mesh)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def are_shapes(params: Params) -> bool:
    """Whether parameters are only shapes, as in a run that is compiled ahead."""
    return isinstance(jax.tree.leaves(params)[0], jax.ShapeDtypeStruct)


def given_params(params: Params) -> Callable[[PRNGKeyArray], Params]:
    """An initialisation that gives these parameters; shapes stand for arrays of zeros."""

    def init(key: PRNGKeyArray) -> Params:
        del key
        return jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x,
            params,
        )

    return init


def init_state(
    model_init: Callable[[PRNGKeyArray], Params],
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    mesh: Mesh | None = None,
    rules: Sequence[Rule] = TRANSFORMER_RULES,
) -> TrainState:
    """A fresh state, made sharded under jit so that no device ever holds all of it.

    The values do not depend on the mesh.
    """
    shardings = None
    if mesh is not None:
        abstract = abstract_state(model_init, optimizer, mesh, rules)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    make = jax.jit(lambda key: _init(key, model_init, optimizer), out_shardings=shardings)
    return make(key)


def state_from_params(
    params: Params,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    mesh: Mesh | None = None,
    rules: Sequence[Rule] = TRANSFORMER_RULES,
) -> TrainState:
    """A fresh state around a copy of given parameters, on the mesh.

    Step 0 draws the same randomness as after `init_state` with this key. Parameters that lie on the
    mesh as the rules say are copied where they are; others are whole on every process.
    """
    abstract = abstract_state(lambda _: params, optimizer, mesh, rules)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)

    def make(params: Params, key: PRNGKeyArray) -> TrainState:
        # A jitted function hands its inputs on uncopied, and the state will be donated.
        return _init(key, lambda _: jax.tree.map(jnp.copy, params), optimizer)

    placed = jax.tree.map(_placed, params, shardings.params)
    return jax.jit(make, out_shardings=shardings)(placed, key)


def place_params(
    params: Params, mesh: Mesh | None = None, rules: Sequence[Rule] = TRANSFORMER_RULES
) -> Params:
    """Parameters where training on the mesh has them; those that are there are not copied."""
    if mesh is None:
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(lambda leaf: _placed(leaf, one), params)
    return jax.tree.map(_placed, params, match_rules(rules, params, mesh))


def _placed(leaf: Any, sharding: Sharding) -> jax.Array:
    """An array where it should be; one that is not there yet is the same on every process."""
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
