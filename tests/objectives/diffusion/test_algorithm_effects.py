"""A setting that was changed does something, or is refused by name."""

from dataclasses import fields, replace

import pytest

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig
from jaxreason.objectives.diffusion.algorithm_effects import RULES
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("diffu_grpo", {"timestep_rule": "random"}, "timestep_rule"),
        ("diffu_grpo", {"total_timesteps": 10}, "total_timesteps"),
        ("random_masking", {"timestep_scope": "update"}, "timestep_scope"),
        ("espo", {"first_timestep": (1, 2)}, "first_timestep"),
        ("unigrpo", {"first_timestep": (1, 2), "timestep_rule": "random"}, "first_timestep"),
        ("espo", {"mask_count": "exact"}, "mask_count"),
        ("unigrpo", {"ratio_range": (0.2, 0.3)}, "ratio_range"),
        ("unigrpo", {"block": 8}, "block"),
        ("unigrpo", {"shrink": 2}, "shrink"),
        ("diffu_grpo", {"share_mask_across_group": True}, "share_mask_across_group"),
        ("vrpo", {"share_mask_across_group": True}, "share_mask_across_group"),
        ("trace_rl", {"draws": 2}, "draws"),
        ("diffu_grpo", {"draws": 2, "prompt_mask": 0.0}, "draws"),
        ("wd1", {"clip_low": 0.1}, "clip_low"),
        ("spg", {"clip_high": 0.1}, "clip_high"),
        ("vrpo", {"clip_low": 0.1}, "clip_low"),
        ("espo", {"kl_summed": True}, "kl_summed"),
        ("wd1", {"kl_summed": True}, "kl_summed"),
        ("unigrpo", {"upper_power": 2.0}, "upper_power"),
        ("espo", {"upper_share": 0.2}, "upper_share"),
        ("unigrpo", {"preference_beta": 0.1}, "preference_beta"),
        ("vrpo", {"epsilon": 0.1}, "epsilon"),
        ("vrpo", {"advantage": "centered", "standard_deviation": "none"}, "advantage"),
        ("vrpo", {"aggregation": "response_sum"}, "aggregation"),
        ("espo", {"epsilon": 0.1}, "epsilon"),
    ],
)
def test_a_changed_setting_without_effect_is_refused(name, changes, field):
    with pytest.raises(InputError, match=rf"^{field}=.* has no effect with .* at its default"):
        replace(DIFFUSION_ALGORITHMS[name], **changes)


def test_a_setting_back_at_its_default_is_no_obstacle():
    clipped = DIFFUSION_ALGORITHMS["diffu_grpo"]
    with pytest.raises(InputError, match=r"clip_low=0\.5 has no effect with surrogate='reinforce'"):
        replace(clipped, surrogate="reinforce")
    replace(clipped, surrogate="reinforce", clip_low=0.2, clip_high=0.2)


def test_the_rules_speak_of_fields_there_are():
    known = {field.name for field in fields(DiffusionAlgorithmConfig)}
    assert {name for names, _, _ in RULES for name in names} <= known
