"""Rotary frequencies stretched to longer contexts: transformers' numbers, and what they mean."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.models.rope import RopeScaling, rope_angles, rope_frequencies
from jaxreason.weights.config_fields import Fields
from jaxreason.weights.rope_fields import read_rope

_SCRIPT = Path(__file__).parents[1] / "golden" / "generate_families.py"
_spec = importlib.util.spec_from_file_location("generate_families_for_rope", _SCRIPT)
generate_families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate_families)
ROPES = generate_families.ROPES
LLAMA = RopeScaling("llama3", 8.0, 8192)
YARN = RopeScaling("yarn", 4.0, 32768)


def assert_frequencies(name, expected):
    head_size, parameters = ROPES[name]
    base, scaling = read_rope(Fields({"rope_parameters": parameters}, "config.json"))
    np.testing.assert_allclose(
        rope_frequencies(head_size, base, scaling), expected[:-1], rtol=2e-6, atol=0
    )
    assert scaling.angle_factor == pytest.approx(expected[-1], rel=1e-6)


@pytest.mark.parametrize("name", ROPES)
def test_frequencies_equal_the_stored_ones(name):
    assert_frequencies(name, np.load(generate_families.GOLDEN)[f"rope/{name}"])


@pytest.mark.oracle
@pytest.mark.parametrize("name", ROPES)
def test_frequencies_equal_those_of_the_installed_transformers(name):
    pytest.importorskip("transformers", reason="transformers is missing; install extra `oracle`")
    assert_frequencies(name, generate_families.rope_reference(*ROPES[name]))


@pytest.mark.parametrize("scaling", [LLAMA, YARN, RopeScaling("linear", 3.0)])
def test_slow_turns_are_divided_and_fast_ones_kept(scaling):
    """Of every pair of features the new frequency lies between the old one and its part."""
    plain = np.asarray(rope_frequencies(128, 1e6))
    share = np.asarray(rope_frequencies(128, 1e6, scaling)) / plain
    assert share[-1] == pytest.approx(1 / scaling.factor, rel=1e-5)
    assert share[0] == pytest.approx(1 / scaling.factor if scaling.kind == "linear" else 1.0)
    assert (np.diff(share) < 1e-5).all()
    if scaling.kind == "llama3":
        wavelength = 2 * math.pi / plain
        np.testing.assert_allclose(share[wavelength < 8192 / 4], 1, rtol=1e-5)
        np.testing.assert_allclose(share[wavelength > 8192], 1 / 8, rtol=1e-5)


def test_a_factor_of_one_changes_nothing():
    for scaling in (LLAMA, YARN, RopeScaling("linear", 3.0)):
        one = rope_frequencies(64, 1e4, replace(scaling, factor=1.0))
        np.testing.assert_allclose(one, rope_frequencies(64, 1e4), rtol=1e-6)


def test_yarn_scales_cosine_and_sine():
    positions = jnp.arange(5)[None]
    cosine, sine = rope_angles(positions, 64, 1e6, YARN)
    norm = np.sqrt(np.asarray(cosine) ** 2 + np.asarray(sine) ** 2)
    np.testing.assert_allclose(norm, 0.1 * math.log(4) + 1, rtol=1e-6)
    turns = rope_frequencies(64, 1e6, YARN)
    np.testing.assert_allclose(jnp.arctan2(sine, cosine)[0, 0, 1], turns, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "dynamic"}, "kind is 'dynamic'; expected one of"),
        ({"factor": 0.0}, "factor is 0.0; llama3 needs a positive number"),
        ({"factor": math.inf}, "factor is inf"),
        ({"original_length": 0}, "original_length is 0"),
        ({"low_frequency_factor": 4.0}, "low_frequency_factor is 4.0; it must be below"),
        ({"kind": "yarn", "beta_slow": 40.0}, "beta_slow is 40.0; it must be below beta_fast"),
        ({"kind": "yarn", "attention_factor": -1.0}, "attention_factor is -1.0"),
    ],
)
def test_impossible_scalings_are_refused(changes, named):
    with pytest.raises(InputError, match=rf"model\.rope_scaling\.{named}"):
        replace(LLAMA, **changes)


def test_a_base_that_turns_nothing_is_refused():
    with pytest.raises(InputError, match=r"model\.rope_base is 1\.0; it must be above 1"):
        TransformerConfig(8, 1, 16, 2, 2, 8, 16, rope_base=1.0)
