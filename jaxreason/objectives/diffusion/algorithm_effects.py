"""Which settings of an algorithm do anything, given the noise and the surrogate it has.

A setting that is left alone may be without effect; one that was changed and does nothing would make
an experiment look like another than it is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxreason.errors import InputError

Rule = tuple[tuple[str, ...], Callable[[Any], bool], Callable[[Any], str]]
"""Fields, whether they have an effect, and the fields that decide it."""

_PLACES = ("timesteps", "uniform", "coupled", "exact_pairs", "blocks")
"""Noises whose places are drawn row by row, so that rows can share them."""


def _noise(*noises: str) -> Callable[[Any], bool]:
    return lambda config: config.noise in noises


def _surrogate(*surrogates: str) -> Callable[[Any], bool]:
    return lambda config: config.surrogate in surrogates


def _compares(config: Any) -> bool:
    return config.surrogate != "preference"


def _named(*names: str) -> Callable[[Any], str]:
    return lambda config: " and ".join(f"{name}={getattr(config, name)!r}" for name in names)


RULES: tuple[Rule, ...] = (
    (
        ("timestep_rule", "total_timesteps", "first_timestep", "timestep_scope"),
        _noise("timesteps"),
        _named("noise"),
    ),
    (
        ("first_timestep",),
        lambda config: config.timestep_rule != "random",
        _named("timestep_rule"),
    ),
    (("mask_count",), _noise("timesteps", "uniform"), _named("noise")),
    (("ratio_range",), _noise("uniform", "coupled"), _named("noise")),
    (("block",), _noise("blocks"), _named("noise")),
    (("shrink",), _noise("trace"), _named("noise")),
    (("share_mask_across_group",), _noise(*_PLACES), _named("noise")),
    (("draws",), lambda config: config.noise != "trace", _named("noise")),
    (
        # All draws of it are the same unless prompts are masked at random.
        ("draws",),
        lambda config: config.noise != "full" or config.prompt_mask > 0,
        _named("noise", "prompt_mask"),
    ),
    (("clip_low", "clip_high"), _surrogate("token", "coupled", "sequence"), _named("surrogate")),
    (
        ("kl_summed",),
        _surrogate("token", "coupled", "reinforce"),
        _named("surrogate"),
    ),
    (("kl_summed",), lambda config: config.kl_coefficient > 0, _named("kl_coefficient")),
    (("upper_power", "upper_share"), _surrogate("bounds"), _named("surrogate")),
    (("preference_beta",), _surrogate("preference"), _named("surrogate")),
    (
        ("advantage", "standard_deviation", "epsilon", "aggregation"),
        _compares,
        _named("surrogate"),
    ),
    (
        ("epsilon",),
        lambda config: config.advantage == "grpo" and config.standard_deviation != "none",
        _named("advantage", "standard_deviation"),
    ),
)


def check_effects(config: Any) -> None:
    """Refuse settings that were changed and do nothing.

    Args:
        config: a `DiffusionAlgorithmConfig`.

    Raises:
        InputError: names the field, what makes it idle, and its default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for names, effective, reason in RULES:
        for name in names:
            value = getattr(config, name)
            if value != defaults[name] and not effective(config):
                raise InputError(
                    f"{name}={value!r} has no effect with {reason(config)}: leave it at its "
                    f"default, {defaults[name]!r}"
                )
