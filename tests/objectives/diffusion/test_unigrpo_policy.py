"""The objective of diffusion policies on a denoiser small enough to enumerate."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denoiser_toy import MASK, Denoiser, conditional, orders, responses

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.noising import draw_noise, response_lengths
from jaxreason.objectives.diffusion.policy import diffusion_policy, noised_log_probabilities
from jaxreason.objectives.diffusion.policy_losses import sequence_elbo, sequence_eubo

MODEL = Denoiser()
PARAMS = MODEL.init(jax.random.key(1))
ROWS = responses()
UNIGRPO = replace(DIFFUSION_ALGORITHMS["unigrpo"], updates=2, first_timestep=(400, 400))


@partial(jax.jit, static_argnums=0)
def noise_and_scores(config, rows, params):
    """The noise of the first update, and what the tokens score under it."""
    noise = jax.tree.map(lambda x: x[0], draw_noise(config, rows, jax.random.key(0), group=2))
    batch = {**rows, "masked": noise.masked, "weights": noise.weights}
    return noise, noised_log_probabilities(MODEL, params, batch, mask_id=MASK)


@partial(jax.jit, static_argnums=0)
def run(config, params, batch):
    loss = diffusion_policy(MODEL, config, mask_id=MASK)
    return jax.value_and_grad(loss, has_aux=True)(params, batch, jax.random.key(0))


def noised(config, advantages=(1.0, -1.0, 0.5, -0.5)):
    noise, scores = noise_and_scores(config, ROWS, PARAMS)
    batch = {
        **{name: ROWS[name] for name in ("tokens", "keys")},
        "masked": noise.masked,
        "weights": noise.weights,
        "advantages": jnp.array(advantages),
        "lengths": response_lengths(config, ROWS),
    }
    return {**batch, "old_log_probabilities": scores, "reference_log_probabilities": scores}


def loss_and_gradient(config, batch, params=PARAMS):
    (loss, metrics), gradient = run(config, params, batch)
    return float(loss), metrics, gradient


def norm(tree):
    return float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))))


def test_scores_are_those_of_the_tokens_under_the_noise():
    batch = noised(UNIGRPO)
    scores = np.asarray(batch["old_log_probabilities"])
    for row in range(4):
        hidden = np.flatnonzero(batch["masked"][row, 0])
        counted = np.flatnonzero(batch["weights"][row, 0])
        assert set(counted) <= set(hidden)
        own = conditional(PARAMS, batch["tokens"][row], hidden, batch["keys"][row])
        np.testing.assert_allclose(scores[row, 0][counted], own[counted], rtol=1e-5)
        assert (np.delete(scores[row, 0], counted) == 0).all()


def test_the_first_update_has_loss_0_and_the_policy_gradient():
    batch = noised(UNIGRPO)
    loss, metrics, gradient = loss_and_gradient(UNIGRPO, batch)
    assert loss == pytest.approx(0, abs=1e-7)
    assert float(metrics["ratio"][0] / metrics["ratio"][1]) == 1
    assert float(metrics["clip_fraction"][0]) == 0
    assert norm(gradient) > 1e-2

    # It is that of -A log p, averaged over the masked tokens of each response.
    plain = replace(UNIGRPO, surrogate="reinforce", kl_coefficient=0.0)
    _, _, expected = loss_and_gradient(plain, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, expected)

    # Without old log-probabilities the policy is compared with itself.
    alone = {name: x for name, x in batch.items() if name != "old_log_probabilities"}
    _, _, same = loss_and_gradient(UNIGRPO, alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, same)


def test_pooled_tokens_of_unequal_responses_have_another_first_loss():
    pooled = replace(UNIGRPO, aggregation="token_pool")
    batch = noised(pooled)
    counts = np.asarray((batch["weights"] > 0).sum(axis=(1, 2)))
    expected = -(counts * np.asarray(batch["advantages"])).sum() / counts.sum()
    assert abs(expected) > 0.01
    assert loss_and_gradient(pooled, batch)[0] == pytest.approx(expected, abs=1e-6)


def test_the_kl_term_pulls_back_and_is_0_at_the_reference():
    batch = noised(UNIGRPO, advantages=(0.0,) * 4)
    _, metrics, gradient = loss_and_gradient(UNIGRPO, batch)
    assert float(metrics["kl"][0]) == pytest.approx(0, abs=1e-9)
    assert norm(gradient) == pytest.approx(0, abs=1e-6)
    moved = jax.tree.map(lambda x: 1.1 * x, PARAMS)
    assert loss_and_gradient(UNIGRPO, batch, moved)[0] > 0
    assert loss_and_gradient(replace(UNIGRPO, kl_coefficient=0.0), batch, moved)[0] == 0


@pytest.mark.parametrize("name", ["coupled_grpo", "espo", "spg"])
def test_a_step_along_the_gradient_raises_good_and_lowers_bad_responses(name):
    config = replace(DIFFUSION_ALGORITHMS[name], updates=1, prompt_mask=0.0, kl_coefficient=0.0)
    batch = noised(config)
    _, _, gradient = loss_and_gradient(config, batch)
    after = jax.tree.map(lambda x, g: x - 1e-3 * g / norm(gradient), PARAMS, gradient)
    new = noised_log_probabilities(MODEL, after, batch, mask_id=MASK)
    change = batch["weights"] * (new - batch["old_log_probabilities"])
    assert float(jnp.sum(change.sum(axis=(1, 2)) * batch["advantages"])) > 0


def test_padding_may_hold_anything():
    batch = noised(UNIGRPO)
    other = {**batch, "tokens": batch["tokens"].at[:, -1].set(3)}
    first, second = (loss_and_gradient(UNIGRPO, b)[2] for b in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_batch_without_its_reference_is_refused():
    batch = noised(UNIGRPO)
    del batch["reference_log_probabilities"]
    with pytest.raises(InputError, match="lacks 'reference_log_probabilities'"):
        loss_and_gradient(UNIGRPO, batch)


# The response of four tokens in every order of revealing it.
TOKENS = ROWS["tokens"][2]
PLACES = (2, 3, 4, 5)
ORDERS = orders(PARAMS, TOKENS, PLACES)
ELBO = ORDERS.sum(axis=1).mean()
LIKELIHOOD = np.log(np.exp(ORDERS.sum(axis=1)).mean())


def upper(power):
    """The bound of SPG with exact expectations: sum_i (1 / power) log mean_orders p_i^power."""
    new = jnp.zeros((1, len(ORDERS), 8)).at[0, :, 2:6].set(ORDERS)
    weights = jnp.zeros_like(new).at[:, :, 2:6].set(1 / len(ORDERS))
    return float(sequence_eubo(new, weights, power)[0])


def test_the_upper_bound_rises_with_its_power_from_the_lower_bound_past_the_likelihood():
    values = [upper(power) for power in (1e-3, 0.5, 1.0, 2.0, 4.0, 64.0)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(ELBO, abs=1e-2)
    assert ELBO < LIKELIHOOD <= upper(len(PLACES))
    assert upper(64.0) <= ORDERS.max(axis=0).sum() + 1e-4


def test_a_small_power_is_no_bound_where_good_orders_are_good_for_every_token():
    # Two tokens, two equally likely ways of revealing them: both likely, or both unlikely.
    table = np.log([[0.9, 0.9], [0.1, 0.1]])
    likelihood = np.log(np.exp(table.sum(axis=1)).mean())
    new, weights = jnp.asarray(table)[None], jnp.full((1, 2, 2), 0.5)
    assert float(sequence_eubo(new, weights, 1.0)[0]) < likelihood
    assert float(sequence_eubo(new, weights, 2.0)[0]) == pytest.approx(likelihood, rel=1e-5)


def test_exact_pairs_estimate_the_elbo_without_bias():
    config = replace(DIFFUSION_ALGORITHMS["espo"], updates=1, draws=1)
    rows = responses((4,) * 3000, canvas=4, padding=2)
    rows |= {"tokens": jnp.tile(TOKENS, (3000, 1)), "keys": jnp.ones((3000, 8), bool)}
    noise, scores = noise_and_scores(config, rows, PARAMS)
    estimates = np.asarray(sequence_elbo(scores, noise.weights))
    error = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - ELBO) < 4 * error
    assert error < 0.1
