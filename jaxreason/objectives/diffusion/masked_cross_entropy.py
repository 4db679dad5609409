"""Masked cross-entropy over text and images: one objective for all tasks of MMaDA.

With CE the cross-entropy of a token given the masked row, p the row's masking probability, m its
masked tokens, T the length of rows and `maskable` what may be masked, task by task:

| task               | normalisation="reference": mean over the micro-batch of its rows           |
|--------------------|----------------------------------------------------------------------------|
| t2i                | CE, over the masked tokens *and* the row's `visible_targets` (<|soi|> and  |
|                    | <|eoi|>), pooled over rows; no 1 / p                                        |
| lm                 | sum_m CE / p, over the T tokens of every row                               |
| lm_chat, mmu, r2i  | sum_m CE / (p a), over rows; a = max(1, number of maskable tokens), the    |
|                    | padding that is predicted included                                         |

and the loss is the sum of coefficient times mean (github.com/Gen-Verse/MMaDA,
models/modeling_mmada.py, `forward_process`; the paper, arXiv 2505.15809, eq. 1, gives images the
weight 1 / t instead, which is `elbo` below). A task without rows has loss 0. The reference mixes
plain and dialogue text in one mean: give such rows the task lm_chat with everything maskable, which
makes a = T.

These means have different denominators, so that a whole batch is not the sum of its parts. The
reference averages its micro-batches' losses; so does `reference`, by counting each once. Where
accumulation should equal the whole batch, there are

* `rows`: each row has the loss that its task has above on that row alone, times the coefficient;
  the mean over rows. The task mix then comes from the numbers of rows as well.
* `elbo`: the negative evidence bound: sum of weight times CE over masked tokens (1 / p, on images
  the schedule's own weight), times the coefficient, per maskable token (`per="token"`, of the whole
  batch) or per row (`per="sequence"`). `visible_targets` do not count. With coefficients of 1 its
  mean is an upper bound of the negative log-likelihood.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.attention import MASK_MODES, MaskMode
from jaxreason.objectives.aggregation import mean
from jaxreason.objectives.diffusion.corruption import Corrupted, CorruptionConfig, corrupt
from jaxreason.objectives.diffusion.tasks import TASKS, TaskCoefficients, require, require_token
from jaxreason.objectives.diffusion.token_scores import token_scores
from jaxreason.types import Batch, Metrics, Objective, Params

Normalisation = Literal["reference", "rows", "elbo"]
Per = Literal["token", "sequence"]


@dataclass(frozen=True)
class MaskedDiffusionConfig:
    """How a batch becomes a loss.

    Attributes:
        coefficients: weight of each task.
        normalisation: `reference`, `rows` or `elbo`, see the module.
        per: what `elbo` divides by.
        corruption: how tokens are masked.
        mask_mode: what the padding marked in `keys` does to attention; `legacy_float` reproduces
            the reference's training, `full` suits its released checkpoints, `bool` is right.

    Raises:
        InputError: an unknown choice, or choices that do not go together.
    """

    coefficients: TaskCoefficients = field(default_factory=TaskCoefficients)
    normalisation: Normalisation = "reference"
    per: Per = "token"
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    mask_mode: MaskMode = "bool"

    def __post_init__(self) -> None:
        choices = {
            "normalisation": get_args(Normalisation),
            "per": get_args(Per),
            "mask_mode": MASK_MODES,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(allowed)}"
                )
        if self.normalisation == "elbo" and self.corruption.min_masking_rate > 0:
            raise InputError(
                f"min_masking_rate={self.corruption.min_masking_rate} with normalisation='elbo': "
                "expected 0, ratios that are never drawn are missing from the bound"
            )


def masked_diffusion(
    model: Transformer,
    *,
    mask_id: int,
    config: MaskedDiffusionConfig | None = None,
    chunk: int | None = None,
) -> Objective:
    """Mask a clean batch at random and predict what was masked.

    Batch: `tokens` [B, T] int32, `maskable`, `keys`, `visible_targets` [B, T] bool, `task` [B]
    int32 into `tasks.TASKS`. The order of rows does not matter to the loss, but which masks a row
    gets depends on its place.

    Args:
        model: a transformer, used bidirectionally.
        mask_id: the token that stands for a masked one.
        config: coefficients, normalisation and noise; MMaDA's if None.
        chunk: targets whose logits exist at once, see `token_losses`.

    Returns:
        The objective; metrics as in `loss_of`.

    Raises:
        InputError: `mask_id` outside the model's vocabulary; when traced, fields missing.
    """
    chosen = MaskedDiffusionConfig() if config is None else config
    require_token("mask_id", mask_id, model.config.vocabulary_size)

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        corrupted = corrupt(batch, key, mask_id, chosen.corruption)
        return loss_of(model, params, batch, corrupted, chosen, chunk)

    return objective


def loss_of(
    model: Transformer,
    params: Params,
    batch: Batch,
    corrupted: Corrupted,
    config: MaskedDiffusionConfig,
    chunk: int | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """The loss of a batch whose masks are given.

    Metrics, as (sum, count): `loss` (count 1 with `reference`, see the module); `loss_<task>`, the
    same per task and without coefficient, its (sum, count) adding up over micro-batches;
    `accuracy` over masked tokens; `masked`, the masked share of what is maskable.
    """
    require(batch, ("tokens", "maskable", "keys", "visible_targets", "task"))
    scores = token_scores(
        model, params, corrupted.inputs, batch["tokens"], batch["keys"], config.mask_mode, chunk
    )
    if config.normalisation == "elbo":
        sums, counts = _bound_terms(scores.losses, batch, corrupted, config.per)
    else:
        sums, counts = _reference_terms(scores.losses, batch, corrupted)
    task = batch["task"]
    of_task = {name: task == index for index, name in enumerate(TASKS)}
    parts = {
        name: (jnp.sum(jnp.where(rows, sums, 0.0)), jnp.sum(jnp.where(rows, counts, 0.0)))
        for name, rows in of_task.items()
    }
    total, count = _combine(config, parts, task, sums, counts)
    masked, maskable = (x.astype(jnp.float32).sum() for x in (corrupted.masked, batch["maskable"]))
    metrics = {
        "loss": (total, count),
        **{f"loss_{name}": part for name, part in parts.items()},
        "accuracy": (jnp.sum(scores.correct & corrupted.masked).astype(jnp.float32), masked),
        "masked": (masked, maskable),
    }
    return mean(total, count), metrics


def _combine(
    config: MaskedDiffusionConfig,
    parts: Metrics,
    task: Array,
    sums: Float[Array, " B"],
    counts: Float[Array, " B"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) of the loss from those of each task and of each row."""
    if config.normalisation == "reference":
        coefficients = config.coefficients
        means = [getattr(coefficients, name) * mean(*part) for name, part in parts.items()]
        return jnp.sum(jnp.stack(means)), jnp.ones(())
    if config.normalisation == "rows":
        sums, counts = mean(sums, counts), jnp.ones_like(counts)
    return jnp.sum(config.coefficients.of_rows(task) * sums), jnp.sum(counts)


def _reference_terms(
    losses: Float[Array, "B T"], batch: Batch, corrupted: Corrupted
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Numerator and denominator that each row adds to its task's mean."""
    task, masked = batch["task"], corrupted.masked
    length = losses.shape[1]
    seen = masked | batch["visible_targets"]
    image_sum = jnp.sum(jnp.where(seen, losses, 0.0), axis=1)
    image_count = seen.sum(axis=1).astype(jnp.float32)
    image, text = (task == TASKS.index(name) for name in ("t2i", "lm"))
    # An image's ratio may be 0, and dividing by it would spoil the gradient of what is not taken.
    ratio = jnp.where(image, 1.0, corrupted.ratio)
    text_sum = jnp.sum(jnp.where(masked, losses, 0.0), axis=1) / ratio
    answer = jnp.maximum(batch["maskable"].sum(axis=1), 1).astype(jnp.float32)
    sums = jnp.where(image, image_sum, jnp.where(text, text_sum, text_sum / answer))
    counts = jnp.where(image, image_count, jnp.where(text, float(length), 1.0))
    return sums, counts


def _bound_terms(
    losses: Float[Array, "B T"], batch: Batch, corrupted: Corrupted, per: Per
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """A draw of each row's negative evidence bound, and what it counts for."""
    sums = jnp.sum(jnp.where(corrupted.masked, corrupted.weights * losses, 0.0), axis=1)
    if per == "sequence":
        return sums, jnp.ones_like(sums)
    return sums, batch["maskable"].sum(axis=1).astype(jnp.float32)
