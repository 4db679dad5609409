"""Decoding settings: counts per step, numerics of confidence, and errors before any work."""

import golden_llada
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.canvas import check_prompts
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.remasking import log_probability_of
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.sampling.diffusion.transfer import select, transfer_count

MASK = golden_llada.MASK


@pytest.mark.parametrize(
    ("masked", "steps", "expected"),
    [(10, 4, [3, 3, 2, 2]), (3, 5, [1, 1, 1, 0, 0]), (8, 8, [1] * 8), (0, 2, [0, 0])],
)
def test_counts_per_step(masked, steps, expected):
    assert [int(transfer_count(masked, steps, step)) for step in range(steps)] == expected


def test_counts_add_up_row_by_row():
    masked = jnp.arange(0, 33)
    for steps in (1, 3, 7, 32):
        counts = jnp.stack([transfer_count(masked, steps, step) for step in range(steps)])
        np.testing.assert_array_equal(counts.sum(axis=0), masked)
        assert np.all(counts[:1] - counts[-1:] <= 1)


def test_the_most_confident_eligible_places_are_selected():
    confidence = jnp.asarray([[-1.0, -0.1, -3.0, -0.1, -2.0]] * 3)
    eligible = jnp.asarray([[True] * 5, [True, False, True, True, True], [False] * 4 + [True]])

    def chosen(count, threshold=None):
        count = jnp.full(3, count)
        kept = select(confidence, eligible, count, most=3, least_confidence=threshold)
        return [np.flatnonzero(row).tolist() for row in kept]

    assert chosen(1) == [[1], [3], [4]]
    assert chosen(3) == [[0, 1, 3], [0, 3, 4], [4]]
    assert chosen(0) == [[], [], []]
    assert chosen(1, threshold=-1.5) == [[0, 1, 3], [0, 3], [4]]


def test_near_certain_tokens_stay_in_order():
    """Softmax in float32 calls both of these 1; the reference tells them apart in float64."""
    logits = jnp.asarray([[30.0, 0.0, 0.0], [35.0, 0.0, 0.0], [1.0, 2.0, -jnp.inf]])
    token = jnp.asarray([0, 0, 0])
    assert float(jax.nn.softmax(logits)[0, 0]) == float(jax.nn.softmax(logits)[1, 0]) == 1.0
    exact = -np.log1p([2 * np.exp(-30.0), 2 * np.exp(-35.0), np.exp(1.0)])
    np.testing.assert_allclose(log_probability_of(logits, token), exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"length": 0}, "length is 0"),
        ({"block": 6}, "block 6 does not divide length 16"),
        ({"block": 0}, "block 0 does not divide length 16"),
        ({"block": 4, "steps": 6}, "steps 6 do not divide evenly over 4 blocks"),
        ({"steps": 0}, "steps 0 do not divide"),
        ({"steps": 17}, "steps 17 are more than the 16 tokens"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"guidance": -0.5}, "guidance is -0.5"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"threshold": float("inf")}, "threshold is inf"),
        ({"threshold": 0.9, "remasking": "random"}, "threshold 0.9 does not go with remasking"),
        ({"remasking": "high"}, "remasking 'high' is unknown"),
        ({"cache": "paged"}, "cache 'paged' is unknown"),
        ({"mask_mode": "causal_trap"}, "mask_mode 'causal_trap' is unknown"),
        ({"mask_mode": "legacy_float", "cache": "dual"}, "does not go with mask_mode"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(InputError, match=named):
        TextDiffusionConfig(**({"length": 16} | settings))


def test_padding_that_is_seen_is_for_bidirectional_models():
    model = Transformer(golden_llada.golden_config(attention="block_causal"))
    with pytest.raises(InputError, match="mask_mode 'full' is for bidirectional models"):
        diffusion_text(
            model, TextDiffusionConfig(length=8, mask_mode="full"), mask_id=MASK, eos=0, pad=0
        )


@pytest.mark.parametrize(
    ("attention", "cache", "changes", "named"),
    [
        ("causal", "none", {}, "model.attention is 'causal'"),
        ("bidirectional", "block", {}, "cache 'block' is for block-diffusion models"),
        ("block_causal", "dual", {}, "cache 'dual' is for bidirectional models"),
        ("block_causal", "block", {}, "block is None and model.attention is 'block_causal'"),
        ("bidirectional", "none", {"mask_id": 60}, "mask_id is 60; expected an id below 60"),
        ("bidirectional", "none", {"eos": -1}, "eos is -1"),
        ("bidirectional", "none", {"eot": 77}, "eot is 77"),
        ("bidirectional", "none", {"pad": MASK}, "pad and mask_id are both 59"),
        ("bidirectional", "none", {"eos": MASK}, "eos and mask_id are both 59"),
        ("bidirectional", "none", {"samples": 0}, "samples is 0"),
    ],
)
def test_models_and_ids_that_do_not_fit_are_named(attention, cache, changes, named):
    model = Transformer(golden_llada.golden_config(attention=attention))
    arguments = {"mask_id": MASK, "eos": 0, "pad": 0} | changes
    with pytest.raises(InputError, match=named):
        diffusion_text(model, TextDiffusionConfig(length=8, cache=cache), **arguments)


def test_banning_an_end_token_needs_one():
    model = Transformer(golden_llada.golden_config())
    with pytest.raises(InputError, match="eos is None"):
        diffusion_text(
            model, TextDiffusionConfig(length=8, ban_eos=True), mask_id=MASK, eos=None, pad=0
        )


def held(token):
    return {"tokens": np.asarray([[1, 2, 3], [4, token, 5]]), "lengths": np.asarray([3, 2])}


@pytest.mark.parametrize(
    ("prompts", "named"),
    [
        ({"tokens": np.zeros((2, 3), int)}, "no 'lengths'"),
        ({"tokens": np.zeros((2, 3), int), "lengths": np.zeros(3, int)}, "expected tokens"),
        ({"tokens": np.zeros((2, 0), int), "lengths": np.zeros(2, int)}, "neither empty"),
        ({"tokens": np.zeros((2, 3), int), "lengths": np.asarray([1, 4])}, "prompt 1 has length 4"),
        ({"tokens": np.full((1, 3), MASK), "lengths": np.asarray([2])}, "mask id 59 at index 0"),
        ({"tokens": np.zeros((2, 3)), "lengths": np.asarray([1, 2])}, "tokens of dtype float64"),
        ({"tokens": np.zeros((2, 3), int), "lengths": np.ones(2)}, "lengths of dtype float64"),
        (held(60), "prompt 1 has id 60 at place 1; the model has ids 0 to 59"),
        (held(-2), "prompt 1 has id -2 at place 1; the model has ids 0 to 59"),
    ],
)
def test_misshapen_prompts_are_named(prompts, named):
    model = Transformer(golden_llada.golden_config())
    sampler = diffusion_text(model, TextDiffusionConfig(length=8), mask_id=MASK, eos=0, pad=0)
    with pytest.raises(InputError, match=named):
        sampler(None, prompts, jax.random.key(0))


def test_ids_beyond_the_length_of_a_prompt_are_not_read():
    prompts = held(2)
    prompts["tokens"][1, 2] = -1
    check_prompts(prompts, MASK, 60)


def test_values_that_are_not_here_are_not_checked():
    """Within a jitted function only shapes and types are known."""
    jax.eval_shape(lambda prompts: check_prompts(prompts, MASK, 60), held(60))
