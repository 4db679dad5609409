"""Masks and weights from which the evidence bound of a response is estimated.

With n maskable tokens, the bound is the mean over k uniform in 1..n, and over sets S of k tokens,
of (n / k) sum_{i in S} log p(x_i | S masked). It equals the mean over all orders of the
log-probability of decoding one by one in that order. Draws of it, with the weight of a masked
token:

| estimator          | masks                                                  | weight           |
|--------------------|--------------------------------------------------------|------------------|
| `uniform_count`    | k uniform in 1..n (LLaDA, get_log_likelihood.py)        | n / k            |
| `count_from_zero`  | k uniform in 0..n (ESPO, arXiv 2512.03759)              | (n + 1) / k      |
| `independent`      | each with probability t uniform in `floor`..1           | 1 / t            |
| `full`             | all: the one-step estimate of d1 (arXiv 2504.12216); no bound | 1          |

Every token weighs exactly 1 on average, and the first two are unbiased. `independent` is up to
t < `floor`, which never comes; the variance of 1 / t grows without bound as `floor` goes to 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.corruption import ranks
from jaxreason.objectives.diffusion.token_scores import check_block

Estimator = Literal["uniform_count", "count_from_zero", "independent", "full"]
ESTIMATORS: tuple[str, ...] = get_args(Estimator)
LONGEST_ENUMERATION = 16


class MaskDraws(NamedTuple):
    """K masked copies of each row of a batch.

    Attributes:
        masked: [B, K, T] bool, which tokens are masked.
        weights: [B, K, T] float32, what each log-probability is multiplied by before summing over
            K and T; the 1 / K of the mean is in it. 0 where not masked.
    """

    masked: Bool[Array, "B K T"]
    weights: Float[Array, "B K T"]


@dataclass(frozen=True)
class MaskDrawConfig:
    """How the bound is estimated.

    Attributes:
        estimator: see the table of the module.
        draws: K, masks per row.
        stratified: the K levels (k or t) of a row are spread evenly from a random start, each
            still uniform by itself (LLaDA); False draws them independently.
        antithetic: every second mask mirrors the one before it: the last tokens of the same random
            order, at the mirrored level. With `count_from_zero` it is the complement, so that a
            pair covers every token exactly once. `draws` must then be even.
        floor: least t of `independent`.

    Raises:
        InputError: a value out of its range.
    """

    estimator: Estimator = "uniform_count"
    draws: int = 128
    stratified: bool = True
    antithetic: bool = False
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise InputError(
                f"estimator={self.estimator!r}: expected one of {', '.join(ESTIMATORS)}"
            )
        if self.draws < 1 or (self.antithetic and self.draws % 2):
            kind = "a positive even number" if self.antithetic else "at least 1"
            raise InputError(
                f"draws={self.draws} with antithetic={self.antithetic}: expected {kind}"
            )
        if not 0 < self.floor < 1:
            raise InputError(f"floor={self.floor}: expected more than 0 and less than 1")


def draw_masks(
    maskable: Bool[Array, "B T"], key: PRNGKeyArray, config: MaskDrawConfig, block: int = 0
) -> MaskDraws:
    """Draw `config.draws` masks per row, of its maskable tokens.

    A row's masks depend on the key and on its place among the rows, not on other rows or on the
    mesh. To compare two models (policy and reference), draw once and score both.

    Args:
        maskable: [B, T], what may be masked.
        key: randomness.
        config: estimator and number of draws.
        block: 0, or the block length of a block-diffusion model: each block then has draws of its
            own, as the bound is a sum over blocks.

    Raises:
        InputError: `block` does not divide T.
    """

    def rows(maskable: Array) -> MaskDraws:
        def row(index: Array, maskable: Array) -> MaskDraws:
            return _draw_row(maskable, jax.random.fold_in(key, index), config)

        return jax.vmap(row)(jnp.arange(len(maskable)), maskable)

    return _by_block(rows, maskable, block)


def _by_block(
    draw: Callable[[Array], MaskDraws], maskable: Bool[Array, "B T"], block: int
) -> MaskDraws:
    """The draws of each block of each row, side by side again."""
    if not block:
        return draw(maskable)
    rows, length = maskable.shape
    check_block(block, length)
    draws = draw(maskable.reshape(-1, block))
    return jax.tree.map(
        lambda x: x.reshape(rows, -1, *x.shape[1:]).swapaxes(1, 2).reshape(rows, -1, length), draws
    )


def _draw_row(maskable: Array, key: PRNGKeyArray, config: MaskDrawConfig) -> MaskDraws:
    """The draws of one row, [K, T]."""
    count = config.draws // 2 if config.antithetic else config.draws
    level_key, token_key = jax.random.split(key)
    levels = jax.random.uniform(level_key, (count,))
    if config.stratified:
        levels = (levels[0] + jnp.arange(count) / count) % 1.0
    scores = jax.random.uniform(token_key, (count, len(maskable)))
    total = maskable.sum().astype(jnp.float32)
    least = 0.0 if config.estimator == "count_from_zero" else 1.0
    values = jnp.maximum(total + 1.0 - least, 1.0)
    chosen = jnp.minimum(jnp.floor(levels * values), values - 1.0)
    if config.antithetic:
        levels, chosen, scores = (
            jnp.stack([x, last - x], axis=1).reshape(config.draws, *x.shape[1:])
            for x, last in ((levels, 1.0), (chosen, values - 1.0), (scores, 1.0))
        )
    if config.estimator == "full":
        masked, weights = jnp.ones_like(scores, bool), jnp.ones_like(levels)
    elif config.estimator == "independent":
        ratio = config.floor + (1 - config.floor) * levels
        masked, weights = scores < ratio[:, None], 1.0 / ratio
    else:
        size = chosen + least
        masked = ranks(scores, maskable) < size[:, None]
        weights = values / jnp.maximum(size, 1.0)
    masked = masked & maskable
    return MaskDraws(masked, jnp.where(masked, weights[:, None], 0.0) / config.draws)


def enumerate_masks(maskable: Bool[Array, "B T"], longest: int, block: int = 0) -> MaskDraws:
    """Every non-empty set of maskable tokens with its exact weight: K = 2^longest - 1.

    A set of k out of n tokens weighs 1 / (k C(n, k)). Rows with more than `longest` maskable tokens
    get NaN weights; `check_longest` refuses them beforehand. With a `block`, the sets of every
    block, as `draw_masks`.

    Raises:
        InputError: `longest` outside 1..16; `block` does not divide T.
    """
    if not 1 <= longest <= LONGEST_ENUMERATION:
        raise InputError(
            f"longest={longest}: expected 1 to {LONGEST_ENUMERATION} tokens; the number of masks "
            "doubles with each, estimate longer responses with draw_masks"
        )
    return _by_block(partial(_all_sets, longest=longest), maskable, block)


def _all_sets(maskable: Bool[Array, "B T"], longest: int) -> MaskDraws:
    sets = jnp.arange(1, 2**longest)
    place = jnp.clip(jnp.cumsum(maskable, axis=1) - 1, 0, longest - 1)
    member = (sets[None, :, None] >> place[:, None, :]) & 1
    masked = (member == 1) & maskable[:, None, :]
    total = maskable.sum(axis=1)
    size = jnp.sum((sets[:, None] >> jnp.arange(longest)) & 1, axis=1)
    exists = sets[None, :] < (1 << jnp.minimum(total, longest))[:, None]
    weights = jnp.asarray(_set_weights(longest))[jnp.minimum(total, longest)[:, None], size[None]]
    weights = jnp.where(exists, weights, 0.0)
    weights = jnp.where((total > longest)[:, None], jnp.nan, weights)
    return MaskDraws(masked & exists[:, :, None], jnp.where(masked, weights[:, :, None], 0.0))


def _set_weights(longest: int) -> np.ndarray:
    """1 / (k C(n, k)) at [n, k], 0 where there is no such set."""
    table = np.zeros((longest + 1, longest + 1), np.float32)
    for n in range(1, longest + 1):
        ways = 1.0
        for k in range(1, n + 1):
            ways = ways * (n - k + 1) / k
            table[n, k] = 1.0 / (k * ways)
    return table


def check_longest(maskable: Bool[Array, "B T"], longest: int, block: int = 0) -> None:
    """Raises InputError if a row (or block) of a concrete batch has more maskable tokens."""
    places = np.asarray(maskable)
    if block:
        check_block(block, places.shape[1])
        places = places.reshape(-1, block)
    found = int(places.sum(axis=1).max(initial=0))
    if found > longest:
        raise InputError(
            f"longest={longest}, but {found} tokens are maskable together; raise it (at most "
            f"{LONGEST_ENUMERATION}) or estimate with draw_masks"
        )
