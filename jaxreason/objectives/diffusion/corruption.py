"""Masking tokens at random: the forward process of masked diffusion, task by task.

Images (task t2i) get k = max(1, round(N p)) masked tokens at random places, with p the schedule's
ratio at a time uniform over [0, 1]. Everything else is masked token by token with probability
p = (1 - floor) u + floor. Only `maskable` tokens are ever masked
(github.com/Gen-Verse/MMaDA, training/utils.py and training/train_mmada.py; LLaDA, arXiv
2502.09992).

A row's masks depend on the key, on its place among the rows and on its own `maskable`: neither on
the rows beside it nor on how devices share them.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.schedules import Schedule, count_probability
from jaxreason.objectives.diffusion.tasks import IMAGE_TASK, require
from jaxreason.types import Batch

ImageMasks = Literal["count", "independent"]
IMAGE_MASKS: tuple[str, ...] = get_args(ImageMasks)


@dataclass(frozen=True)
class CorruptionConfig:
    """How tokens are masked.

    Attributes:
        image_schedule: ratio of masked image tokens over time (t2i rows).
        min_masking_rate: the least ratio of masked image tokens; the reference's configs say 0.
        image_masks: `count` masks round(N p) image tokens and at least one (reference),
            `independent` each with probability p.
        text_floor: the least ratio of masked text tokens.

    Raises:
        InputError: a value out of its range.
    """

    image_schedule: Schedule = field(default_factory=Schedule)
    min_masking_rate: float = 0.0
    image_masks: ImageMasks = "count"
    text_floor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.min_masking_rate <= 1:
            raise InputError(f"min_masking_rate={self.min_masking_rate}: expected 0 to 1")
        if not 0 < self.text_floor <= 1:
            raise InputError(f"text_floor={self.text_floor}: expected more than 0, at most 1")
        if self.image_masks not in IMAGE_MASKS:
            raise InputError(
                f"image_masks={self.image_masks!r}: expected one of {', '.join(IMAGE_MASKS)}"
            )


class Corrupted(NamedTuple):
    """A batch after masking.

    Attributes:
        inputs: [B, T] int32, what the model reads.
        masked: [B, T] bool, which tokens were replaced by the mask.
        ratio: [B] float32, the masking probability p of each row.
        weights: [B, T] float32, weight of each masked token's log-probability in the evidence
            bound, 0 elsewhere: under the draw that made `masked`, every maskable token weighs 1 on
            average.
    """

    inputs: Int[Array, "B T"]
    masked: Bool[Array, "B T"]
    ratio: Float[Array, " B"]
    weights: Float[Array, "B T"]


def given(inputs: Int[Array, "B T"], ratio: Float[Array, " B"], mask_id: int) -> Corrupted:
    """Inputs that are masked already, each token with its row's probability `ratio`.

    Whatever equals `mask_id` is taken for masked, as in the reference.
    """
    masked = inputs == mask_id
    return Corrupted(inputs, masked, ratio, jnp.where(masked, 1.0 / ratio[:, None], 0.0))


def ranks(scores: Float[Array, "... T"], among: Bool[Array, "... T"]) -> Int[Array, "... T"]:
    """Each token's rank among those marked, from 0 for the lowest score; the others come after."""
    ordered = jnp.argsort(jnp.where(among, scores, jnp.inf), axis=-1)
    return jnp.argsort(ordered, axis=-1)


def row_uniforms(
    key: PRNGKeyArray, rows: int, length: int
) -> tuple[Float[Array, " B"], Float[Array, "B T"]]:
    """A number per row and one per token, uniform in [0, 1); row i's come from fold_in(key, i)."""

    def one(row: Array) -> tuple[Array, Array]:
        level, token = jax.random.split(jax.random.fold_in(key, row))
        return jax.random.uniform(level), jax.random.uniform(token, (length,))

    return jax.vmap(one)(jnp.arange(rows))


def corrupt(batch: Batch, key: PRNGKeyArray, mask_id: int, config: CorruptionConfig) -> Corrupted:
    """Draw a masked copy of a batch.

    Args:
        batch: `tokens` [B, T] int32 clean, `maskable` [B, T] bool, `task` [B] int32.
        key: randomness; the same key gives the same masks.
        mask_id: the token that stands for a masked one.
        config: how much is masked.

    Raises:
        InputError: a field of the batch is missing.
    """
    require(batch, ("tokens", "maskable", "task"))
    tokens, maskable = batch["tokens"], batch["maskable"]
    times, scores = row_uniforms(key, *tokens.shape)
    image = batch["task"] == IMAGE_TASK

    text_ratio = (1 - config.text_floor) * times + config.text_floor
    schedule = config.image_schedule
    image_ratio = jnp.maximum(schedule.ratio(times), config.min_masking_rate)
    ratio = jnp.where(image, image_ratio, text_ratio)
    masked = (scores < ratio[:, None]) & maskable
    image_weight = schedule.weight(times)
    if config.image_masks == "count":
        total = maskable.sum(axis=1).astype(jnp.float32)
        count = jnp.clip(jnp.round(total * image_ratio), 1.0, jnp.maximum(total, 1.0))
        exact = (ranks(scores, maskable) < count[:, None]) & maskable
        masked = jnp.where(image[:, None], exact, masked)
        probability = count_probability(schedule, count, jnp.maximum(total, 1.0))
        image_weight = 1.0 / (count * probability)
    weight = jnp.where(image, image_weight, 1.0 / text_ratio)
    return Corrupted(
        inputs=jnp.where(masked, mask_id, tokens),
        masked=masked,
        ratio=ratio,
        weights=jnp.where(masked, weight[:, None], 0.0),
    )
