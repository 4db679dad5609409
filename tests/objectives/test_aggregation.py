"""Every aggregation against its formula, and that sums and counts add up over parts."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.objectives.aggregation import AGGREGATIONS, aggregate, mean

VALUES = np.array([[1.0, 2.0, 4.0, 9.0], [3.0, 5.0, 9.0, 9.0], [np.nan] * 4])
MASK = np.array([[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool)
# Row sums 7 and 5, lengths 3 and 1; the third row has nothing and is no sequence.
WANTED = {
    "token_mean": 12 / 4,
    "token_mean_local": 12 / 4,
    "seq_mean_token_mean": (7 / 3 + 5) / 2,
    "seq_mean_token_sum": 12 / 2,
    "seq_sum_over_constant": 12 / (2 * 10),
    "sum_over_constant": 12 / 10,
}


def loss(values, mask, how, rows):
    total, count = aggregate(jnp.asarray(values), jnp.asarray(mask), how, 10, rows)
    return total, count


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_aggregation_equals_its_formula(how):
    np.testing.assert_allclose(mean(*loss(VALUES, MASK, how, 3)), WANTED[how], rtol=1e-6)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_parts_add_up_to_the_whole_except_where_means_are_averaged(how):
    parts = [loss(VALUES[i : i + 1], MASK[i : i + 1], how, 3) for i in range(3)]
    added = mean(sum(p[0] for p in parts), sum(p[1] for p in parts))
    expected = (7 / 3 + 5 + 0) / 3 if how == "token_mean_local" else WANTED[how]
    np.testing.assert_allclose(added, expected, rtol=1e-6)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_nothing_counted_is_a_loss_of_zero(how):
    assert float(mean(*loss(VALUES, np.zeros_like(MASK), how, 3))) == 0


@pytest.mark.parametrize(
    ("how", "max_tokens", "rows", "message"),
    [
        ("tokens", 4, 4, "aggregation='tokens': expected one of token_mean"),
        ("seq_sum_over_constant", None, None, "max_tokens=None"),
        ("sum_over_constant", 0, 4, "max_tokens=0"),
        ("sum_over_constant", 4, None, "batch_rows=None"),
    ],
)
def test_unknown_names_and_missing_constants_are_refused(how, max_tokens, rows, message):
    with pytest.raises(InputError, match=message):
        aggregate(jnp.asarray(VALUES), jnp.asarray(MASK), how, max_tokens, rows)
