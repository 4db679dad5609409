"""Preferences on ELBOs: unbiased, with less variance under shared masks, and pulling apart."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denoiser_toy import MASK, Denoiser, orders, responses

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.noising import elbo_noise
from jaxreason.objectives.diffusion.policy import noised_log_probabilities
from jaxreason.objectives.diffusion.policy_losses import sequence_elbo
from jaxreason.objectives.diffusion.preference import diffusion_preference, preference_pairs

MODEL = Denoiser()
PARAMS = MODEL.init(jax.random.key(1))
REFERENCE = jax.tree.map(lambda x: 0.9 * x, PARAMS)
COUNT = 3000
ROWS = responses((4,) * COUNT, canvas=4, padding=2)
TOKENS = responses()["tokens"][2]
ROWS |= {"tokens": jnp.tile(TOKENS, (COUNT, 1)), "keys": jnp.ones((COUNT, 8), bool)}


@partial(jax.jit, static_argnums=2)
def estimates(params, key, draws):
    noise = elbo_noise(ROWS["maskable"], key, draws)
    batch = {**ROWS, "masked": noise.masked, "weights": noise.weights}
    return sequence_elbo(
        noised_log_probabilities(MODEL, params, batch, mask_id=MASK), noise.weights
    )


def test_the_estimate_is_unbiased():
    exact = orders(PARAMS, TOKENS, (2, 3, 4, 5)).sum(axis=1).mean()
    found = np.asarray(estimates(PARAMS, jax.random.key(0), 1))
    error = found.std() / COUNT**0.5
    assert abs(found.mean() - exact) < 4 * error
    assert error < 0.1


def test_shared_masks_make_the_difference_to_the_reference_less_noisy():
    keys = jax.random.key(0), jax.random.key(1)
    own = estimates(PARAMS, keys[0], 2)
    shared, apart = (np.std(own - estimates(REFERENCE, key, 2)) for key in keys)
    assert shared < 0.6 * apart


def pairs(margin_of):
    """Two pairs under the noise of a fixed key, the reference being `margin_of`'s parameters."""
    rows = responses((5, 5, 5, 5))
    noise = elbo_noise(rows["maskable"], jax.random.key(2), 3)
    batch = {"tokens": rows["tokens"], "keys": rows["keys"], **noise._asdict()}
    batch["reference_log_probabilities"] = noised_log_probabilities(
        MODEL, margin_of, batch, mask_id=MASK
    )
    return {name: x.reshape(2, 2, *x.shape[1:]) for name, x in batch.items()}


def test_at_the_reference_the_loss_is_log_2_and_a_step_prefers_the_chosen():
    objective = jax.jit(
        jax.value_and_grad(diffusion_preference(MODEL, mask_id=MASK, beta=0.5), has_aux=True)
    )
    batch = pairs(PARAMS)
    (loss, metrics), gradient = objective(PARAMS, batch, jax.random.key(0))
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)
    assert float(metrics["margin"][0]) == pytest.approx(0, abs=1e-5)
    after = jax.tree.map(lambda x, g: x - 0.01 * g, PARAMS, gradient)
    (lower, metrics), _ = objective(after, batch, jax.random.key(0))
    assert float(lower) < float(loss)
    assert float(metrics["margin"][0]) > 0
    assert float(metrics["accuracy"][0]) >= 1

    swapped = {name: x[:, ::-1] for name, x in batch.items()}
    (other, _), opposite = objective(PARAMS, swapped, jax.random.key(0))
    assert float(other) == pytest.approx(np.log(2), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, atol=1e-6), gradient, opposite)


def test_pairs_are_the_best_and_the_worst_answer_and_equal_rewards_count_nothing():
    rows = {"tokens": np.arange(12).reshape(6, 2)}
    found = preference_pairs(rows, np.array([0.0, 2.5, 0.5, 1.0, 1.0, 1.0]), 3)
    assert found["tokens"].tolist() == [[[2, 3], [0, 1]], [[6, 7], [6, 7]]]
    assert found["pair_weights"].tolist() == [1, 0]

    batch = pairs(PARAMS)
    objective = jax.jit(diffusion_preference(MODEL, mask_id=MASK))
    moved = jax.tree.map(lambda x: 1.1 * x, PARAMS)
    half = {**batch, "pair_weights": jnp.array([1.0, 0.0])}
    alone = {name: x[:1] for name, x in batch.items()}
    one, other = (objective(moved, b, jax.random.key(0)) for b in (half, alone))
    assert float(one[0]) == pytest.approx(float(other[0]), rel=1e-6)
    none = {**batch, "pair_weights": jnp.zeros(2)}
    assert float(objective(moved, none, jax.random.key(0))[0]) == 0


def test_bad_values_are_named():
    for fields, message in (({"beta": 0.0}, "beta=0.0"), ({"label_smoothing": 0.5}, "smoothing=")):
        with pytest.raises(InputError, match=message):
            diffusion_preference(MODEL, mask_id=MASK, **fields)
    with pytest.raises(InputError, match="draws=0"):
        elbo_noise(ROWS["maskable"], jax.random.key(0), 0)
    batch = {name: x for name, x in pairs(PARAMS).items() if name != "weights"}
    with pytest.raises(InputError, match="lacks 'weights'"):
        diffusion_preference(MODEL, mask_id=MASK)(PARAMS, batch, jax.random.key(0))
