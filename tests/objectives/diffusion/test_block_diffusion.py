"""Block diffusion between its two ends: masked diffusion and next-token prediction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_llada import MASK, golden_config, golden_params

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Transformer
from jaxreason.models.attention import visible
from jaxreason.objectives.diffusion.block_diffusion import (
    BlockDiffusionConfig,
    block_diffusion,
    block_loss_of,
    corrupt_blocks,
)
from jaxreason.objectives.diffusion.likelihood import elbo, exact_elbo
from jaxreason.objectives.diffusion.mask_draws import MaskDrawConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig, loss_of
from jaxreason.objectives.diffusion.tasks import TASKS, TaskCoefficients
from jaxreason.objectives.diffusion.token_scores import token_scores

MODEL, PARAMS = Transformer(golden_config()), golden_params()
KEY = jax.random.key(5)
ROWS, LENGTH = 4, 8


@pytest.fixture(scope="module")
def batch():
    """Four rows of eight tokens; prompts of two, padded on the left by 0 to 2."""
    tokens = np.random.default_rng(0).integers(0, 50, (ROWS, LENGTH))
    padding = np.array([0, 2, 1, 0])[:, None]
    places = np.arange(LENGTH)
    return {
        "tokens": jnp.asarray(tokens, jnp.int32),
        "keys": jnp.asarray(places >= padding),
        "maskable": jnp.asarray(np.broadcast_to(places >= 4, (ROWS, LENGTH))),
        "visible_targets": jnp.zeros((ROWS, LENGTH), bool),
        "task": jnp.full((ROWS,), TASKS.index("lm_chat"), jnp.int32),
    }


def test_attention_equals_the_three_terms_of_the_definition():
    """Block-diagonal, offset block-causal and block-causal, pair by pair; L = 8, block 2."""
    seen = np.asarray(visible(AttentionSpec("block_diffusion", 2), 16, 16))[0]
    for query in range(16):
        for key in range(16):
            query_noisy, key_noisy = query < 8, key < 8
            query_block, key_block = (query % 8) // 2, (key % 8) // 2
            diagonal = query_block == key_block and query_noisy == key_noisy
            offset = query_block > key_block and query_noisy and not key_noisy
            causal = query_block >= key_block and not query_noisy and not key_noisy
            assert seen[query, key] == (diagonal or offset or causal), (query, key)


def test_one_block_equals_masked_diffusion_with_the_same_masks(batch):
    """The bound per token, value and gradient."""
    config = BlockDiffusionConfig(block=LENGTH)
    bound = MaskedDiffusionConfig(TaskCoefficients(lm_chat=1.0), normalisation="elbo")
    corrupted = corrupt_blocks(batch, KEY, MASK, config)

    @jax.jit
    def both(params):
        block = jax.value_and_grad(lambda p: block_loss_of(MODEL, p, batch, corrupted, config)[0])(
            params
        )
        plain = jax.value_and_grad(lambda p: loss_of(MODEL, p, batch, corrupted, bound)[0])(params)
        return block, plain

    (block, block_gradient), (plain, plain_gradient) = both(PARAMS)
    assert block == pytest.approx(float(plain), rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        block_gradient,
        plain_gradient,
    )


def test_blocks_of_one_token_are_autoregressive(batch):
    """Token i is predicted at place i by a causal model that reads x_0 .. x_{i-1} and a mask."""
    tokens = batch["tokens"]

    @jax.jit
    def both():
        masked = jnp.full_like(tokens, MASK)
        losses = token_scores(MODEL, PARAMS, masked, tokens, block=1).losses

        def at(place):
            inputs = jnp.where(jnp.arange(LENGTH) == place, MASK, tokens)
            hidden = MODEL.apply(PARAMS, inputs, attention=AttentionSpec("causal"))[0]
            logits = jax.nn.log_softmax(MODEL.unembed(PARAMS, hidden[:, place]))
            return -jnp.take_along_axis(logits, tokens[:, place, None], axis=1)[:, 0]

        return losses, jax.lax.map(at, jnp.arange(LENGTH)).T

    losses, causal = both()
    np.testing.assert_allclose(losses, causal, rtol=2e-5, atol=2e-5)


def test_blocks_of_one_token_have_an_exact_likelihood(batch):
    """The bound is the chain rule, no matter the draw of masks."""
    tokens = batch["tokens"]
    losses = jax.jit(
        lambda: (
            token_scores(
                MODEL, PARAMS, jnp.full_like(tokens, MASK), tokens, batch["keys"], block=1
            ).losses
        )
    )()
    chain = -np.where(np.asarray(batch["maskable"]), losses, 0).sum(axis=1)
    exact = exact_elbo(MODEL, mask_id=MASK, longest=1, block=1)
    np.testing.assert_allclose(exact(PARAMS, batch, KEY), chain, rtol=1e-5)
    drawn = elbo(MODEL, mask_id=MASK, config=MaskDrawConfig(draws=2), block=1)
    np.testing.assert_allclose(drawn(PARAMS, batch, KEY), chain, rtol=1e-5)


def test_a_block_does_not_see_noise_before_it_nor_anything_after(batch):
    """Loss of block 1 (places 2, 3) when masks and tokens elsewhere change."""
    tokens = batch["tokens"]
    score = jax.jit(lambda x, y: token_scores(MODEL, PARAMS, x, y, block=2).losses[:, 2:4])
    inputs = tokens.at[:, 2].set(MASK)
    before = score(inputs, tokens)
    noise = inputs.at[:, :2].set(MASK).at[:, 4:].set(MASK)
    np.testing.assert_allclose(score(noise, tokens), before, atol=1e-5)
    np.testing.assert_allclose(score(inputs, tokens.at[:, 4:].set(7)), before, atol=1e-5)
    assert np.abs(score(inputs, tokens.at[:, :2].set(7)) - before).max() > 1e-2


def test_the_exact_bound_of_blocks_is_their_sum(batch):
    """Two blocks of two response tokens: the bound of each, given the clean tokens before it."""
    whole = exact_elbo(MODEL, mask_id=MASK, longest=2, block=2)(PARAMS, batch, KEY)
    parts = []
    for start in (4, 6):
        part = {**batch, "maskable": jnp.asarray(np.isin(np.arange(LENGTH), [start, start + 1]))}
        part["maskable"] = jnp.broadcast_to(part["maskable"], (ROWS, LENGTH))
        parts.append(exact_elbo(MODEL, mask_id=MASK, longest=2, block=2)(PARAMS, part, KEY))
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)


@pytest.mark.parametrize("at_least_one", [False, True])
def test_the_objective_is_the_bound_on_average(batch, at_least_one):
    """Many draws of the noise against the exact bound, per sequence."""
    config = BlockDiffusionConfig(2, 0.01, at_least_one=at_least_one, per="sequence")
    exact = exact_elbo(MODEL, mask_id=MASK, longest=2, block=2)(PARAMS, batch, KEY)
    objective = block_diffusion(MODEL, mask_id=MASK, config=config)
    keys = jax.random.split(KEY, 400)
    losses = jax.jit(lambda: jax.lax.map(lambda k: objective(PARAMS, batch, k)[0], keys))()
    error = float(losses.std() / 20)
    assert error < 1.0
    assert losses.mean() == pytest.approx(-float(exact.mean()), abs=4 * error)


def test_noise_of_blocks():
    """A level per block and row, within the range; only what is maskable is masked."""
    rows, length = 500, 12
    maskable = jnp.broadcast_to(jnp.arange(length) % 4 > 0, (rows, length))
    batch = {"tokens": jnp.zeros((rows, length), jnp.int32), "maskable": maskable}
    clipped = BlockDiffusionConfig(4, least_ratio=0.3, most_ratio=0.8)
    result = corrupt_blocks(batch, KEY, MASK, clipped)
    ratio = 1 / np.asarray(result.weights)[np.asarray(result.masked)]
    assert 0.3 <= ratio.min() < 0.32
    assert 0.78 < ratio.max() <= 0.8001
    assert not (np.asarray(result.masked) & ~np.asarray(maskable)).any()
    weight = np.asarray(result.weights).mean(axis=0)
    np.testing.assert_allclose(weight, np.arange(length) % 4 > 0, atol=0.25)
    levels = np.asarray(result.weights).reshape(rows, 3, 4).max(axis=2)
    assert (levels[:, 0] != levels[:, 1]).mean() > 0.9


@pytest.mark.parametrize("at_least_one", [False, True])
def test_at_least_one_token_of_each_block(at_least_one):
    """Every count from 1 to 4 equally often; without the option some blocks stay clean."""
    maskable = jnp.broadcast_to(jnp.arange(12) > 3, (1000, 12))
    batch = {"tokens": jnp.zeros((1000, 12), jnp.int32), "maskable": maskable}
    config = BlockDiffusionConfig(4, at_least_one=at_least_one)
    result = corrupt_blocks(batch, KEY, MASK, config)
    counts = np.asarray(result.masked).reshape(-1, 3, 4).sum(2)
    assert (counts[:, 0] == 0).all()
    assert (counts[:, 1:].min() >= 1) == at_least_one
    if at_least_one:
        shares = [(counts[:, 1:] == k).mean() for k in range(1, 5)]
        np.testing.assert_allclose(shares, 0.25, atol=0.04)
        weights = np.asarray(result.weights)
        np.testing.assert_allclose(weights.reshape(-1, 3, 4).sum(2)[:, 1:], 4, rtol=1e-6)


def test_bad_blocks_are_refused(batch):
    with pytest.raises(InputError, match="block=3 with rows of 8"):
        block_diffusion(MODEL, mask_id=MASK, config=BlockDiffusionConfig(3))(PARAMS, batch, KEY)
    with pytest.raises(InputError, match="block=0"):
        BlockDiffusionConfig(0)
    with pytest.raises(InputError, match=r"least_ratio=0\.9 with most_ratio=0\.8"):
        BlockDiffusionConfig(2, 0.9, 0.8)
    with pytest.raises(InputError, match="per='row'"):
        BlockDiffusionConfig(2, per="row")
