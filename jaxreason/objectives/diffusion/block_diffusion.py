"""Block diffusion: autoregressive over blocks, masked diffusion inside each (BD3-LM).

Arriola et al. 2025, arXiv 2503.09573; github.com/kuleshov-group/bd3lms. The model reads
[x_t ; x_0], a noisy and a clean copy with the same positions: a noisy token sees its own noisy
block and the clean blocks before it. One pass so gives the loss of every block, and at sampling
time the keys and values of finished blocks are exact.

Blocks are counted from slot 0 of the row: data pads prompts on the left so that responses begin at
a multiple of the block. One block as long as the row is masked diffusion. Blocks of one token are
an autoregressive model with one difference: token i is predicted at place i, from the clean tokens
before it and a mask token there, not at place i - 1; its loss does not depend on the noise level.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.attention import MASK_MODES, MaskMode
from jaxreason.objectives.aggregation import mean
from jaxreason.objectives.diffusion.corruption import Corrupted, ranks, row_uniforms
from jaxreason.objectives.diffusion.tasks import require, require_token
from jaxreason.objectives.diffusion.token_scores import check_block, token_scores
from jaxreason.types import Batch, Metrics, Objective, Params

Per = Literal["token", "sequence"]


@dataclass(frozen=True)
class BlockDiffusionConfig:
    """Blocks and their noise.

    Attributes:
        block: tokens per block.
        least_ratio: least masking probability of a block.
        most_ratio: the largest; a clipped range, such as 0.3 to 0.8, lowers the variance of the
            gradient at the price of a loss that is no bound (the paper's clipped schedules).
        at_least_one: mask exactly ceil(n p) of the n maskable tokens of a block, so at least one,
            each with weight n / ceil(n p); False masks them independently. Masking one token only
            where none was drawn, with weight 1 / p, would have no mean as `least_ratio` goes to 0.
        per: divide by the maskable `token`s of the batch, or by its rows (`sequence`).
        mask_mode: what the padding marked in `keys` does to attention.

    Raises:
        InputError: a value out of its range.
    """

    block: int
    least_ratio: float = 1e-3
    most_ratio: float = 1.0
    at_least_one: bool = False
    per: Per = "token"
    mask_mode: MaskMode = "bool"

    def __post_init__(self) -> None:
        if self.block < 1:
            raise InputError(f"block={self.block}: expected at least 1 token")
        if not 0 < self.least_ratio <= self.most_ratio <= 1:
            raise InputError(
                f"least_ratio={self.least_ratio} with most_ratio={self.most_ratio}: expected "
                "0 < least_ratio <= most_ratio <= 1"
            )
        for name, allowed in (("per", get_args(Per)), ("mask_mode", MASK_MODES)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(allowed)}"
                )


def corrupt_blocks(
    batch: Batch, key: PRNGKeyArray, mask_id: int, config: BlockDiffusionConfig
) -> Corrupted:
    """Mask each block of each row with a probability of its own.

    The probability p of a block is uniform over the configured range, and a masked token weighs
    1 / p, or n / count with `at_least_one`: 1 on average. `ratio` of the result is the mean of p
    over the blocks of a row.

    Args:
        batch: `tokens` [B, T] int32 clean, `maskable` [B, T] bool; T a multiple of the block.
        key: randomness; a row's masks depend on it and on the row's place only.
        mask_id: the token that stands for a masked one.
        config: blocks and noise.

    Raises:
        InputError: the block does not divide T; a field is missing.
    """
    require(batch, ("tokens", "maskable"))
    tokens, maskable = batch["tokens"], batch["maskable"]
    rows, length = tokens.shape
    check_block(config.block, length)
    blocks = length // config.block
    level_key, token_key = jax.random.split(key)
    levels = row_uniforms(level_key, rows, blocks)[1]
    ratio = config.least_ratio + (config.most_ratio - config.least_ratio) * levels
    scores = row_uniforms(token_key, rows, length)[1].reshape(rows, blocks, -1)
    among = maskable.reshape(rows, blocks, -1)
    if config.at_least_one:
        total = among.sum(axis=2).astype(jnp.float32)
        count = jnp.ceil(total * ratio)
        masked = (ranks(scores, among) < count[:, :, None]) & among
        weights = total / jnp.maximum(count, 1.0)
    else:
        masked = (scores < ratio[:, :, None]) & among
        weights = 1.0 / ratio
    weights = jnp.where(masked, weights[:, :, None], 0.0).reshape(rows, length)
    masked = masked.reshape(rows, length)
    return Corrupted(jnp.where(masked, mask_id, tokens), masked, ratio.mean(axis=1), weights)


def block_diffusion(
    model: Transformer,
    *,
    mask_id: int,
    config: BlockDiffusionConfig,
    chunk: int | None = None,
) -> Objective:
    """Predict what was masked in each block, given the clean blocks before it.

    Batch: `tokens` [B, T] int32, `maskable` and `keys` [B, T] bool, T a multiple of the block; the
    model runs over 2 T tokens. Accumulation over micro-batches equals the whole batch.

    Args:
        model: a transformer.
        mask_id: the token that stands for a masked one.
        config: blocks and noise.
        chunk: targets whose logits exist at once, see `token_losses`.

    Raises:
        InputError: `mask_id` outside the model's vocabulary; when traced, a block that does not
            divide the rows, or fields missing.
    """
    require_token("mask_id", mask_id, model.config.vocabulary_size)

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        corrupted = corrupt_blocks(batch, key, mask_id, config)
        return block_loss_of(model, params, batch, corrupted, config, chunk)

    return objective


def block_loss_of(
    model: Transformer,
    params: Params,
    batch: Batch,
    corrupted: Corrupted,
    config: BlockDiffusionConfig,
    chunk: int | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """Weighted cross-entropy of the masked tokens, masks given.

    Metrics, as (sum, count): `loss` in nats per maskable token or per row, `accuracy` over masked
    tokens, `masked`, the masked share of what is maskable.
    """
    require(batch, ("tokens", "maskable", "keys"))
    scores = token_scores(
        model,
        params,
        corrupted.inputs,
        batch["tokens"],
        batch["keys"],
        config.mask_mode,
        chunk,
        config.block,
    )
    total = jnp.sum(jnp.where(corrupted.masked, corrupted.weights * scores.losses, 0.0))
    masked, maskable = (x.astype(jnp.float32).sum() for x in (corrupted.masked, batch["maskable"]))
    rows = jnp.asarray(len(batch["tokens"]), jnp.float32)
    count = maskable if config.per == "token" else rows
    metrics = {
        "loss": (total, count),
        "accuracy": (jnp.sum(scores.correct & corrupted.masked).astype(jnp.float32), masked),
        "masked": (masked, maskable),
    }
    return mean(total, count), metrics
