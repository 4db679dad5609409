"""Caches: exact where they are said to be, and rows that keep to themselves everywhere."""

import golden_llada
import jax
import numpy as np
import pytest
from slow_text_sampler import logits_function, slow_decode

from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.caches import View, calls_of
from jaxreason.sampling.diffusion.canvas import blocks_of, lay_out
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.text import diffusion_text

MASK = golden_llada.MASK
PROMPTS = ([7, 22, 35, 48], [3, 1, 4, 1, 5, 9, 2], [11], [40, 2])
KEY = jax.random.key(0)


def model_of(layers, attention="bidirectional", unroll=1):
    config = golden_llada.golden_config(layers=layers, attention=attention, unroll=unroll)
    return Transformer(config)


def batch(rows, width=0, junk=0):
    width = max(width, *(len(row) for row in rows))
    tokens = np.asarray([[*row, *[junk] * (width - len(row))] for row in rows], np.int32)
    return {"tokens": tokens, "lengths": np.asarray([len(row) for row in rows], np.int32)}


def decode(model, prompts, **settings):
    config = TextDiffusionConfig(**settings)
    run = diffusion_text(model, config, mask_id=MASK, eos=None, pad=0)
    return run(golden_llada.golden_params(model.config), prompts, KEY)


def assert_same(first, second, row=slice(None), other=slice(None)):
    for name in ("tokens", "order", "steps"):
        np.testing.assert_array_equal(getattr(first, name)[row], getattr(second, name)[other])
    np.testing.assert_allclose(
        first.log_probabilities[row], second.log_probabilities[other], atol=2e-5
    )


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_with_one_layer_the_approximate_caches_are_exact(cache):
    """There, keys and values of a token depend on nothing but the token."""
    model, prompts = model_of(1), batch(PROMPTS, width=9, junk=5)
    settings = {"length": 8, "block": 4, "guidance": 0.5, "threshold": 0.25}
    assert_same(decode(model, prompts, cache=cache, **settings), decode(model, prompts, **settings))


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_with_two_layers_a_blocks_first_step_is_exact(cache):
    """It runs everything: with one step per block, nothing is ever read from the cache."""
    model, prompts = model_of(2), batch(PROMPTS)
    settings = {"length": 8, "block": 4, "steps": 2}
    assert_same(decode(model, prompts, cache=cache, **settings), decode(model, prompts, **settings))


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_an_approximate_call_is_a_forward_pass_over_stale_keys(cache):
    """Its hidden states lie near the exact ones, and are them when no token has changed."""
    model = model_of(2)
    params = golden_llada.golden_params(model.config)
    blocks = blocks_of(9, 8, 4, aligned=False)
    canvas, _ = lay_out(batch(PROMPTS, width=9), 8, blocks, False, MASK, 0)
    calls = calls_of(model, TextDiffusionConfig(length=8, block=4, cache=cache), blocks)
    plain = calls_of(model, TextDiffusionConfig(length=8, block=4), blocks)
    (stage,), (whole,) = calls.stages[1:] or calls.stages, plain.stages
    view, start = View(params, canvas.keys, canvas.positions), blocks.first + 4

    @jax.jit
    def run(changed):
        _, kept = stage.begin(view, canvas.tokens, start, calls.prepare(view, canvas.tokens))
        return stage.again(view, changed, start, kept)[0], whole.again(view, changed, start, None)[
            0
        ]

    again, exact = run(canvas.tokens)
    np.testing.assert_allclose(again, exact, atol=1e-5)
    again, exact = run(canvas.tokens.at[:, start + 1].set(17))
    assert not np.allclose(again, exact, atol=1e-3)
    assert np.abs(again - exact).mean() < 0.3 * np.abs(exact).mean()


def test_the_prefix_cache_is_exact_with_more_blocks_than_widths():
    """Calls then reach beyond the end of the text, also where its padding is seen."""
    model, prompts = model_of(1), batch(PROMPTS)
    settings = {"length": 12, "block": 2, "threshold": 0.25, "mask_mode": "full"}
    assert_same(
        decode(model, prompts, cache="prefix", **settings), decode(model, prompts, **settings)
    )


@pytest.mark.parametrize("cache", ["none", "block"])
def test_block_diffusion_is_exact_with_a_cache_at_any_depth(cache):
    """Blocks are counted from a row's start: prompts end inside them, as in training."""
    model = model_of(2, "block_causal", unroll=2)
    logits_of = logits_function(model, golden_llada.golden_params(model.config), "block_causal", 4)
    settings = {"length": 8, "block": 4, "guidance": 0.5, "threshold": 0.25}
    out = decode(model, batch(PROMPTS, width=10, junk=3), cache=cache, **settings)
    for row, prompt in enumerate(PROMPTS):
        tokens, log_probabilities, order, steps = slow_decode(
            logits_of, prompt, MASK, banned=(MASK,), aligned=True, **settings
        )
        assert out.tokens[row].tolist() == tokens.tolist()
        assert out.order[row].tolist() == order.tolist()
        assert int(out.steps[row]) == steps
        np.testing.assert_allclose(out.log_probabilities[row], log_probabilities, atol=1e-4)


@pytest.mark.parametrize("cache", ["prefix", "dual", "block"])
def test_cached_rows_together_are_the_rows_alone(cache):
    model = model_of(2, "block_causal" if cache == "block" else "bidirectional")
    settings = {"length": 8, "block": 4, "threshold": 0.2, "temperature": 0.6, "cache": cache}
    run = diffusion_text(model, TextDiffusionConfig(**settings), mask_id=MASK, eos=None, pad=0)
    params = golden_llada.golden_params(model.config)
    for turn in (0, 2):
        rows = PROMPTS[turn:] + PROMPTS[:turn]
        together = run(params, batch(rows, width=9, junk=21), KEY)
        assert len(set(together.steps.tolist())) > 1
        assert_same(run(params, batch(rows[:1], width=4), KEY), together, 0, 0)
