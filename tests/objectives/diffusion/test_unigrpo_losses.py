"""Losses of diffusion policies, worked out by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.advantages import diffusion_advantages
from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.policy import policy_loss
from jaxreason.objectives.diffusion.policy_losses import Scored
from jaxreason.objectives.kl_divergence import kl_divergence

POLICIES = [name for name, x in DIFFUSION_ALGORITHMS.items() if x.surrogate != "preference"]
UNIGRPO = DIFFUSION_ALGORITHMS["unigrpo"]


def scored(new, old, advantages, weights=None, reference=None, lengths=None):
    """Log-probabilities [B, K, T] given as nested lists."""
    new, old = jnp.array(new, float), jnp.array(old, float)
    weights = jnp.ones_like(new) if weights is None else jnp.array(weights, float)
    lengths = weights.any(axis=1).sum(axis=-1) if lengths is None else jnp.array(lengths)
    reference = None if reference is None else jnp.array(reference, float)
    return Scored(
        new, old, reference, weights, jnp.array(advantages, float), lengths.astype(jnp.float32)
    )


def loss(config, batch):
    return float(policy_loss(config, batch)[0])


def test_advantages_of_a_group_of_two():
    rewards = jnp.array([2.5, 0.5])
    exact = replace(UNIGRPO, epsilon=0.0)
    np.testing.assert_allclose(diffusion_advantages(exact, rewards, 2), [1, -1])
    sample = replace(exact, standard_deviation="sample")
    np.testing.assert_allclose(
        diffusion_advantages(sample, rewards, 2), [0.707107, -0.707107], 1e-5
    )
    centred = replace(UNIGRPO, standard_deviation="none", advantage="centered")
    np.testing.assert_allclose(diffusion_advantages(centred, rewards, 2), [1, -1])
    one_out = replace(centred, advantage="rloo")
    np.testing.assert_allclose(diffusion_advantages(one_out, rewards, 2), [2, -2])
    with pytest.raises(InputError, match="group=1"):
        diffusion_advantages(exact, rewards, 1)


def test_wd1_weighs_by_the_softmax_of_the_advantages():
    weights = diffusion_advantages(DIFFUSION_ALGORITHMS["wd1"], jnp.array([2.0, 1.0, 0.0]), 3)
    plus = np.array([0.665241, 0.244728, 0.090031])
    np.testing.assert_allclose(weights, 3 * (plus - plus[::-1]), atol=1e-5)


@pytest.mark.parametrize(("advantage", "expected"), [(1.0, -1.2), (-1.0, 1.349859)])
def test_a_ratio_is_clipped_only_where_it_has_gone_far_enough(advantage, expected):
    plain = replace(UNIGRPO, kl_coefficient=0.0)
    batch = scored([[[0.3]]], [[[0.0]]], [advantage])
    assert loss(plain, batch) == pytest.approx(expected, rel=1e-6)
    for field in ("clip_low", "clip_high"):
        wider = replace(plain, **{field: 0.5})
        moved = loss(wider, batch) != pytest.approx(expected)
        assert moved == (field == "clip_high" and advantage > 0)


def test_kl_estimators_of_a_small_difference():
    for difference, k3 in ((0.3, 0.0408182), (-0.3, 0.0498588)):
        x = kl_divergence(jnp.array(difference), jnp.array(0.0), "k3")
        assert float(x) == pytest.approx(k3, rel=1e-5)
    for name, extra in (("k1", 0.3), ("k2", 0.045), ("k3", 0.0408182)):
        config = replace(UNIGRPO, kl_estimator=name, kl_coefficient=2.0)
        batch = scored([[[0.3]]], [[[0.3]]], [0.0], reference=[[[0.0]]])
        assert loss(config, batch) == pytest.approx(2 * extra, rel=1e-5)


def test_the_kl_is_to_the_reference_or_to_the_old_policy():
    batch = scored([[[0.3]]], [[[0.1]]], [0.0], reference=[[[0.0]]])
    config = replace(UNIGRPO, kl_estimator="k2", kl_coefficient=1.0)
    assert loss(config, batch) == pytest.approx(0.045, rel=1e-5)
    assert loss(replace(config, kl_target="old"), batch) == pytest.approx(0.02, rel=1e-5)


UNEQUAL = scored(
    [[[0.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]],
    [[[0.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]],
    [1.0, -1.0],
    weights=[[[1, 1, 1, 0]], [[1, 0, 0, 0]]],
    lengths=[4, 2],
)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("masked_tokens", 0.0),
        ("token_pool", -(3 - 1) / 4),
        ("response_length", -(3 / 4 - 1 / 2) / 2),
        ("response_sum", -(3 - 1) / 2),
    ],
)
def test_the_first_loss_is_0_only_if_every_response_weighs_the_same(how, expected):
    config = replace(UNIGRPO, aggregation=how, kl_coefficient=0.0)
    assert loss(config, UNEQUAL) == pytest.approx(expected, abs=1e-7)


def test_a_summed_kl_grows_with_the_masked_tokens():
    batch = UNEQUAL._replace(new=UNEQUAL.old + 0.2, advantages=jnp.zeros(2))
    config = replace(UNIGRPO, kl_estimator="k2", kl_coefficient=1.0, kl_target="old")
    assert loss(config, batch) == pytest.approx(0.02, rel=1e-5)
    assert loss(replace(config, kl_summed=True), batch) == pytest.approx(0.02 * 2, rel=1e-5)


def test_a_coupled_token_has_one_ratio_from_two_masks():
    config = replace(DIFFUSION_ALGORITHMS["coupled_grpo"], kl_coefficient=0.0, clip_high=9.0)
    # r = 0.25: the first token lies in the part, the second in the rest.
    weights = [[[0.5, 0.5], [0.5 / 0.25, 0], [0, 0.5 / 0.75]]]
    new = [[[0.2, 0.4], [0.1, 9.0], [9.0, 0.3]]]
    batch = scored(new, np.zeros((1, 3, 2)), [1.0], weights=weights)
    first, second = (0.2 + 0.1 / 0.25) / 2, (0.4 + 0.3 / 0.75) / 2
    expected = -(np.exp(first) + np.exp(second)) / 2
    assert loss(config, batch) == pytest.approx(expected, rel=1e-5)


def test_espo_has_one_ratio_per_response_from_its_elbo():
    config = replace(DIFFUSION_ALGORITHMS["espo"], clip_high=9.0, kl_coefficient=1.0)
    weights = [[[2.0, 0.0], [0.0, 1.5]]]
    batch = scored([[[0.2, 0.0], [0.0, 0.4]]], np.zeros((1, 2, 2)), [1.0], weights, lengths=[2])
    elbo = 2 * 0.2 + 1.5 * 0.4
    assert loss(config, batch) == pytest.approx(-np.exp(elbo / 2), rel=1e-5)
    batch = batch._replace(reference=jnp.zeros((1, 2, 2)))
    assert loss(config, batch) == pytest.approx(-np.exp(elbo / 2) + elbo**2 / 2 / 2, rel=1e-5)
    whole = replace(config, aggregation="response_sum", kl_coefficient=0.0)
    assert loss(whole, batch) == pytest.approx(-np.exp(elbo), rel=1e-5)


def test_wd1_is_a_weighted_sum_of_log_probabilities():
    config = DIFFUSION_ALGORITHMS["wd1"]
    advantages = diffusion_advantages(config, jnp.array([2.0, 1.0, 0.0]), 3)
    sums = np.array([-1.5, -2.0, -0.7])
    batch = scored(np.stack([sums, sums], -1)[:, None] / 2, np.zeros((3, 1, 2)), advantages)
    plus = np.exp([1.0, 0, -1]) / np.exp([1.0, 0, -1]).sum()
    expected = -(plus * sums).sum() + (plus[::-1] * sums).sum()
    assert loss(config, batch) == pytest.approx(expected, rel=1e-5)


def test_spg_takes_the_lower_bound_for_good_and_a_mix_for_bad_responses():
    config = replace(DIFFUSION_ALGORITHMS["spg"], aggregation="response_sum", upper_power=2.0)
    new = jnp.log(jnp.array([[[0.5, 0.2], [0.1, 0.4]]]))
    weights = jnp.ones((1, 2, 2)) / 2
    lower = float((weights * new).sum())
    upper = (np.log((0.25 + 0.01) / 2) + np.log((0.04 + 0.16) / 2)) / 2
    good, bad = (Scored(new, new, None, weights, jnp.array([a]), jnp.array([2.0])) for a in (1, -1))
    assert loss(config, good) == pytest.approx(-lower, rel=1e-5)
    assert loss(config, bad) == pytest.approx((upper + lower) / 2, rel=1e-5)
    assert loss(replace(config, upper_share=1.0), bad) == pytest.approx(upper, rel=1e-5)
    assert upper > lower


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_not_counted_has_no_influence(name):
    config = DIFFUSION_ALGORITHMS[name]
    random = np.random.default_rng(0).normal(-2, 0.3, (3, 4, 3, 6))
    weights = np.random.default_rng(1).integers(0, 2, (4, 3, 6)) * 0.5
    weights[:, :, 0] = 0.5
    clean = [x * (weights > 0) for x in random]
    batch = scored(clean[0], clean[1], [1, -1, 0.5, -0.5], weights, clean[2])

    def total(new):
        return policy_loss(config, batch._replace(new=new))[0]

    gradient = np.asarray(jax.grad(total)(batch.new))
    assert np.isfinite(gradient).all()
    assert (gradient[weights == 0] == 0).all()
    assert (gradient[weights > 0] != 0).any()


@pytest.mark.parametrize("name", POLICIES)
def test_micro_batches_add_up(name):
    config = DIFFUSION_ALGORITHMS[name]
    random = np.random.default_rng(0).normal(-2, 0.3, (3, 4, 2, 6))
    weights = np.random.default_rng(1).integers(0, 2, (4, 2, 6)) * 0.5
    weights[:, :, 0] = 0.5
    batch = scored(*(x * (weights > 0) for x in random[:2]), [1, -1, 0.5, -0.5], weights)
    batch = batch._replace(reference=jnp.array(random[2] * (weights > 0)))
    whole, metrics = policy_loss(config, batch)
    parts = [policy_loss(config, Scored(*(x[i::2] for x in batch)))[1]["loss"] for i in (0, 1)]
    total, count = np.sum(parts, axis=0)
    assert total / count == pytest.approx(float(whole), rel=1e-5)
    assert float(metrics["loss"][0] / metrics["loss"][1]) == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise": "gaussian"}, "noise='gaussian'"),
        ({"timestep_rule": "even"}, "timestep_rule='even'"),
        ({"updates": 0}, "updates=0"),
        ({"draws": 0}, "draws=0"),
        ({"clip_high": -1.0}, "clip_high=-1.0"),
        ({"prompt_mask": 2.0}, "prompt_mask=2.0"),
        ({"kl_coefficient": float("nan")}, "kl_coefficient=nan"),
        ({"ratio_range": (0.5, 0.2)}, "ratio_range"),
        ({"first_timestep": (5, 2000)}, "first_timestep"),
        ({"advantage": "rloo"}, "standard_deviation='population'"),
        ({"noise": "coupled"}, "expected 'coupled' for both"),
        ({"surrogate": "sequence"}, "make no likelihood"),
        (
            {"surrogate": "bounds"},
            "'bounds' with noise='timesteps': .* exact_pairs, full",
        ),
        ({"surrogate": "bounds", "noise": "uniform"}, "make no likelihood"),
        ({"surrogate": "bounds", "noise": "full"}, "aggregation='masked_tokens'"),
        ({"noise": "trace", "tail": "counted"}, "tail='counted' with noise='trace'"),
        ({"kl_summed": True, "aggregation": "token_pool"}, "kl_summed=True"),
    ],
)
def test_choices_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        DiffusionAlgorithmConfig(**fields)
