"""Noise levels and masks of every algorithm."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denoiser_toy import responses

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.noising import draw_count, draw_noise
from jaxreason.objectives.diffusion.timesteps import timesteps

ROWS = responses()
CANVAS, RESPONSE = np.asarray(ROWS["maskable"]), np.asarray(ROWS["counted"])
TAIL = CANVAS & ~RESPONSE


@partial(jax.jit, static_argnums=(0, 3))
def drawn(config, rows, key, steps):
    return draw_noise(config, rows, key, group=2, steps=steps)


def draw(config, key=0, rows=ROWS, steps=1):
    noise = drawn(config, rows, jax.random.key(key), steps)
    return np.asarray(noise.masked), np.asarray(noise.weights)


def test_levels_of_algorithm_1_and_of_the_papers_example():
    assert timesteps("alg1", 5, 1000, 100).tolist() == [100, 325, 550, 775, 1000]
    assert timesteps("example_stride", 5, 1000, 100).tolist() == [100, 300, 500, 700, 900]
    assert timesteps("alg1", 1, 1000, 100).tolist() == [100]


def test_levels_beyond_the_last_go_on_from_the_bottom_and_stay_evenly_spread():
    assert timesteps("example_stride", 5, 1000, 900).tolist() == [900, 100, 300, 500, 700]
    starts = np.arange(1, 1001)
    levels = np.asarray(timesteps("example_stride", 5, 1000, starts))
    for row in levels:
        assert sorted(row) == starts.tolist()


def test_random_levels_lie_within_1_and_t_and_need_a_key():
    levels = np.asarray(timesteps("random", 400, 7, 3, jax.random.key(0)))
    assert set(levels) == set(range(1, 8))
    with pytest.raises(InputError, match="needs a key"):
        timesteps("random", 4, 7, 3)
    with pytest.raises(InputError, match="timestep_rule='even'"):
        timesteps("even", 4, 7, 3)


@pytest.mark.parametrize("name", DIFFUSION_ALGORITHMS)
def test_every_noise_hides_responses_and_counts_only_what_is_hidden(name):
    config = DIFFUSION_ALGORITHMS[name]
    order = jnp.where(ROWS["maskable"], jnp.arange(8) - 2, -1)
    masked, weights = draw(config, rows={**ROWS, "order": order}, steps=5)
    assert masked.shape == (config.updates, 4, draw_count(config, 5), 8)
    counts = CANVAS if config.tail == "counted" else RESPONSE
    assert not ((weights > 0) & ~masked).any()
    assert not ((weights > 0) & ~counts[:, None]).any()
    assert not masked[..., -1].any()  # padding
    if not config.prompt_mask:
        assert not masked[..., :2].any()


def test_the_full_response_is_hidden_at_the_last_level_of_algorithm_1():
    masked, weights = draw(DiffusionAlgorithmConfig(updates=3))
    assert (masked[-1, :, 0] == CANVAS).all()
    assert (weights[-1, :, 0] == RESPONSE).all()


def test_a_level_hides_its_share_and_never_nothing():
    config = DiffusionAlgorithmConfig(updates=1, first_timestep=(300, 300))
    shares = [draw(config, key)[0][0, 1, 0, 2:7].mean() for key in range(400)]
    expected = 0.3 + 0.7**5 / 5  # where none of 5 would be hidden, one is
    assert abs(np.mean(shares) - expected) < 0.03
    masked, weights = draw(replace(config, first_timestep=(0, 0)))
    assert (weights.sum(axis=-1) == 1).all()
    assert ((masked & RESPONSE[:, None]).sum(axis=-1) == 1).all()


def test_an_exact_count_hides_that_many():
    config = DiffusionAlgorithmConfig(
        updates=1, first_timestep=(600, 600), mask_count="exact", tail="counted"
    )
    assert (draw(config)[0].sum(axis=-1) == 3).all()


def test_levels_are_drawn_once_per_update_or_per_response():
    each = DiffusionAlgorithmConfig(updates=1, mask_count="exact", tail="counted")
    config = replace(each, timestep_scope="update")
    sizes = {scope.timestep_scope: [] for scope in (config, each)}
    for key in range(20):
        for scope in (config, each):
            sizes[scope.timestep_scope].append(np.ptp(draw(scope, key)[0].sum(axis=-1)) > 0)
    assert not any(sizes["update"])
    assert any(sizes["response"])


def test_masks_may_be_shared_within_a_group():
    rows = responses((5, 5, 5, 5))
    config = DiffusionAlgorithmConfig(updates=2, share_mask_across_group=True)
    alike = [draw(config, key, rows)[0] for key in range(5)]
    own = [draw(replace(config, share_mask_across_group=False), key, rows)[0] for key in range(5)]
    assert all((x[:, 0::2] == x[:, 1::2]).all() for x in alike)
    assert any((x[:, 0] != x[:, 2]).any() for x in alike)
    assert any((x[:, 0::2] != x[:, 1::2]).any() for x in own)


@pytest.mark.parametrize(
    ("tail", "hidden"), [("noised", None), ("masked", True), ("visible", False), ("counted", None)]
)
def test_what_follows_the_end_token(tail, hidden):
    config = DiffusionAlgorithmConfig(updates=1, first_timestep=(500, 500), tail=tail)
    masked, weights = (np.stack(x) for x in zip(*(draw(config, k) for k in range(20)), strict=True))
    after = masked[:, 0, :, 0][:, TAIL]
    assert hidden is None or (after == hidden).all()
    assert hidden is not None or (after.any() and not after.all())
    assert (weights[:, 0, :, 0][:, TAIL] > 0).any() == (tail == "counted")


def test_prompt_tokens_are_hidden_with_their_own_probability():
    config = replace(DIFFUSION_ALGORITHMS["diffu_grpo"], updates=300)
    masked, weights = draw(config)
    assert abs(masked[..., :2].mean() - 0.15) < 0.02
    assert (masked[..., 2:7]).all()
    assert not weights[..., :2].any()


def test_complementary_pairs_cover_every_token_once():
    config = DIFFUSION_ALGORITHMS["coupled_grpo"]
    masked, weights = draw(config)
    whole, part, rest = (masked[:, :, i] for i in range(3))
    assert (whole == CANVAS).all()
    assert (part ^ rest == CANVAS).all()
    one, other = weights[:, :, 1].max(-1), weights[:, :, 2].max(-1)
    both = (one > 0) & (other > 0)
    assert both.any()
    np.testing.assert_allclose(1 / (2 * one[both]) + 1 / (2 * other[both]), 1, rtol=1e-5)
    assert (weights[:, :, 0][..., RESPONSE] == 0.5).all()


@pytest.mark.parametrize(("draws", "pair"), [(1, True), (3, True)])
def test_exact_pairs_weigh_every_token_1_on_average(draws, pair):
    config = replace(DIFFUSION_ALGORITHMS["espo"], updates=4000, draws=draws)
    rows = responses((5,) * 2)
    masked, weights = draw(config, rows=rows)
    assert (masked[:, :, ::2] ^ masked[:, :, 1::2] == np.asarray(rows["maskable"])[:, None]).all()
    np.testing.assert_allclose(weights.sum(axis=2).mean(axis=(0, 1))[2:7], 1, atol=0.06)
    sizes = masked[:, :, 0].sum(-1)
    assert set(sizes.ravel()) == set(range(6))
    single = masked[:, :, 0] & (sizes == 2)[..., None]
    np.testing.assert_allclose(weights[:, :, 0][single], 6 / 2 / 2 / draws)


def test_blocks_hide_all_that_follows_and_part_of_one():
    config = replace(DIFFUSION_ALGORITHMS["spg"], block=2, draws=1, prompt_mask=0.0, updates=200)
    rows = responses((5, 5))
    masked, weights = draw(config, rows=rows)
    first = masked.argmax(axis=-1) - 2
    response = masked[..., 2:7]
    seen = set()
    for row, start in zip(response.reshape(-1, 5), first.ravel(), strict=True):
        assert row[2 * (start // 2 + 1) :].all()
        seen.add(tuple(row))
    assert len(seen) == 3 + 3 + 1  # two places of a block: either or both; the last block has one
    np.testing.assert_allclose(weights.sum(axis=-1), 5, rtol=1e-5)


def test_draws_of_a_response_have_blocks_of_their_own_while_there_are_enough():
    config = replace(DIFFUSION_ALGORITHMS["spg"], block=2, draws=4, prompt_mask=0.0, updates=60)
    masked, _ = draw(config, rows=responses((5, 3)))
    blocks = (masked.argmax(axis=-1) - 2) // 2  # [updates, rows, draws]
    assert all(set(row[:3]) == {0, 1, 2} for row in blocks[:, 0])
    assert (blocks[..., 3][:, 0] == blocks[..., 0][:, 0]).all()
    assert all(set(row[:2]) == set(row[2:]) == {0, 1} for row in blocks[:, 1])
    firsts = np.bincount(blocks[:, 0, 0])
    assert len(firsts) == 3
    assert (firsts > 5).all()


def test_a_trace_counts_every_token_once_where_the_sampler_chose_it():
    order = np.full((4, 8), -1)
    order[:, 2:7] = [[1, 0, 2, -1, -1], [4, 3, 2, 1, 0], [0, 0, 1, 1, -1], [2, 2, 2, 2, -1]]
    config = replace(DIFFUSION_ALGORITHMS["trace_rl"], shrink=2)
    masked, weights = draw(config, rows={**ROWS, "order": jnp.asarray(order)}, steps=5)
    assert masked.shape[2] == 3
    assert (weights.sum(axis=2) == RESPONSE).all()
    assert weights[0, 1, :, 2:7].tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert masked[0, 1, :, 2:7].tolist() == [[1] * 5, [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert masked[0, 0, :, 5:7].all()  # after its end
    with pytest.raises(InputError, match="the order in which tokens were revealed"):
        draw(config)


def test_the_same_key_draws_the_same_noise():
    config = DiffusionAlgorithmConfig()
    assert (draw(config, 3)[0] == draw(config, 3)[0]).all()
    assert (draw(config, 3)[0] != draw(config, 4)[0]).any()
