"""Infilling writes where it is asked to and nowhere else."""

import functools

import golden_llada
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_text_sampler import log_softmax, logits_function

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.infill import infill, span

MASK, WIDTH, ROWS = golden_llada.MASK, 12, 3
KEY = jax.random.key(0)


@functools.cache
def filler(attention, **changes):
    model = Transformer(golden_llada.golden_config(attention=attention))
    config = TextDiffusionConfig(length=WIDTH, **changes)
    params = golden_llada.golden_params(model.config)
    return functools.partial(infill(model, config, mask_id=MASK), params)


@st.composite
def canvases(draw):
    shape = (ROWS, WIDTH)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens = random.integers(0, MASK, shape)
    masked = random.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))
    keys = random.random(shape) < draw(st.sampled_from([0.7, 1.0]))
    # A canvas with nothing at all to fill in is refused; rows without anything are not.
    masked[0, 0] = keys[0, 0] = True
    return np.where(masked, MASK, tokens), keys


@pytest.mark.parametrize(
    ("attention", "changes"),
    [
        ("bidirectional", {"block": 4, "threshold": 0.3, "guidance": 0.5}),
        ("bidirectional", {"steps": 5, "temperature": 1.0, "remasking": "random"}),
        ("bidirectional", {"block": 6, "cache": "dual"}),
        ("bidirectional", {"block": 6, "cache": "prefix"}),
        ("block_causal", {"block": 4, "cache": "block"}),
    ],
)
@settings(deadline=None, max_examples=12)
@given(canvas=canvases())
def test_known_tokens_never_change_and_every_mask_is_filled(attention, changes, canvas):
    tokens, keys = canvas
    out = filler(attention, **changes)({"tokens": tokens, "keys": keys}, KEY)
    wanted = (tokens == MASK) & keys
    written = np.asarray(out.tokens)
    np.testing.assert_array_equal(written[~wanted], tokens[~wanted])
    assert not np.any(written[wanted] == MASK)
    assert np.all(out.finished)
    np.testing.assert_array_equal(np.asarray(out.order) >= 0, wanted)
    assert np.all(np.asarray(out.log_probabilities)[~wanted] == 0)
    assert np.all(np.asarray(out.log_probabilities)[wanted] < 0)
    np.testing.assert_array_equal(out.lengths, keys.sum(axis=1))
    steps = np.asarray(out.order).max(axis=1) + 1
    np.testing.assert_array_equal(out.steps, steps)


def test_a_gap_is_filled_by_the_most_confident_first():
    """One row told slowly: the surest place first, what is written is seen by the next step."""
    model = Transformer(golden_llada.golden_config())
    logits_of = logits_function(model, golden_llada.golden_params())
    tokens = np.asarray([3, 1, MASK, 1, 5, MASK, MASK, 6, 8, MASK, 12, 7])
    out = filler("bidirectional")({"tokens": tokens[None]}, KEY)
    for step in range(4):
        places = np.flatnonzero(tokens == MASK)
        logits = logits_of(tokens)[places]
        logits[:, MASK] = -np.inf
        log_p = log_softmax(logits)
        surest = int(log_p.max(axis=1).argmax())
        assert int(out.order[0, places[surest]]) == step
        tokens[places[surest]] = log_p[surest].argmax()
    assert out.tokens[0].tolist() == tokens.tolist()


def test_an_exact_cache_fills_as_none_does():
    canvas = {"tokens": np.random.default_rng(0).integers(0, MASK, (ROWS, WIDTH))}
    canvas["tokens"][:, [1, 2, 5, 9, 10, 11]] = MASK
    cached = filler("block_causal", block=4, cache="block")(canvas, KEY)
    plain = filler("block_causal", block=4)(canvas, KEY)
    for name in ("tokens", "order", "steps"):
        np.testing.assert_array_equal(getattr(cached, name), getattr(plain, name))
    np.testing.assert_allclose(cached.log_probabilities, plain.log_probabilities, atol=1e-5)


def holding(token):
    tokens = np.zeros((2, WIDTH), np.int32)
    tokens[1, 2] = token
    return tokens


@pytest.mark.parametrize(
    ("canvas", "named"),
    [
        ({"keys": jnp.ones((1, WIDTH), bool)}, "no 'tokens'"),
        ({"tokens": jnp.zeros((1, 5), int)}, r"tokens \(1, 5\); expected \[B, 12\]"),
        ({"tokens": jnp.zeros((1, WIDTH), int), "keys": jnp.ones((1, 2), bool)}, r"keys \(1, 2\)"),
        ({"tokens": np.zeros((1, WIDTH))}, "the canvas has tokens of dtype float"),
        ({"tokens": holding(60)}, "row 1 has id 60 at place 2; the model has ids 0 to 59"),
        ({"tokens": holding(-1)}, "row 1 has id -1 at place 2"),
        ({"tokens": holding(5)}, "the canvas has no mask id 59"),
        ({"tokens": holding(MASK), "keys": holding(0) > 0}, "the canvas has no mask id 59"),
    ],
)
def test_canvases_that_do_not_fit_are_named(canvas, named):
    with pytest.raises(InputError, match=named):
        filler("bidirectional")(canvas, KEY)


def test_banned_ids_are_never_written():
    model = Transformer(golden_llada.golden_config())
    tokens = np.full((1, WIDTH), MASK)
    free = filler("bidirectional")({"tokens": tokens}, KEY).tokens
    banned = np.unique(free).tolist()
    config = TextDiffusionConfig(length=WIDTH)
    fill = infill(model, config, mask_id=MASK, banned=banned)
    written = fill(golden_llada.golden_params(), {"tokens": tokens}, KEY).tokens
    assert not np.isin(written, [*banned, MASK]).any()
    for wrong, named in (([60], "banned has 60"), (range(60), "all 59 ids")):
        with pytest.raises(InputError, match=named):
            infill(model, config, mask_id=MASK, banned=wrong)


def test_a_span_of_a_text_is_filled_in_and_nothing_else():
    text = np.random.default_rng(2).integers(0, MASK, WIDTH)
    out = filler("bidirectional")(span(text, 4, 7, mask_id=MASK), KEY)
    assert np.flatnonzero(np.asarray(out.order[0]) >= 0).tolist() == [4, 5, 6]
    kept = np.r_[0:4, 7:WIDTH]
    np.testing.assert_array_equal(np.asarray(out.tokens[0])[kept], text[kept])
    keys = np.ones((1, WIDTH), bool)
    np.testing.assert_array_equal(span(text, 0, 1, mask_id=MASK, keys=keys)["keys"], keys)
    for first, end in ((4, 4), (-1, 2), (3, WIDTH + 1)):
        with pytest.raises(InputError, match=f"span {first} to {end} .* text of 12 tokens"):
            span(text, first, end, mask_id=MASK)


@pytest.mark.parametrize("cache", ["dual", "prefix"])
def test_blocks_without_a_gap_cost_no_call(cache):
    """Only the block with the gap is run: the others' tokens and the numbers are as without."""
    model = Transformer(golden_llada.golden_config())
    tokens = np.random.default_rng(1).integers(0, MASK, (2, WIDTH))
    tokens[:, 9] = MASK
    calls = []

    class Counted(Transformer):
        def apply(self, *arguments):
            jax.debug.callback(lambda: calls.append(1))
            return super().apply(*arguments)

    config = TextDiffusionConfig(length=WIDTH, block=4, cache=cache)
    fill = infill(Counted(model.config), config, mask_id=MASK)
    out = fill(golden_llada.golden_params(), {"tokens": tokens}, KEY)
    jax.effects_barrier()
    assert len(calls) == 1
    plain = filler("bidirectional", block=4)({"tokens": tokens}, KEY)
    np.testing.assert_array_equal(out.tokens, plain.tokens)
    np.testing.assert_allclose(out.log_probabilities, plain.log_probabilities, atol=1e-5)


def test_end_tokens_are_not_known_to_infill():
    model = Transformer(golden_llada.golden_config())
    with pytest.raises(InputError, match="ban_eos and defer_eos"):
        infill(model, TextDiffusionConfig(length=8, ban_eos=True), mask_id=MASK)
