"""Advantages: worked numbers, identities, what enters the reward, and bad rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_toys import algorithm

from jaxreason.errors import InputError
from jaxreason.objectives.advantage_estimators import (
    generalized_advantages,
    group_advantages,
    last_tokens,
    leave_one_out,
    overlong_penalties,
    prime_returns,
    rewards_to_go,
    whiten,
)
from jaxreason.objectives.advantages import (
    check_rewards,
    compute_advantages,
    informative_groups,
)

REWARDS = np.array([1.0, 0, 0, 1, 0, 0, 1, 0])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def groups(first, second):
    """Advantages of the two groups above, from (of reward 1, of reward 0) in each."""
    a, b = first
    c, d = second
    return [a, b, b, a, d, d, c, d]


def rows(values):
    return jnp.asarray(values, jnp.float64)


def test_group_advantages_follow_each_librarys_convention():
    for degrees, epsilon, first, second in (
        (1, 1e-4, 0.8658754298, (1.49970006, -0.49990002)),
        (1, 1e-6, 0.8660239038, (1.499997, -0.499999)),
        (0, 1e-8, 0.99999998, (1.7320507676, -0.5773502559)),
    ):
        got = group_advantages(rows(REWARDS), 4, "group", degrees, epsilon)
        np.testing.assert_allclose(got, groups((first, -first), second), atol=1e-9)


def test_centred_and_leave_one_out_advantages_are_the_worked_ones():
    centred = group_advantages(rows(REWARDS), 4, "none")
    np.testing.assert_allclose(centred, groups((0.5, -0.5), (0.75, -0.25)), atol=1e-12)
    others = leave_one_out(rows(REWARDS), 4)
    np.testing.assert_allclose(others, groups((2 / 3, -2 / 3), (1, -1 / 3)), atol=1e-12)


def test_the_deviation_of_the_batch_keeps_the_means_of_the_groups():
    rewards = np.random.default_rng(0).normal(size=12)
    got = group_advantages(rows(rewards), 4, "batch", 1, 0.1)
    means = np.repeat(rewards.reshape(3, 4).mean(1), 4)
    np.testing.assert_allclose(got, (rewards - means) / (rewards.std(ddof=1) + 0.1), atol=1e-12)


def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others():
    rewards = np.random.default_rng(0).normal(size=12)
    others = [
        rewards[i] - np.mean([rewards[j] for j in range(i // 4 * 4, i // 4 * 4 + 4) if j != i])
        for i in range(12)
    ]
    np.testing.assert_allclose(leave_one_out(rows(rewards), 4), others, atol=1e-12)


def test_group_advantages_sum_to_zero_and_ignore_shifts_and_other_groups():
    rewards = np.random.default_rng(1).normal(size=12)
    got = np.asarray(group_advantages(rows(rewards), 4))
    np.testing.assert_allclose(got.reshape(3, 4).sum(1), 0, atol=1e-12)
    moved = rewards + np.repeat([5.0, -3, 0], 4)
    np.testing.assert_allclose(group_advantages(rows(moved), 4), got, atol=1e-12)


def test_equal_rewards_give_exactly_no_advantage():
    alike = jnp.full(6, 0.1, jnp.float32)
    for deviation in ("group", "batch", "none"):
        assert not np.any(group_advantages(alike, 3, deviation, 0, 1e-8))
    assert not np.any(leave_one_out(alike, 3))


GAE = {
    (1, 0.95): ([0.451, 0.58, 0.4], [0.951, 0.98, 1], [-0.280251015, 1.1102251749, -0.8299741598]),
    (1, 1): ([0.5, 0.6, 0.4], [1, 1, 1], [0, 0.9999995, -0.9999995]),
    (0.9, 0.8): (
        [0.16816, 0.428, 0.4],
        [0.66816, 0.828, 1],
        [-1.1491238205, 0.6727216899, 0.4764021306],
    ),
}


def spread(values, at=(1, 2, 5), fill=7.0):
    """A row of 7 places that holds `values` at the tokens of a conversation in two turns."""
    row = np.full((1, 7), float(fill))
    row[0, list(at)] = values
    return rows(row)


def test_generalized_advantages_are_the_worked_ones_and_skip_what_the_policy_did_not_write():
    for at in ((0, 1, 2), (1, 2, 5)):
        mask = spread([1, 1, 1], at, 0).astype(bool)
        given = spread([0, 0, 1], at), spread([0.5, 0.4, 0.6], at), mask
        for (discount, decay), (wanted, returns, whitened) in GAE.items():
            got = generalized_advantages(*given, discount, decay)
            np.testing.assert_allclose(got[0], spread(wanted, at, 0), atol=1e-12)
            np.testing.assert_allclose(got[1], spread(returns, at, 0), atol=1e-12)
            np.testing.assert_allclose(whiten(got[0], mask), spread(whitened, at, 0), atol=1e-9)


def test_generalized_advantages_are_sums_of_td_errors():
    random = np.random.default_rng(2)
    rewards, values = random.normal(size=(2, 3, 6))
    lengths = np.array([6, 4, 1])
    mask = np.arange(6) < lengths[:, None]
    got, _ = generalized_advantages(rows(rewards), rows(values), jnp.asarray(mask), 0.9, 0.7)
    for row, n in enumerate(lengths):
        following = np.append(values[row, 1:n], 0)
        errors = rewards[row, :n] + 0.9 * following - values[row, :n]
        wanted = [sum(0.63 ** (k - t) * errors[k] for k in range(t, n)) for t in range(n)]
        np.testing.assert_allclose(got[row], np.append(wanted, np.zeros(6 - n)), atol=1e-12)


def test_whitened_values_have_mean_zero_and_unbiased_variance_one_over_the_mask():
    random = np.random.default_rng(3)
    mask = random.random((5, 8)) < 0.6
    got = np.asarray(whiten(rows(random.normal(3, 2, (5, 8))), jnp.asarray(mask)))
    assert got[mask].mean() == pytest.approx(0, abs=1e-12)
    assert got[mask].var(ddof=1) == pytest.approx(1, abs=1e-7)
    assert not got[~mask].any()


PROCESS = np.array([[0.1, 0.2, 0.3], [0.4, 0, 0]])
PROCESS_MASK = np.array([[1, 1, 1], [1, 0, 0]], bool)


def test_prime_advantages_are_the_worked_ones():
    process, outcomes = rows(PROCESS), rows([1, 0])
    only = prime_returns(process, outcomes, PROCESS_MASK, 2, 1.0, 0.0)
    np.testing.assert_allclose(only, [[-0.6, -0.2, 0], [0.2, 0, 0]], atol=1e-12)
    returns = prime_returns(process, outcomes, PROCESS_MASK, 2)
    np.testing.assert_allclose(returns, [[2, 4, 5], [-4, 0, 0]], atol=1e-12)
    wanted = [[0.0620173684, 0.5581563073, 0.8062257767], [-1.426399448, 0, 0]]
    np.testing.assert_allclose(whiten(returns, PROCESS_MASK), wanted, atol=1e-9)


def test_last_tokens_and_rewards_to_go_read_the_mask():
    mask = jnp.asarray([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(np.argwhere(last_tokens(mask)), [[0, 3], [2, 4]])
    got = rewards_to_go(jnp.ones((3, 5)), mask, 0.5)
    wanted = [[0, 1.5, 0, 1, 0], [0] * 5, [1.9375, 1.875, 1.75, 1.5, 1]]
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_the_soft_overlong_penalty_grows_over_the_buffer():
    lengths = jnp.asarray([1, 6, 7, 8, 10, 11])
    got = overlong_penalties(lengths, 4, 10)
    np.testing.assert_allclose(got, [0, 0, -0.25, -0.5, -1, -1])


def rollout(**changes):
    """Two groups of two completions of 3, 1, 2 and 3 tokens after one of the prompt."""
    lengths = np.array([3, 1, 2, 3])[:, None]
    old = -1 - 0.1 * np.arange(16).reshape(4, 4)
    given = {
        "rewards": np.array([1.0, 0, 0, 0]),
        "finished": np.array([True, True, True, False]),
        "targets_mask": (np.arange(4) >= 1) & (np.arange(4) <= lengths),
        "log_probabilities": old,
        "reference_log_probabilities": old - 0.2 * np.array([1, -1, 2, 1])[:, None],
        "values": np.full((4, 4), 0.5),
        "process_rewards": np.tile([9.0, 0.1, 0.2, 0.3], (4, 1)),
    }
    return {name: jnp.asarray(x) for name, x in {**given, **changes}.items() if x is not None}


def advantages(config, **changes):
    return compute_advantages(config, rollout(**changes), group=2, max_tokens=3)


def per_row(result):
    """The one advantage of each completion, checked to be the same on all its tokens."""
    mask, values = np.asarray(result["targets_mask"]), np.asarray(result["advantages"])
    assert not values[~mask].any()
    found = [set(np.round(row[at], 12)) for row, at in zip(values, mask, strict=True)]
    return [one.pop() if len(one) == 1 else one for one in found]


def test_each_method_spreads_its_advantage_over_the_tokens_of_the_completion():
    kinds = {
        "centered": [0.5, -0.5, 0, 0],
        "rloo": [1, -1, 0, 0],
        "reinforce": [1, 0, 0, 0],
        "positive": [1, 0, 0, 0],
    }
    for kind, wanted in kinds.items():
        assert per_row(advantages(algorithm(advantage=kind))) == pytest.approx(wanted)
    grpo = algorithm(degrees_of_freedom=0, epsilon=0.0)
    np.testing.assert_allclose(per_row(advantages(grpo)), [1, -1, 0, 0], atol=1e-12)


def test_whole_completions_are_whitened_token_by_token():
    result = advantages(algorithm(advantage="reinforce_plus_plus_baseline"))
    tokens = np.repeat([0.5, -0.5, 0, 0], [3, 1, 2, 3])
    wanted = (tokens - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(result["advantages"][rollout()["targets_mask"]], wanted, atol=1e-12)


SUMS = 0.2 * np.array([3, -1, 4, 3])
"""k1 of the rollout above, summed over each completion."""


def test_sequence_methods_take_the_summed_divergence_off_the_reward():
    kl = {"kl_estimator": "k1", "kl_placement": "reward", "kl_coefficient": 0.5}
    shaped = np.array([1.0, 0, 0, 0]) - 0.5 * SUMS
    got = per_row(advantages(algorithm(advantage="reinforce", **kl)))
    np.testing.assert_allclose(got, shaped, atol=1e-12)
    got = per_row(advantages(algorithm(advantage="rloo", **kl)))
    wanted = [shaped[0] - shaped[1], shaped[1] - shaped[0], *(shaped[2:] - shaped[:1:-1])]
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_token_methods_put_the_divergence_on_every_token_and_the_score_on_the_last():
    kl = {"kl_estimator": "k1", "kl_placement": "reward", "kl_coefficient": 0.5}
    mask = np.asarray(rollout()["targets_mask"])
    rewards = -0.1 * np.array([1, -1, 2, 1])[:, None] * mask
    rewards[0, 3] += 1
    to_go = rewards[:, ::-1].cumsum(axis=1)[:, ::-1]
    result = advantages(algorithm(advantage="gae", trace_decay=1.0, **kl))
    np.testing.assert_allclose(result["returns"], np.where(mask, to_go, 0), atol=1e-12)
    whitened = whiten(rows(to_go - 0.5), jnp.asarray(mask))
    np.testing.assert_allclose(result["advantages"], whitened, atol=1e-10)
    result = advantages(algorithm(advantage="reinforce_plus_plus", **kl))
    whitened = whiten(rows(to_go), jnp.asarray(mask))
    np.testing.assert_allclose(result["advantages"], whitened, atol=1e-10)


def test_prime_adds_process_and_outcome():
    config = algorithm(advantage="prime")
    result, given = advantages(config), rollout()
    returns = prime_returns(given["process_rewards"], given["rewards"], given["targets_mask"], 2)
    wanted = whiten(returns, given["targets_mask"])
    np.testing.assert_allclose(result["advantages"], wanted, atol=1e-12)
    assert "returns" not in result


def test_unfinished_and_long_completions_are_punished_masked_or_left():
    given = {"advantage": "reinforce"}
    missing = per_row(advantages(algorithm(missing_end_penalty=0.75, **given)))
    assert missing == pytest.approx([1, 0, 0, -0.75])
    soft = per_row(advantages(algorithm(overlong="soft", overlong_buffer=2, **given)))
    assert soft == pytest.approx([0, 0, -0.5, -1])
    masked = compute_advantages(
        algorithm(advantage="rloo", overlong="mask"),
        rollout(rewards=jnp.asarray([1.0, 0, 0, 1])),
        group=2,
        max_tokens=3,
    )
    np.testing.assert_array_equal(masked["targets_mask"].any(axis=1), [True, True, True, False])
    # The dropped completion still counts in its group's baseline.
    assert masked["advantages"][2, 1] == -1
    assert not masked["advantages"][3].any()
    assert float(masked["metrics"]["dropped"][0]) == 1


def test_rollout_metrics():
    kl = {"kl_estimator": "k1", "kl_placement": "reward", "kl_coefficient": 0.5}
    config = algorithm(advantage="rloo", missing_end_penalty=1.0, **kl)
    metrics = {k: float(a / b) for k, (a, b) in advantages(config)["metrics"].items()}
    assert metrics == pytest.approx(
        {
            "reward": 0.25,
            "shaped_reward": (1 - 1 - 0.5 * SUMS.sum()) / 4,
            "groups_alike": 0.5,
            "finished": 0.75,
            "dropped": 0,
            "completion_tokens": 9 / 4,
        }
    )


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (algorithm(advantage="gae"), "values"),
        (algorithm(advantage="prime"), "process_rewards"),
        (
            algorithm(advantage="rloo", kl_placement="reward", kl_coefficient=0.1),
            "reference_log_probabilities",
        ),
    ],
)
def test_missing_arrays_are_named(config, missing):
    with pytest.raises(InputError, match=f"rollout lacks '{missing}'"):
        advantages(config, **{missing: None})


@pytest.mark.parametrize(
    ("rewards", "group", "message"),
    [
        (np.zeros(4), 1, "group=1: expected at least 2 completions per prompt: 'grpo' compares"),
        (np.zeros(4), 0, "group=0: expected at least 2"),
        (np.zeros(4), 3, "group=3 does not divide the 4 completions"),
        (np.zeros((4, 1)), 2, r"rewards have shape \(4, 1\): expected one per completion, \(4,\)"),
        (np.zeros(3), 2, r"rewards have shape \(3,\)"),
        (np.array([0, np.nan, 1, np.inf]), 2, r"rewards\[1\] is nan \(2 in all"),
        (np.array([0, 1e300, 1, 0]), 2, r"rewards\[1\] is 1e\+300"),
        (np.array(["1"] * 4), 2, "dtype <U1: expected numbers"),
    ],
)
def test_bad_rewards_are_refused_on_the_host(rewards, group, message):
    with pytest.raises(InputError, match=message):
        check_rewards(rewards, 4, group, algorithm())


def test_good_rewards_become_float32_and_single_completions_suit_some():
    got = check_rewards([True, False, True], 3, 1, algorithm(advantage="reinforce"))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [1, 0, 1])
    with pytest.raises(InputError, match="group=3 does not divide the 4"):
        compute_advantages(algorithm(), rollout(), group=3, max_tokens=3)


def test_groups_of_equal_rewards_teach_nothing():
    found = informative_groups(np.array([1, 1, 0, 1, 0, 0]), 2)
    np.testing.assert_array_equal(found, [False, True, False])
