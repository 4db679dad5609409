"""Which tokens of a response are masked while a policy learns from it.

| noise         | one draw                                                                       |
|---------------|--------------------------------------------------------------------------------|
| `timesteps`   | level t_n of update n, masked share t_n / T: UniGRPO (arXiv 2505.15809, Alg. 1) |
| `full`        | the whole response: d1 (arXiv 2504.12216), wd1                                 |
| `uniform`     | a share drawn from `ratio_range`: dLLM-RL's random_masking                     |
| `coupled`     | all, a random part, and the rest: coupled-GRPO (arXiv 2506.20639)              |
| `exact_pairs` | k tokens, k uniform in 0..L, and the L - k others: ESPO (arXiv 2512.03759)     |
| `exact`       | k tokens, k uniform in 1..L, levels stratified: VRPO (arXiv 2505.19223)         |
| `blocks`      | what follows a random block, and part of the block; draws have distinct blocks |
|               | while there are enough: SPG                                                    |
| `trace`       | what the sampler had not revealed before a step of it: TraceRL                 |

A `trace` is exact up to the end token, and after it where the sampler wrote padding itself, as
LLaDA does. What else it had put there is not kept: those places are masked at every step, whereas
the sampler may have filled some of them before it chose the end token. With the tail "masked" all
of them are.

The noise of all updates is drawn before the first, so that new, old and reference policy are scored
under the same masks.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig
from jaxreason.objectives.diffusion.corruption import ranks
from jaxreason.objectives.diffusion.timesteps import noise_levels

Rows = Mapping[str, Array]
"""`maskable [B, T]` (places of the response, those after its end token included), `counted [B, T]`
(its tokens, the end token included), `keys [B, T]` (False: padding), and for "trace" `order [B, T]`
int32 (denoising step that revealed a token; -1 none did)."""


class Noise(NamedTuple):
    """Masks of one update, or with a leading axis those of all.

    Attributes:
        masked: [B, K, T], which tokens the model does not see.
        weights: [B, K, T] float32, what each masked token that counts weighs; 0 for all others.
            For the K draws of a noise that makes an ELBO, sum_{k,t} weights log p estimates it.
    """

    masked: Bool[Array, "B K T"]
    weights: Float[Array, "B K T"]


def response_lengths(config: DiffusionAlgorithmConfig, rows: Rows) -> Float[Array, " B"]:
    """Tokens of each response that the algorithm counts."""
    places = rows["maskable"] if config.tail == "counted" else rows["counted"]
    return places.sum(axis=1).astype(jnp.float32)


def draw_count(config: DiffusionAlgorithmConfig, steps: int) -> int:
    """K, noisings of a response per update, if the sampler takes `steps` denoising steps."""
    each = {"coupled": 3, "exact_pairs": 2}.get(config.noise, 1)
    return -(-steps // config.shrink) if config.noise == "trace" else each * config.draws


def draw_noise(
    config: DiffusionAlgorithmConfig, rows: Rows, key: PRNGKeyArray, *, group: int, steps: int = 1
) -> Noise:
    """The noise of all updates, [N, B, K, T].

    A response always has a counted token masked, except in a half of `exact_pairs` and in steps of
    a trace that revealed none of its tokens: where level 0 or chance would mask none, the counted
    token with the smallest draw is.

    Args:
        config: the algorithm.
        rows: see `Rows`; rows of one group are neighbours.
        key: of the draws.
        group: responses per prompt.
        steps: of the sampler, for "trace".

    Raises:
        InputError: "trace" without `order`.
    """
    if config.needs_order and "order" not in rows:
        raise InputError(
            "noise='trace' needs the order in which tokens were revealed, and the rows have no "
            "'order'"
        )
    level_key, draw_key = jax.random.split(key)
    levels = noise_levels(config, rows["keys"].shape[0], level_key, group)
    keys = jax.random.split(draw_key, config.updates)

    def one(levels: Array, key: PRNGKeyArray) -> Noise:
        return _draw(config, rows, levels, key, group, steps)

    return jax.vmap(one)(levels, keys)


def _draw(
    config: DiffusionAlgorithmConfig,
    rows: Rows,
    levels: Float[Array, " B"],
    key: PRNGKeyArray,
    group: int,
    steps: int,
) -> Noise:
    """One update's draws."""
    maskable, counted = rows["maskable"], rows["counted"]
    always = jnp.zeros_like(maskable)
    if config.tail == "counted":
        counted = maskable
    elif config.tail != "noised":
        always = maskable & ~counted if config.tail == "masked" else always
        maskable = counted
    if config.noise == "trace":
        noise = _trace(rows["order"], maskable, counted, config.shrink, steps)
    elif config.noise == "exact":
        noise = elbo_noise(maskable, key, config.draws)
        noise = Noise(noise.masked, jnp.where(counted[:, None], noise.weights, 0.0))
    else:
        keys = [jax.random.fold_in(key, draw) for draw in range(config.draws)]
        if config.noise == "blocks":
            parts = _blocks(config, maskable, counted, keys, group)
        else:
            parts = [_random(config, maskable, counted, levels, one, group) for one in keys]
        masked, weights = (jnp.concatenate(x, axis=1) for x in zip(*parts, strict=True))
        noise = Noise(masked, weights / config.draws)
    hidden = noise.masked | always[:, None]
    if config.prompt_mask > 0:
        prompt = rows["keys"] & ~rows["maskable"]
        uniform = jax.random.uniform(jax.random.fold_in(key, config.draws), hidden.shape)
        hidden |= prompt[:, None] & (uniform < config.prompt_mask)
    return Noise(hidden, noise.weights)


def elbo_noise(maskable: Bool[Array, "B T"], key: PRNGKeyArray, draws: int) -> Noise:
    """Masks and weights of an unbiased ELBO estimate: k of L tokens, k uniform in 1..L, weight L/k.

    Each draw has a level and a mask of its own, the best use of a budget (VRPO, arXiv 2505.19223,
    section 3.3); draw i's level lies in the i-th of `draws` equal parts.

    Args:
        maskable: [B, T], the places of the response; others are never masked.
        key: of the draws.
        draws: K.

    Returns:
        `masked` and `weights`, [B, K, T].
    """
    if draws < 1:
        raise InputError(f"draws={draws}: expected at least 1")
    count, length = maskable.shape
    level_key, place_key = jax.random.split(key)
    level = (jnp.arange(draws) + jax.random.uniform(level_key, (count, draws))) / draws
    total = maskable.sum(axis=1)[:, None]
    size = jnp.minimum(jnp.floor(level * total).astype(total.dtype), total - 1) + 1
    uniform = jax.random.uniform(place_key, (count, draws, length))
    among = jnp.broadcast_to(maskable[:, None], uniform.shape)
    masked = among & (ranks(uniform, among) < size[..., None])
    scale = total / jnp.maximum(size, 1) / draws
    return Noise(masked, jnp.where(masked, scale[..., None], 0.0))


def _random(
    config: DiffusionAlgorithmConfig,
    maskable: Bool[Array, "B T"],
    counted: Bool[Array, "B T"],
    levels: Float[Array, " B"],
    key: PRNGKeyArray,
    group: int,
) -> Noise:
    """One random draw (of a pair or triple: all of its members), weights still undivided."""
    place_key, share_key = jax.random.split(key)
    count, length = maskable.shape
    alike = group if config.share_mask_across_group else 1
    uniform = jax.random.uniform(place_key, (count // alike, length))
    uniform = jnp.repeat(uniform, alike, axis=0)
    share = jnp.repeat(jax.random.uniform(share_key, (count // alike,)), alike)
    low, high = config.ratio_range
    ratio = low + (high - low) * share
    match config.noise:
        case "timesteps":
            chosen = _at_level(uniform, levels, maskable, counted, config.mask_count)
        case "uniform":
            chosen = _at_level(uniform, ratio, maskable, counted, config.mask_count)
        case "full":
            chosen = maskable
        case "coupled":
            return _coupled(uniform, ratio, maskable, counted)
        case _:
            return _exact_pair(uniform, share, maskable, counted)
    return Noise(chosen[:, None], (chosen & counted)[:, None].astype(jnp.float32))


def _at_level(
    uniform: Float[Array, "B T"],
    ratio: Float[Array, " B"],
    maskable: Bool[Array, "B T"],
    counted: Bool[Array, "B T"],
    how: str,
) -> Bool[Array, "B T"]:
    if how == "exact":
        size = jnp.maximum(jnp.round(ratio * maskable.sum(axis=1)), 1)
        chosen = maskable & (ranks(uniform, maskable) < size[:, None])
    else:
        chosen = maskable & (uniform < ratio[:, None])
    least = jnp.min(jnp.where(counted, uniform, jnp.inf), axis=1, keepdims=True)
    return chosen | (counted & (uniform <= least))


def _coupled(uniform: Array, ratio: Array, maskable: Array, counted: Array) -> Noise:
    """All; a part, weight 1 / r; the rest, weight 1 / (1 - r); halved, so that they add up."""
    part = maskable & (uniform < ratio[:, None])
    masked = jnp.stack([maskable, part, maskable & ~part], axis=1)
    one = jnp.ones_like(ratio)
    scale = jnp.stack([one, 1 / ratio, 1 / (1 - ratio)], axis=1) / 2
    return Noise(masked, jnp.where(masked & counted[:, None], scale[:, :, None], 0.0))


def _exact_pair(uniform: Array, share: Array, maskable: Array, counted: Array) -> Noise:
    """k of L tokens with weight (L + 1) / k and the others with (L + 1) / (L - k), halved."""
    length = maskable.sum(axis=1)
    size = jnp.minimum(jnp.floor(share * (length + 1)).astype(length.dtype), length)
    part = maskable & (ranks(uniform, maskable) < size[:, None])
    masked = jnp.stack([part, maskable & ~part], axis=1)
    sizes = jnp.maximum(jnp.stack([size, length - size], axis=1), 1)
    scale = (length + 1)[:, None] / sizes / 2
    return Noise(masked, jnp.where(masked & counted[:, None], scale[:, :, None], 0.0))


def _blocks(
    config: DiffusionAlgorithmConfig,
    maskable: Bool[Array, "B T"],
    counted: Bool[Array, "B T"],
    keys: Sequence[PRNGKeyArray],
    group: int,
) -> list[Noise]:
    """One draw per key: the blocks of each response in a random order, and round again."""
    count, length = maskable.shape
    alike = group if config.share_mask_across_group else 1

    def uniform(key: PRNGKeyArray, *shape: int) -> Array:
        return jnp.repeat(jax.random.uniform(key, (count // alike, *shape)), alike, axis=0)

    total = jnp.maximum(-(-counted.sum(axis=1) // config.block), 1)
    most = -(-length // config.block)
    order_key = jax.random.split(keys[0], 3)[2]
    exists = jnp.arange(most) < total[:, None]
    order = jnp.argsort(jnp.where(exists, uniform(order_key, most), jnp.inf), axis=1)
    draws = []
    for draw, key in enumerate(keys):
        place_key, share_key, _ = jax.random.split(key, 3)
        chosen = jnp.take_along_axis(order, (draw % total)[:, None], axis=1)
        share = uniform(share_key)
        draws.append(
            _block(uniform(place_key, length), share, chosen, maskable, counted, config.block)
        )
    return draws


def _block(
    uniform: Array, share: Array, chosen: Array, maskable: Array, counted: Array, block: int
) -> Noise:
    """SPG: of the chosen block [B, 1] k tokens, k uniform in 1..its length; all that follows;
    weight 1 over the share of the response that is masked.
    """
    place = jnp.cumsum(counted, axis=1) - 1
    length = counted.sum(axis=1)
    inside = counted & (place // block == chosen)
    here = inside.sum(axis=1)
    size = jnp.minimum(jnp.floor(share * here), here - 1) + 1
    after = maskable & ~(counted & (place // block <= chosen))
    masked = after | (inside & (ranks(uniform, inside) < size[:, None]))
    shown = masked & counted
    level = shown.sum(axis=1) / jnp.maximum(length, 1)
    scale = 1 / jnp.maximum(level, 1e-9)
    return Noise(masked[:, None], jnp.where(shown, scale[:, None], 0.0)[:, None])


def _trace(order: Array, maskable: Array, counted: Array, shrink: int, steps: int) -> Noise:
    """Draw k is the canvas before steps k shrink .. (k + 1) shrink - 1, and counts their tokens."""
    chunk = jnp.where(order >= 0, order // shrink, steps)[:, None]
    draws = jnp.arange(-(-steps // shrink))[None, :, None]
    masked = maskable[:, None] & (chunk >= draws)
    return Noise(masked, (counted[:, None] & (chunk == draws)).astype(jnp.float32))
