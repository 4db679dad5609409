"""Every constant of an algorithm counts: another value gives another noise, advantage or loss."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denoiser_toy import responses

from jaxreason.objectives.diffusion.advantages import diffusion_advantages
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.noising import draw_noise
from jaxreason.objectives.diffusion.policy import policy_loss
from jaxreason.objectives.diffusion.policy_losses import Scored

ROWS = responses()
ROWS["order"] = jnp.where(ROWS["maskable"], jnp.arange(8) - 2, -1)
RANDOM = np.random.default_rng(0).normal(-1.5, 0.4, (3, 4, 2, 5))
WEIGHTS = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]] * 4).reshape(4, 2, 5) / 2
SCORED = Scored(
    *(jnp.asarray(x * (WEIGHTS > 0)) for x in RANDOM),
    jnp.asarray(WEIGHTS),
    jnp.array([1.0, -1.0, 0.5, -0.5]),
    jnp.array([4.0, 5.0, 4.0, 6.0]),
)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("unigrpo", "clip_low", 0.02),
        ("unigrpo", "clip_high", 0.02),
        ("unigrpo", "kl_coefficient", 0.1),
        ("unigrpo", "kl_estimator", "k2"),
        ("unigrpo", "kl_target", "old"),
        ("unigrpo", "kl_summed", True),
        ("unigrpo", "aggregation", "token_pool"),
        ("unigrpo", "aggregation", "response_length"),
        ("unigrpo", "aggregation", "response_sum"),
        ("unigrpo", "surrogate", "reinforce"),
        ("diffu_grpo", "clip_high", 0.02),
        ("coupled_grpo", "clip_low", 0.02),
        ("wd1", "aggregation", "response_length"),
        ("spg", "upper_power", 2.0),
        ("spg", "upper_share", 0.9),
        ("spg", "aggregation", "response_length"),
        ("espo", "clip_low", 0.02),
        ("espo", "kl_coefficient", 0.1),
        ("espo", "kl_estimator", "k3"),
        ("espo", "aggregation", "response_sum"),
        ("trace_rl", "kl_target", "reference"),
        ("random_masking", "kl_summed", True),
        ("random_masking", "kl_target", "reference"),
    ],
)
def test_the_loss_depends_on(name, field, value):
    config = DIFFUSION_ALGORITHMS[name]
    assert getattr(config, field) != value
    before, after = (policy_loss(c, SCORED)[0] for c in (config, replace(config, **{field: value})))
    assert float(before) != pytest.approx(float(after), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("unigrpo", "timestep_rule", "example_stride"),
        ("unigrpo", "timestep_rule", "random"),
        ("unigrpo", "total_timesteps", 4),
        ("unigrpo", "first_timestep", (900, 1000)),
        ("unigrpo", "timestep_scope", "update"),
        ("unigrpo", "mask_count", "exact"),
        ("unigrpo", "share_mask_across_group", True),
        ("unigrpo", "prompt_mask", 0.3),
        ("unigrpo", "tail", "visible"),
        ("random_masking", "ratio_range", (0.85, 0.9)),
        ("random_masking", "draws", 3),
        ("coupled_grpo", "ratio_range", (0.75, 0.8)),
        ("spg", "block", 2),
        ("espo", "draws", 1),
        ("trace_rl", "shrink", 2),
        ("vrpo", "draws", 3),
    ],
)
def test_the_noise_depends_on(name, field, value):
    config = DIFFUSION_ALGORITHMS[name]
    assert getattr(config, field) != value
    first, second = (
        jax.device_get(draw_noise(c, ROWS, jax.random.key(0), group=2, steps=5))
        for c in (config, replace(config, **{field: value}))
    )
    same = first.weights.shape == second.weights.shape
    assert not same or (first.masked != second.masked).any()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("unigrpo", {"standard_deviation": "sample"}),
        ("unigrpo", {"standard_deviation": "none"}),
        ("unigrpo", {"epsilon": 0.5}),
        ("espo", {"advantage": "centered"}),
        ("diffu_grpo", {"advantage": "rloo"}),
        ("wd1", {"advantage": "centered"}),
    ],
)
def test_the_advantages_depend_on(name, fields):
    config = DIFFUSION_ALGORITHMS[name]
    rewards = jnp.array([2.5, 0.5, 0.0, 2.0])
    first, second = (
        np.asarray(diffusion_advantages(c, rewards, 4)) for c in (config, replace(config, **fields))
    )
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(np.argsort(first), np.argsort(second))
