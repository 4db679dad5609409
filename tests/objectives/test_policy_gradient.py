"""Policy-gradient losses: worked numbers, gradients in closed form, identities, invariances."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from policy_toys import (
    ADVANTAGES,
    LENGTHS,
    MASK,
    NEW,
    OLD,
    TOKENS,
    VOCABULARY,
    Bigram,
    Table,
    algorithm,
    drawn_batch,
    padded,
    rollout_batch,
    table_of,
)

from jaxreason.errors import InputError
from jaxreason.objectives.aggregation import AGGREGATIONS
from jaxreason.objectives.policy_gradient import policy_gradient, surrogate_losses

GSPO = {"clip_low": 3e-4, "clip_high": 4e-4, "aggregation": "seq_mean_token_mean"}
RLOO = {"surrogate": "sequence_clip", "aggregation": "seq_mean_token_mean"}
CISPO = {"surrogate": "cispo", "ratio_cap": 5.0}
SURROGATES = ("clip", "gspo", "gspo_token", "cispo", "sequence_clip", "reinforce")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def objective(**changes):
    return policy_gradient(Table(), algorithm(**changes), max_tokens=4, batch_rows=2)


def evaluate(params, batch, **changes):
    loss, metrics = objective(**changes)(params, batch, None)
    return float(loss), {name: float(a / b) for name, (a, b) in metrics.items()}


def worked(**changes):
    with jax.enable_x64(True):
        return evaluate(table_of(NEW, TOKENS), rollout_batch(), **changes)


def slope(params, batch, **changes):
    return np.asarray(jax.grad(lambda p: objective(**changes)(p, batch, None)[0])(params)["logits"])


WORKED = {
    "seq_mean_token_mean": (-0.248474988329, -0.248276489107),
    "token_mean": (-0.482860880529, -0.482662937140),
    "seq_sum_over_constant": (-0.362145660397, -0.361997202855),
    "seq_mean_token_sum": (-1.448582641587, -1.447988811421),
    "sum_over_constant": (-0.724291320794, -0.723994405710),
}


def test_every_aggregation_gives_the_worked_loss_without_kl():
    for how, (plain, _) in WORKED.items():
        assert worked(aggregation=how)[0] == pytest.approx(plain, abs=1e-11)


def test_every_aggregation_gives_the_worked_loss_with_k3_in_the_loss():
    kl = {"kl_placement": "loss", "kl_coefficient": 0.04}
    for how, (_, penalised) in WORKED.items():
        assert worked(aggregation=how, **kl)[0] == pytest.approx(penalised, abs=1e-11)


def test_gspo_gives_the_worked_loss_with_either_gradient():
    assert worked(surrogate="gspo", **GSPO)[0] == pytest.approx(-0.213946743163, abs=1e-11)
    assert worked(surrogate="gspo_token", **GSPO)[0] == pytest.approx(-0.213946743163, abs=1e-11)


def test_cispo_gives_the_worked_loss():
    assert worked(**CISPO)[0] == pytest.approx(0.365537604290, abs=1e-11)


def test_sequence_clip_gives_the_worked_loss():
    assert worked(**RLOO)[0] == pytest.approx(-0.165726422071, abs=1e-11)


def test_ratios_and_token_losses_are_the_worked_ones():
    tokens = [jnp.asarray(x) for x in (NEW, OLD, ADVANTAGES, MASK)]
    losses, ratios, clipped = surrogate_losses(algorithm(), *tokens)
    wanted = padded([[1.2214027582, 1, 0.6065306597, 1], [1, 0.8187307531]])
    np.testing.assert_allclose(np.where(MASK, ratios, 0), wanted, atol=1e-9)
    wanted = padded([[-1.2, -1, -0.6065306597, -1], [0.5, 0.4093653765]])
    np.testing.assert_allclose(np.where(MASK, losses, 0), wanted, atol=1e-9)
    np.testing.assert_array_equal(np.where(MASK, clipped, 0), padded([[1, 0, 0, 0], [0, 0]]))


def gate(advantage, ratio, **changes):
    """|gradient| of one token's loss in its ratio."""

    def loss(ratio):
        row = [jnp.zeros((1, 1)), jnp.full((1, 1), float(advantage)), jnp.ones((1, 1), bool)]
        return surrogate_losses(algorithm(**changes), jnp.log(ratio).reshape(1, 1), *row)[0].sum()

    return float(abs(jax.grad(loss)(jnp.asarray(float(ratio)))))


def test_the_clip_stops_gradients_only_where_the_policy_already_moved_the_right_way():
    with jax.enable_x64(True):
        gates = [gate(*at) for at in ((1, 0.5), (1, 1.5), (-1, 0.5), (-1, 1.5))]
        np.testing.assert_allclose(gates, [1, 0, 0, 1], atol=1e-12)


def test_dual_clip_bounds_the_loss_of_bad_tokens_that_became_likely():
    assert gate(-1, 2.9, dual_clip=3.0) == pytest.approx(1)
    assert gate(-1, 3.1, dual_clip=3.0) == 0
    assert gate(1, 0.5, dual_clip=3.0) == pytest.approx(1)


def test_upper_and_lower_clip_are_separate():
    assert gate(1, 1.25, clip_high=0.28) == pytest.approx(1)
    assert gate(1, 1.25, clip_high=0.2) == 0
    assert gate(-1, 0.75, clip_low=0.28) == pytest.approx(1)


def row_weights(how):
    """What a token of each completion weighs in the loss."""
    n = np.array(LENGTHS)
    return {
        "token_mean": np.ones(2) / n.sum(),
        "token_mean_local": np.ones(2) / n.sum(),
        "seq_mean_token_mean": 1 / (2 * n),
        "seq_mean_token_sum": np.ones(2) / 2,
        "seq_sum_over_constant": np.ones(2) / 8,
        "sum_over_constant": np.ones(2) / 4,
    }[how]


def closed_gradient(token_weights):
    """Of -sum_t weight_t log p(token t) in the logits: weight (p - onehot), at place t - 1."""
    logits = np.asarray(table_of(NEW, TOKENS)["logits"])
    residual = np.exp(logits) - np.eye(VOCABULARY)[np.roll(TOKENS, -1, axis=1)]
    return np.roll(np.where(MASK, token_weights, 0), -1, axis=1)[..., None] * residual


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_at_ratio_one_every_gradient_is_that_of_reinforce(surrogate):
    params, batch = table_of(NEW, TOKENS), rollout_batch(old_log_probabilities=jnp.asarray(NEW))
    for how in AGGREGATIONS:
        weights = row_weights(how)[:, None] * ADVANTAGES
        if surrogate == "sequence_clip":
            weights = weights * np.array(LENGTHS)[:, None]
        got = slope(params, batch, surrogate=surrogate, aggregation=how)
        np.testing.assert_allclose(got, closed_gradient(weights), atol=1e-10)
        if surrogate not in ("cispo", "reinforce"):
            value = evaluate(params, batch, surrogate=surrogate, aggregation=how)[0]
            expected = -np.sum(row_weights(how)[:, None] * ADVANTAGES * MASK)
            assert value == pytest.approx(expected, abs=1e-10)


def test_without_old_log_probabilities_the_current_ones_stand_in():
    params = table_of(NEW, TOKENS)
    given = rollout_batch(old_log_probabilities=jnp.asarray(NEW))
    absent = rollout_batch(old_log_probabilities=None)
    np.testing.assert_allclose(slope(params, absent), slope(params, given), atol=1e-12)


def test_cispo_weighs_log_probabilities_by_constant_ratios():
    with jax.enable_x64(True):
        batch, ratios = rollout_batch(), np.exp(NEW - OLD)
        for changes, weights in (
            ({"ratio_cap": 1.1}, np.minimum(ratios, 1.1)),
            ({"clip_low": 0.1, "clip_high": 0.15}, np.clip(ratios, 0.9, 1.15)),
        ):
            got = slope(table_of(NEW, TOKENS), batch, surrogate="cispo", **changes)
            np.testing.assert_allclose(got, closed_gradient(weights * ADVANTAGES / 6), atol=1e-10)


def test_no_clip_is_the_importance_weighted_policy_gradient():
    got = slope(table_of(NEW, TOKENS), rollout_batch(), clip_low=np.inf, clip_high=np.inf)
    weights = np.exp(NEW - OLD) * ADVANTAGES / 6
    np.testing.assert_allclose(got, closed_gradient(weights), atol=1e-10)


def test_gspo_on_single_tokens_is_the_token_level_loss():
    mask = MASK & (np.arange(5) == 1)
    batch = rollout_batch(targets_mask=jnp.asarray(mask))
    for how in ("gspo", "gspo_token", "sequence_clip"):
        got = slope(table_of(NEW, TOKENS), batch, surrogate=how)
        np.testing.assert_allclose(got, slope(table_of(NEW, TOKENS), batch), atol=1e-12)


def test_gspo_token_has_the_gradient_of_gspo_when_a_completion_has_one_advantage():
    wide = {"clip_low": 0.5, "clip_high": 0.5, "aggregation": "seq_mean_token_mean"}
    both = [
        slope(table_of(NEW, TOKENS), rollout_batch(), surrogate=name, **wide)
        for name in ("gspo", "gspo_token")
    ]
    np.testing.assert_allclose(*both, atol=1e-12)
    assert abs(both[0]).max() > 0.01


@pytest.mark.parametrize(
    "changes",
    [
        {"entropy_coefficient": 0.3},
        {"surrogate": "gspo", "clip_low": 0.5, "clip_high": 0.5},
        {"surrogate": "reinforce", "aggregation": "seq_mean_token_mean"},
        {"kl_estimator": "k1", "kl_placement": "loss_is_corrected", "kl_coefficient": 0.7},
        {"kl_estimator": "k2", "kl_placement": "loss", "kl_coefficient": 0.7},
    ],
    ids=["entropy", "gspo", "reinforce", "corrected_k1", "k2"],
)
def test_gradients_equal_finite_differences(changes):
    batch = rollout_batch()

    @jax.jit
    def loss(logits):
        return objective(**changes)({"logits": logits}, batch, None)[0]

    logits = table_of(NEW, TOKENS)["logits"]
    logits = logits + 0.1 * np.random.default_rng(0).normal(size=logits.shape)
    check_grads(loss, (logits,), order=1, modes=("rev",), atol=1e-7, rtol=1e-7)


def test_kl_in_the_loss_enters_as_named():
    plain = worked()[0]
    difference = REFERENCE_MINUS_NEW
    ratios = np.exp(NEW - OLD)
    k = {
        "k1": -difference,
        "k2": difference**2 / 2,
        "k3": np.exp(difference) - difference - 1,
    }
    for name, penalty in k.items():
        for placement, factor in (("loss", 1), ("loss_is_corrected", ratios)):
            got = worked(kl_estimator=name, kl_placement=placement, kl_coefficient=0.5)[0]
            mean = np.sum(factor * penalty * MASK) / 6
            assert got == pytest.approx(plain + 0.5 * mean, abs=1e-11)


REFERENCE_MINUS_NEW = padded([[-0.1, -0.1, 0.1, -0.1], [-0.1, 0.1]])


def test_kl_in_the_reward_or_nowhere_leaves_the_loss_alone():
    assert worked(kl_placement="reward", kl_coefficient=0.5)[0] == worked()[0]


def test_metrics_are_means_over_tokens():
    loss, metrics = worked(entropy_coefficient=0.1)
    p = np.exp(np.asarray(table_of(NEW, TOKENS)["logits"]))
    entropy = np.roll(-np.sum(p * np.log(p), axis=-1), 1, axis=1)
    ratios = np.exp(NEW - OLD)
    k3 = np.exp(REFERENCE_MINUS_NEW) - REFERENCE_MINUS_NEW - 1
    wanted = {
        "loss": loss,
        "policy_loss": loss + 0.1 * np.sum(entropy * MASK) / 6,
        "entropy": np.sum(entropy * MASK) / 6,
        "ratio": np.sum(ratios * MASK) / 6,
        "advantage": 3 / 6,
        "kl": np.sum(k3 * MASK) / 6,
        "approximate_kl": np.sum((ratios - 1 - np.log(ratios)) * MASK) / 6,
        "clip_fraction": 1 / 6,
    }
    assert set(metrics) == set(wanted)
    for name, value in wanted.items():
        assert metrics[name] == pytest.approx(value, abs=1e-10), name


def test_temperature_divides_the_logits():
    params, batch = table_of(NEW, TOKENS), rollout_batch()
    hot = policy_gradient(Table(), algorithm(), temperature=2.0)
    halved = {"logits": params["logits"] / 2}
    loss = float(hot(params, batch, None)[0])
    assert loss == pytest.approx(evaluate(halved, batch)[0], abs=1e-12)
    assert loss != pytest.approx(evaluate(params, batch)[0], abs=1e-3)


def test_overflowing_ratios_are_bounded():
    old = rollout_batch(old_log_probabilities=jnp.asarray(OLD) - 1000)
    wide = {"clip_low": np.inf, "clip_high": np.inf}
    for surrogate in ("clip", "gspo", "sequence_clip"):
        loss, _ = evaluate(table_of(NEW, TOKENS), old, surrogate=surrogate, **wide)
        assert loss == pytest.approx(-np.exp(20) * 3 / 6)


@cache
def gradients(surrogate, aggregations):
    """One program for all of them: `(params, batch) -> {aggregation: (loss, gradient)}`."""
    kl = {"kl_placement": "loss", "kl_coefficient": 0.5, "surrogate": surrogate}
    runs = {
        how: policy_gradient(Bigram(), algorithm(aggregation=how, **kl), max_tokens=4, batch_rows=8)
        for how in aggregations
    }

    def evaluate(params, batch):
        def one(run):
            (loss, _), gradient = jax.value_and_grad(run, has_aux=True)(params, batch, None)
            return loss, gradient["embedding"]

        return {how: one(run) for how, run in runs.items()}

    return jax.jit(evaluate)


def assert_alike(got, wanted, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), got, wanted)


@pytest.mark.parametrize("surrogate", ["clip", "gspo"])
def test_padding_order_of_rows_and_what_lies_outside_the_mask_change_nothing(surrogate):
    params, batch = Bigram().init(jax.random.key(0)), drawn_batch()
    alike = partial(gradients(surrogate, ("seq_mean_token_mean",)), params)
    wanted = alike(batch)
    order = np.random.default_rng(1).permutation(8)
    assert_alike(alike({name: x[order] for name, x in batch.items()}), wanted, 1e-6)
    longer = {name: np.pad(x, ((0, 0), (0, 3))) for name, x in batch.items()}
    assert_alike(alike(longer), wanted, 1e-6)
    spoilt = dict(batch)
    for name in ("advantages", "old_log_probabilities", "reference_log_probabilities"):
        spoilt[name] = np.where(batch["targets_mask"], batch[name], np.float32(np.nan))
    assert_alike(alike(spoilt), wanted, 0)


def test_rows_without_completion_tokens_are_no_sequences():
    params, batch = Bigram().init(jax.random.key(0)), drawn_batch()
    some = batch["targets_mask"].any(axis=1)
    assert 0 < some.sum() < 8
    run = gradients("clip", tuple(how for how in AGGREGATIONS if how != "sum_over_constant"))
    assert_alike(
        run(params, batch), run(params, {name: x[some] for name, x in batch.items()}), 1e-6
    )


def test_what_cannot_be_computed_is_refused_before_it_is():
    constant = algorithm(aggregation="seq_sum_over_constant")
    with pytest.raises(InputError, match="max_tokens=None"):
        policy_gradient(Bigram(), constant)
    with pytest.raises(InputError, match="batch_rows=None"):
        policy_gradient(Bigram(), algorithm(aggregation="sum_over_constant"), max_tokens=4)
    with pytest.raises(InputError, match="temperature=0"):
        policy_gradient(Bigram(), algorithm(), temperature=0)
    penalised = algorithm(kl_placement="loss", kl_coefficient=0.1)
    for config, name in ((penalised, "reference_log_probabilities"), (algorithm(), "advantages")):
        run = policy_gradient(Bigram(), config)
        batch = rollout_batch(**{name: None})
        with pytest.raises(InputError, match=f"the batch lacks '{name}'"):
            run({"embedding": jnp.zeros((VOCABULARY, VOCABULARY))}, batch, None)
