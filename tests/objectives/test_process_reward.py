"""PRIME's reward model: its loss against the formula, its rewards per token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from policy_toys import MASK, NEW, REFERENCE, TOKENS, Table, algorithm, rollout_batch, table_of

from jaxreason.errors import InputError
from jaxreason.objectives.process_reward import implicit_rewards, process_reward_loss

CORRECT = np.array([1.0, 0.0])
SUMS = np.sum((NEW - REFERENCE) * MASK, axis=1)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def loss_and_metrics(beta=0.5, **changes):
    with jax.enable_x64(True):
        batch = rollout_batch(correct=jnp.asarray(CORRECT), **changes)
        return process_reward_loss(Table(), beta)(table_of(NEW, TOKENS), batch, None)


def test_loss_is_the_cross_entropy_of_the_summed_log_ratio():
    loss, metrics = loss_and_metrics()
    accepted = 1 / (1 + np.exp(-0.5 * SUMS))
    wanted = -np.mean([np.log(accepted[0]), np.log(1 - accepted[1])])
    assert float(loss) == pytest.approx(wanted, abs=1e-11)
    assert float(metrics["loss"][1]) == 2
    assert float(metrics["score"][0]) == pytest.approx(0.5 * SUMS.sum(), abs=1e-11)
    right = (SUMS > 0) == (CORRECT > 0.5)
    assert float(metrics["accuracy"][0]) == right.sum()


def test_at_the_reference_the_loss_is_log_two():
    loss, _ = loss_and_metrics(reference_log_probabilities=jnp.asarray(NEW))
    assert float(loss) == pytest.approx(np.log(2), abs=1e-11)


def test_the_gradient_raises_what_was_correct():
    batch = rollout_batch(correct=jnp.asarray(CORRECT))

    @jax.jit
    def loss(logits):
        return process_reward_loss(Table(), 0.5)({"logits": logits}, batch, None)[0]

    logits = table_of(NEW, TOKENS)["logits"]
    check_grads(loss, (logits,), order=1, modes=("rev",), atol=1e-7, rtol=1e-7)
    gradient = np.asarray(jax.grad(loss)(logits))
    assert gradient[0, 0, TOKENS[0, 1]] < 0 < gradient[1, 0, TOKENS[1, 1]]


def test_rows_without_a_completion_count_nothing():
    empty = jnp.asarray(MASK & (np.arange(2) == 0)[:, None])
    loss, metrics = loss_and_metrics(targets_mask=empty)
    assert float(metrics["loss"][1]) == 1
    assert float(loss) == pytest.approx(np.log1p(np.exp(-0.5 * SUMS[0])), abs=1e-11)


def rewards(**changes):
    with jax.enable_x64(True):
        config = algorithm(advantage="prime", process_beta=0.5, **changes)
        arrays = (jnp.asarray(x) for x in (NEW, np.where(MASK, REFERENCE, np.nan), MASK))
        return np.asarray(implicit_rewards(config, *arrays))


TOKEN = 0.5 * np.array([[0, 0.1, 0.1, -0.1, 0], [0, 0.1, 0, 0, 0]])


def test_each_token_but_the_last_is_worth_its_log_ratio():
    np.testing.assert_allclose(rewards(process_normalised=False), TOKEN, atol=1e-12)


def test_the_whole_completion_is_worth_its_sum_on_the_last_token():
    wanted = np.zeros((2, 5))
    wanted[0, 4], wanted[1, 2] = 0.5 * SUMS
    got = rewards(process_normalised=False, process_granularity="whole")
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_normalised_rewards_have_sums_to_go_of_at_most_one():
    got = rewards()
    # The largest sum to go: 0.05 + 0.05 - 0.05 from the start, 0.05 in the second row.
    np.testing.assert_allclose(got, TOKEN / (0.05 + 1e-6), atol=1e-9)
    assert abs(got[:, ::-1].cumsum(axis=1)).max() <= 1


def test_bad_scales_and_missing_arrays_are_refused():
    with pytest.raises(InputError, match="process_beta=0"):
        process_reward_loss(Table(), 0.0)
    for name in ("correct", "reference_log_probabilities"):
        batch = rollout_batch(**{"correct": jnp.asarray(CORRECT), name: None})
        with pytest.raises(InputError, match=f"lacks '{name}'"):
            process_reward_loss(Table())(table_of(NEW, TOKENS), batch, None)
