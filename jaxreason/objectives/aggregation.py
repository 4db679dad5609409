"""From one number per token to one loss: the choice on which libraries disagree most.

With x the per-token values, m the mask, n_i = sum_t m_it, B the rows with n_i > 0 and L the limit
of new tokens:

| name                    | loss                            | TRL       | verl                     |
|-------------------------|---------------------------------|-----------|--------------------------|
| `token_mean`            | sum m x / sum m, all rows       | `dapo`    | `token-mean`             |
| `token_mean_local`      | the same per micro-batch, mean  | `bnpo`    |                          |
| `seq_mean_token_mean`   | 1/B sum_i (sum_t m x / n_i)     | `grpo`    | `seq-mean-token-mean`    |
| `seq_mean_token_sum`    | 1/B sum_i sum_t m x             |           | `seq-mean-token-sum`     |
| `seq_sum_over_constant` | sum m x / (B L)                 | `dr_grpo` |                          |
| `sum_over_constant`     | sum m x / L                     |           | `seq-mean-token-sum-norm`|

Rows without any counted token are no sequences: they are left out of B (as in verl; TRL counts
them). Accumulation over micro-batches is exact for all but `token_mean_local`, whose loss is by
definition the mean of the micro-batches' means.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreason.errors import InputError

Aggregation = Literal[
    "token_mean",
    "token_mean_local",
    "seq_mean_token_mean",
    "seq_mean_token_sum",
    "seq_sum_over_constant",
    "sum_over_constant",
]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def check_aggregation(
    aggregation: str, max_tokens: int | None = None, batch_rows: int | None = None
) -> None:
    """Refuse an aggregation that is unknown or lacks one of its constants.

    Raises:
        InputError: names the argument, its value and what was expected.
    """
    if aggregation not in AGGREGATIONS:
        raise InputError(f"aggregation={aggregation!r}: expected one of {', '.join(AGGREGATIONS)}")
    if aggregation.endswith("over_constant") and (max_tokens is None or max_tokens < 1):
        raise InputError(
            f"max_tokens={max_tokens}: {aggregation!r} divides by it; expected at least 1"
        )
    if aggregation == "sum_over_constant" and (batch_rows is None or batch_rows < 1):
        raise InputError(
            f"batch_rows={batch_rows}: {aggregation!r} needs the rows of a whole step, so that "
            "micro-batches add up; expected at least 1"
        )


def aggregate(
    values: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    aggregation: str,
    max_tokens: int | None = None,
    batch_rows: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum, count) whose quotient is the aggregated loss.

    Sums and counts of micro-batches may be added up: the quotient is then the loss of the whole
    batch. A count of 0 means that nothing was counted.

    Args:
        values: [B, T], one per token.
        mask: [B, T], which count.
        aggregation: one of `AGGREGATIONS`.
        max_tokens: L, for the constant ones.
        batch_rows: rows of the whole batch of a step, for `sum_over_constant`.

    Raises:
        InputError: see `check_aggregation`.
    """
    check_aggregation(aggregation, max_tokens, batch_rows)
    constant, whole = max_tokens or 1, batch_rows or 1
    rows = jnp.sum(jnp.where(mask, values, 0.0), axis=1)
    tokens = jnp.sum(mask, axis=1).astype(values.dtype)
    sequences = jnp.sum(tokens > 0).astype(values.dtype)
    match aggregation:
        case "token_mean":
            return rows.sum(), tokens.sum()
        case "token_mean_local":
            return rows.sum() / jnp.maximum(tokens.sum(), 1), jnp.ones((), values.dtype)
        case "seq_mean_token_mean":
            return jnp.sum(rows / jnp.maximum(tokens, 1)), sequences
        case "seq_mean_token_sum":
            return rows.sum(), sequences
        case "seq_sum_over_constant":
            return rows.sum() / constant, sequences
        case _:
            # Each micro-batch weighs as many rows as it has, and all of them `batch_rows`.
            here = jnp.asarray(values.shape[0], values.dtype)
            return rows.sum() * (whole / constant), here


def mean(total: Float[Array, ""], count: Float[Array, ""]) -> Float[Array, ""]:
    """`total / count`, and 0 where nothing was counted."""
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1), 0.0)
