"""Masks of the weights that matter most to a loss, by its gradients."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxreason.errors import InputError
from jaxreason.masks.sources.checks import check_density, check_numbers, check_scope
from jaxreason.masks.sources.selection import top_entries

Measure = Literal["gradient", "fisher", "saliency"]
Loss = Callable[[Any, Any, Array], tuple[Array, Mapping[str, Any]]]
"""`(params, batch, key) -> (loss, metrics)`."""


def gradient_mask(
    objective: Loss,
    params: Any,
    batches: Iterable[Any],
    density: float,
    *,
    key: Array,
    measure: Measure = "gradient",
    scope: str = "leaf",
) -> Any:
    """The entries of highest gradient score on the given batches.

    Args:
        objective: `(params, batch, key) -> (loss, metrics)`.
        params: tree of floating-point arrays.
        batches: of data, all of one shape; each is used once.
        density: share of the entries in the mask, in (0, 1].
        key: a PRNG key; batch i gets `fold_in(key, i)`.
        measure: see `gradient_scores`.
        scope: "leaf" takes this share of every leaf, "global" of all entries together.

    Returns:
        A tree of bool arrays like params.

    Raises:
        InputError: density, scope, measure; no batch; a gradient that is not finite (named).
    """
    check_density(density)
    check_scope(scope)
    scores = gradient_scores(objective, params, batches, key=key, measure=measure)
    return top_entries(scores, density, scope=scope)


def gradient_scores(
    objective: Loss,
    params: Any,
    batches: Iterable[Any],
    *,
    key: Array,
    measure: Measure = "gradient",
) -> Any:
    """How much each weight matters to the loss: float32, zero or more.

    gradient: |E g|. fisher: E g^2, the diagonal of the empirical Fisher information, with one
    term per batch: batches of one row give the usual per-example form. saliency: |w E g|, the
    first-order change of the loss were the weight zero (SNIP, Lee et al. 2019, arXiv:1810.02340).
    In E the batches are weighted by the count of the metric `loss` where the objective reports
    one, so that means of gradients equal those of all rows together; `fisher` weighs them alike.

    Args:
        objective: `(params, batch, key) -> (loss, metrics)`.
        params: tree of floating-point arrays.
        batches: of data, all of one shape.
        key: a PRNG key; batch i gets `fold_in(key, i)`.
        measure: which score.

    Returns:
        A tree like params.

    Raises:
        InputError: measure; no batch; a gradient that is not finite (named).
    """
    if measure not in ("gradient", "fisher", "saliency"):
        raise InputError(f"mask measure={measure!r}: expected gradient, fisher or saliency")
    check_numbers(params)
    sums = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype=jnp.float32), params)
    state = sums, jnp.zeros(())
    for number, batch in enumerate(batches):
        add = partial(_add, objective, measure == "fisher")
        if number == 0:
            step = jax.jit(add, donate_argnums=0)
        state = step(state, params, batch, jax.random.fold_in(key, number))
    sums, total = state
    if total == 0:
        raise InputError("batches is empty, or has nothing that counts: expected at least one")
    check_numbers(sums, "gradient of")
    return jax.tree.map(partial(_score, measure, total), sums, params)


def _add(objective: Loss, squared: bool, state: Any, params: Any, batch: Any, key: Array) -> Any:
    sums, total = state
    gradients, metrics = jax.grad(objective, has_aux=True)(params, batch, key)
    weight = jnp.float32(1)
    if not squared and isinstance(metrics, Mapping) and "loss" in metrics:
        weight = jnp.asarray(metrics["loss"][1], jnp.float32)

    def grown(old: Array, gradient: Array) -> Array:
        wide = gradient.astype(jnp.float32)
        # A batch without anything that counts may have a gradient of 0 / 0.
        return old + jnp.where(weight == 0, 0.0, weight * (wide**2 if squared else wide))

    return jax.tree.map(grown, sums, gradients), total + weight


def _score(measure: str, total: Array, summed: Array, weights: Array) -> Array:
    mean = summed / total
    return jnp.abs(mean * weights) if measure == "saliency" else jnp.abs(mean)
