"""Optimizer state for the active entries only."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.errors import InputError
from jaxreason.masks.coupling import find_coupling, operations
from jaxreason.masks.elementwise import negative_zero
from jaxreason.masks.forms import check_not_empty, match, to_boolean, to_indices
from jaxreason.masks.in_state import is_placeholder
from jaxreason.masks.leaves import any_active, concrete


class CompactState(NamedTuple):
    """State of `compact`.

    Attributes:
        indices: per parameter, the flat positions of its active entries, int32 [active]; a scalar
            -1 where all entries are active; `optax.MaskedNode` where none is.
        inner_state: of the wrapped optimizer, for leaves [1, ..., 1, active].
    """

    indices: Any
    inner_state: Any


def compact(
    inner: optax.GradientTransformation,
    mask: Any,
    *,
    allow_coupled: bool = False,
    allow_empty: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """`freeze_outside(inner, mask)` with optimizer state for the active entries only.

    The active entries of every leaf are gathered into a short leaf, the optimizer runs on those,
    and its updates are scattered back; all other entries get an update that changes nothing. Adam
    in float32 takes 12 bytes per active entry (two moments and an index) in place of 8 for every
    entry: less below a density of 2/3. Leaves that are wholly active are passed as they are,
    without indices, and leaves without an active entry have no state at all.

    A short leaf keeps the number of dimensions of its parameter ([1, ..., 1, active]), so that
    weight-decay masks that look at `ndim` still work. Under partition rules it is replicated.

    The optimizer must treat every entry on its own: only then are its updates those of
    `freeze_outside`, bit for bit in float32. (Where update and `optax.apply_updates` are compiled
    into one program, XLA may round p + lr * x once instead of twice, in either.) `init` traces it
    and refuses what mixes entries (a global-norm clip, trust ratios, factored moments, Muon,
    noise) or looks at shapes. A clip
    belongs in front: `optax.chain(optax.clip_by_global_norm(1.0), compact(...))`. With
    `MultiSteps` around `compact` the accumulator is as large as the parameters; inside it is
    compact too. Arguments given to `update` besides the parameters reach the optimizer unchanged.

    Args:
        inner: the optimizer.
        mask: a mask tree (see `jaxreason.masks.forms`) whose values are known, since the sizes of
            the state depend on them.
        allow_coupled: skip that check. A global-norm clip inside then sees the active entries
            only (as with `mask_gradients` before the clip); factored moments, trust ratios and
            matrix methods become other optimizers.
        allow_empty: accept a mask without an active entry.

    Raises:
        InputError: in `init`, an optimizer that mixes entries (the transform is named), a mask
            that does not fit (the path is named), is empty, or is being traced.

    >>> import optax
    >>> import jax.numpy as jnp
    >>> from jaxreason.masks import compact
    >>> params = {"w": jnp.arange(6.0).reshape(2, 3)}
    >>> mask = {"w": jnp.array([[True, False, False], [False, True, False]])}
    >>> optimizer = compact(optax.adam(0.1), mask)
    >>> state = optimizer.init(params)
    >>> print(state.indices["w"], optax.tree_utils.tree_get(state, "mu")["w"].shape)
    [0 4] (1, 2)
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> CompactState:
        if is_placeholder(params):
            return CompactState(params, inner.init(params))
        if callable(mask) and jax.tree_util.all_leaves([mask]):
            raise InputError(
                "compact needs the mask itself, not a function: call it on the parameters first"
            )
        triples, structure = match(mask, params)
        if not allow_empty:
            check_not_empty(found for _, found, _ in triples)
        positions = [_positions(found, np.shape(leaf), name) for name, found, leaf in triples]
        indices = jax.tree.unflatten(structure, positions)
        if not allow_coupled:
            _check_independent(inner, params, indices)
        return CompactState(indices, inner.init(_gather_tree(params, indices)))

    def update(
        updates: Any, state: CompactState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, CompactState]:
        short = _gather_tree(updates, state.indices)
        short_params = None if params is None else _gather_tree(params, state.indices)
        # Fused with the gather, b1 * mu + (1 - b1) * g may be contracted the other way round (the
        # product that is not rounded is another one): a last bit apart from `freeze_outside`.
        short, short_params = jax.lax.optimization_barrier((short, short_params))
        short, inner_state = inner.update(short, state.inner_state, short_params, **extra_args)
        new = _map(_scatter, updates, state.indices, short)
        return new, CompactState(state.indices, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _positions(found: Any, shape: Sequence[int], name: str) -> Any:
    """What `CompactState.indices` holds for one parameter."""
    some = any_active(found)
    if some is None:
        raise InputError(
            f"the mask entry {name} is traced or lies on other hosts: compact needs its values, "
            "since the size of the state depends on them; make the mask outside of jit"
        )
    if not some:
        return optax.MaskedNode()
    host = jax.tree.map(lambda x: x if isinstance(x, bool) else concrete(x), found)
    indices = to_indices(to_boolean(host, shape)).indices
    if indices.size == math.prod(shape):
        return jnp.array(-1, jnp.int32)
    return jnp.array(indices)


def _map(function: Callable[..., Any], tree: Any, indices: Any, *rest: Any) -> Any:
    """Map over the parameters; a leaf may meet a MaskedNode in `indices` and the rest."""
    return jax.tree.map(
        lambda leaf, *others: None if leaf is None else function(leaf, *others),
        tree,
        indices,
        *rest,
        is_leaf=lambda node: node is None,
    )


def _gather_tree(tree: Any, indices: Any) -> Any:
    return _map(_gather, tree, indices)


def _where(indices: Any, shape: Sequence[int]) -> Any:
    # One index per dimension: flattening a sharded array would gather it on every device.
    return jnp.unravel_index(indices, tuple(shape)) if len(shape) > 1 else (indices,)


def _gather(leaf: Any, indices: Any) -> Any:
    if isinstance(indices, optax.MaskedNode):
        return indices
    if np.ndim(indices) == 0:
        return leaf
    return leaf[_where(indices, leaf.shape)].reshape((1,) * (leaf.ndim - 1) + (-1,))


def _scatter(leaf: Any, indices: Any, short: Any) -> Any:
    if isinstance(indices, optax.MaskedNode):
        return jnp.full_like(leaf, negative_zero(leaf.dtype))
    if short is None or np.ndim(indices) == 0:
        return short
    unchanged = jnp.full(leaf.shape, negative_zero(short.dtype))
    return unchanged.at[_where(indices, leaf.shape)].set(
        short.reshape(-1), indices_are_sorted=True, unique_indices=True
    )


def _check_independent(inner: optax.GradientTransformation, params: Any, indices: Any) -> None:
    full = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    coupling = find_coupling(inner, full)
    if coupling is not None:
        raise InputError(
            f"compact cannot hold {coupling}: it mixes entries, so that leaving some out changes "
            "the others; chain it in front of compact, use freeze_outside, or pass "
            "allow_coupled=True to let it see the active entries only"
        )
    chosen = _map(lambda leaf, i: i if isinstance(i, optax.MaskedNode) else leaf, full, indices)
    short = jax.eval_shape(lambda: _gather_tree(_zeros(full), indices))
    if operations(inner, chosen) != operations(inner, short):
        raise InputError(
            "compact cannot hold this optimizer: it does different arithmetic for leaves of other "
            "shapes (a mask or label function that looks at shapes?); use freeze_outside, or pass "
            "allow_coupled=True to accept what it does on leaves [1, ..., 1, active]"
        )


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
