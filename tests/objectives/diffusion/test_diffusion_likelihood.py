"""Evidence bounds against enumeration, and estimates against the exact bound."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_llada import MASK, golden_config, golden_params

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.diffusion.likelihood import bound_of, elbo, exact_elbo, perplexity
from jaxreason.objectives.diffusion.mask_draws import (
    ESTIMATORS,
    MaskDrawConfig,
    draw_masks,
    enumerate_masks,
)
from jaxreason.objectives.diffusion.token_scores import token_log_probabilities

MODEL, PARAMS = Transformer(golden_config()), golden_params()
KEY = jax.random.key(3)
EXACT, ONE_STEP, MEAN_OVER_ORDERS = -18.118101678, -17.377999973, -16.82132


def batch_of(prompts=((3, 1, 4, 1),), responses=((5, 9, 2),)):
    rows = [(*prompt, *response) for prompt, response in zip(prompts, responses, strict=True)]
    length = max(map(len, rows))
    tokens, maskable, keys = (np.zeros((len(rows), length), t) for t in (np.int32, bool, bool))
    for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        tokens[i, length - len(row) :] = row
        maskable[i, length - len(row) + len(prompt) :] = True
        keys[i, length - len(row) :] = True
    return {
        "tokens": jnp.asarray(tokens),
        "maskable": jnp.asarray(maskable),
        "keys": jnp.asarray(keys),
    }


@pytest.fixture(scope="module")
def conditionals():
    """log p(x_i | response tokens in `masked` hidden), for every set of response places."""
    sets = list(itertools.chain(*(itertools.combinations(range(3), k) for k in (1, 2, 3))))
    tokens = np.tile([3, 1, 4, 1, 5, 9, 2], (len(sets), 1))
    where = np.zeros_like(tokens, bool)
    for row, places in enumerate(sets):
        where[row, [4 + place for place in places]] = True
    scores = jax.jit(
        lambda inputs, targets, where: token_log_probabilities(
            MODEL, PARAMS, inputs, targets, where
        )
    )(jnp.asarray(np.where(where, MASK, tokens)), jnp.asarray(tokens), jnp.asarray(where))
    assert (np.asarray(scores)[~where] == 0).all()
    return {s: np.asarray(scores, np.float64)[row, 4:] for row, s in enumerate(sets)}


def paths(conditionals):
    """Log-probability of the response in each of the six orders of decoding."""
    for order in itertools.permutations(range(3)):
        yield sum(
            conditionals[tuple(sorted(order[step:]))][place] for step, place in enumerate(order)
        )


def test_exact_bound_equals_the_reference_and_the_mean_over_orders(conditionals):
    exact = exact_elbo(MODEL, mask_id=MASK, longest=3)(PARAMS, batch_of(), KEY)
    np.testing.assert_allclose(exact, [EXACT], atol=3e-5)
    assert np.mean(list(paths(conditionals))) == pytest.approx(EXACT, abs=3e-5)


def test_exact_bound_is_the_integral_over_ratios(conditionals):
    """Integral of (1 / t) E[sum over masked tokens] for independent masks of probability t."""
    ratios = (np.arange(2000) + 0.5) / 2000
    integrand = sum(
        ratios ** (len(s) - 1) * (1 - ratios) ** (3 - len(s)) * conditionals[s].sum()
        for s in conditionals
    )
    assert integrand.mean() == pytest.approx(EXACT, abs=3e-5)


def test_the_bound_lies_below_the_mean_over_orders(conditionals):
    mixture = np.log(np.mean(np.exp(list(paths(conditionals)))))
    assert mixture == pytest.approx(MEAN_OVER_ORDERS, abs=3e-5)
    assert mixture > EXACT


def test_one_step_estimate():
    config = MaskDrawConfig("full", draws=1)
    got = elbo(MODEL, mask_id=MASK, config=config)(PARAMS, batch_of(), KEY)
    np.testing.assert_allclose(got, [ONE_STEP], atol=3e-5)


@pytest.mark.parametrize("at_once", [1, 4])
def test_rows_of_different_lengths_equal_the_same_rows_alone(at_once):
    prompts, responses = ((3, 1, 4, 1), (7, 22), (8,)), ((5, 9, 2), (11, 30, 6, 2), ())
    likelihood = exact_elbo(MODEL, mask_id=MASK, longest=4, at_once=at_once)
    together = likelihood(PARAMS, batch_of(prompts, responses), KEY)
    assert together[0] == pytest.approx(EXACT, abs=5e-5)
    alone = likelihood(PARAMS, batch_of(prompts[1:2], responses[1:2]), KEY)
    assert together[1] == pytest.approx(float(alone[0]), abs=5e-5)
    assert together[2] == 0.0


CONFIGS = [
    MaskDrawConfig(estimator, draws=2000, stratified=stratified, antithetic=antithetic)
    for estimator in ("uniform_count", "count_from_zero", "independent")
    for stratified, antithetic in ((False, False), (True, False), (True, True))
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_estimates_converge_to_the_exact_bound(config, conditionals):
    """Every draw is looked up in the table of exact conditionals; error within 4 of its own."""
    draws = jax.jit(lambda m, k: draw_masks(m, k, config))(jnp.ones((20, 3), bool), KEY)
    masked, weights = (np.asarray(x).reshape(-1, 3) for x in draws)
    table = np.zeros((8, 3))
    for places, scores in conditionals.items():
        table[sum(1 << place for place in places)] = scores
    values = (weights * config.draws * table[masked @ [1, 2, 4]]).sum(axis=1)
    error = values.std() / np.sqrt(len(values))
    assert error < 0.2
    assert values.mean() == pytest.approx(EXACT, abs=4 * error)


def test_the_model_is_scored_with_the_masks_drawn():
    """The estimate is its own draws, weighted; whatever the draws per call."""
    config = MaskDrawConfig(draws=6)
    batch = batch_of()
    whole = elbo(MODEL, mask_id=MASK, config=config, at_once=4, chunk=5)(PARAMS, batch, KEY)
    draws = draw_masks(batch["maskable"], KEY, config)
    single = jax.jit(
        lambda draws: token_log_probabilities(
            MODEL,
            PARAMS,
            jnp.where(draws.masked[0], MASK, batch["tokens"]),
            jnp.tile(batch["tokens"], (6, 1)),
            draws.masked[0],
        )
    )(draws)
    np.testing.assert_allclose(whole, [jnp.sum(single * draws.weights[0])], rtol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("stratified", [True, False])
def test_every_token_weighs_one_on_average(estimator, stratified):
    config = MaskDrawConfig(estimator, draws=50, stratified=stratified)
    maskable = jnp.asarray(np.arange(8) % 3 > 0)
    draws = draw_masks(jnp.tile(maskable, (400, 1)), KEY, config)
    weight = np.asarray(draws.weights).sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(weight, np.asarray(maskable), atol=0.12)
    assert not (np.asarray(draws.masked) & ~np.asarray(maskable)).any()


def test_exact_weights_of_sets():
    """1 / (k C(n, k)), and one in total for every token."""
    draws = enumerate_masks(jnp.array([[True, False, True, True], [False, False, True, False]]), 3)
    masked, weights = np.asarray(draws.masked), np.asarray(draws.weights)
    np.testing.assert_allclose(weights.sum(axis=1), [[1, 0, 1, 1], [0, 0, 1, 0]], atol=1e-6)
    for size, weight in ((1, 1 / 3), (2, 1 / 6), (3, 1 / 3)):
        rows = masked[0].sum(axis=1) == size
        np.testing.assert_allclose(weights[0][rows][masked[0][rows]], weight, rtol=1e-6)


def test_stratified_counts_are_spread_evenly():
    """As many draws as counts: each count once (LLaDA's rule)."""
    draws = draw_masks(jnp.ones((5, 6), bool), KEY, MaskDrawConfig(draws=6))
    np.testing.assert_array_equal(
        np.sort(np.asarray(draws.masked).sum(axis=2)), np.tile(np.arange(1, 7), (5, 1))
    )


def test_mirrored_masks_cover_every_token_exactly_once():
    config = MaskDrawConfig("count_from_zero", draws=8, antithetic=True)
    masked = np.asarray(draw_masks(jnp.ones((30, 7), bool), KEY, config).masked)
    assert (masked[:, ::2] ^ masked[:, 1::2]).all()


def test_the_bound_has_a_gradient_whatever_the_draws_per_call():
    """VRPO differentiates it: the same masks at 1 or 3 draws per call."""
    batch = batch_of()
    draws = draw_masks(batch["maskable"], KEY, MaskDrawConfig(draws=3))

    def gradient(at_once):
        def loss(params):
            return bound_of(MODEL, params, batch, draws, mask_id=MASK, at_once=at_once).sum()

        return jax.jit(jax.grad(loss))(PARAMS)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradient(1),
        gradient(3),
    )


def test_perplexity_per_task():
    maskable = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
    bounds = np.log([0.5, 0.25, 0.125])
    got = perplexity(bounds, maskable, np.array([1, 1, 3]))
    assert got == {"lm": pytest.approx(2.0), "mmu": pytest.approx(2.0)}
    assert perplexity(bounds, maskable) == {"all": pytest.approx(2.0)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "guess"}, "estimator='guess'"),
        ({"draws": 0}, "draws=0"),
        ({"draws": 3, "antithetic": True}, "draws=3 .* even"),
        ({"floor": 0.0}, "floor=0.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        MaskDrawConfig(**settings)


def test_what_cannot_be_enumerated_is_refused():
    with pytest.raises(InputError, match="longest=2, but 3 tokens"):
        exact_elbo(MODEL, mask_id=MASK, longest=2)(PARAMS, batch_of(), KEY)
    with pytest.raises(InputError, match="longest=40"):
        enumerate_masks(jnp.ones((1, 50), bool), 40)
    with pytest.raises(InputError, match="mask_id=60"):
        elbo(MODEL, mask_id=60)
