"""Decoding with a cache is the model applied to ever longer sequences, row by row."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Transformer, TransformerConfig
from jaxreason.sampling import autoregressive, truncate
from jaxreason.sampling.autoregressive import NEW_TOKENS_PER_SIZE

VOCABULARY, PAD, EOS = 23, 0, 1
CONFIG = TransformerConfig(
    vocabulary_size=VOCABULARY,
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_size=8,
    mlp_width=48,
    qkv_bias=True,
    tied=False,
)
LENGTHS = (5, 2, 9, 1)


@pytest.fixture(scope="module")
def model():
    return Transformer(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    random = jax.jit(model.init)(jax.random.key(0))
    # Large weights make the distributions peaked, so that greedy choices are no coin tosses.
    return {**random, "embedding": random["embedding"] * 50, "head": random["head"] * 3}


@pytest.fixture(scope="module")
def prompts():
    width = max(LENGTHS) + 2
    tokens = jax.random.randint(jax.random.key(1), (len(LENGTHS), width), 2, VOCABULARY)
    return {"tokens": tokens, "lengths": jnp.asarray(LENGTHS, jnp.int32)}


@pytest.fixture(scope="module")
def uncached_logits(model, params):
    """Logits after each token of one sequence, computed at once without a cache.

    The sequence is padded to one length, so that the model compiles once; what follows a token
    cannot change its logits in a causal model.
    """
    apply = jax.jit(lambda tokens: model.unembed(params, model.apply(params, tokens)[0])[0])

    def logits(sequence):
        padded = np.zeros((1, 24), np.int32)
        padded[0, : len(sequence)] = sequence
        return np.asarray(apply(padded))[: len(sequence)]

    return logits


def written(completions, row):
    return np.asarray(completions.tokens[row, : int(completions.lengths[row])])


def test_greedy_tokens_and_log_probabilities_are_those_of_the_uncached_model(
    model, params, prompts, uncached_logits
):
    sampler = autoregressive(model, max_new_tokens=12, eos=EOS, pad=PAD, temperature=0)
    out = sampler(params, prompts, jax.random.key(0))
    for row, length in enumerate(LENGTHS):
        sequence = list(np.asarray(prompts["tokens"][row, :length]))
        for token, log_probability in zip(
            written(out, row), out.log_probabilities[row], strict=False
        ):
            logits = uncached_logits(sequence)[-1]
            assert token == np.argmax(logits)
            expected = jax.nn.log_softmax(logits)[token]
            np.testing.assert_allclose(log_probability, expected, atol=1e-5)
            sequence.append(token)


def test_cached_logits_equal_uncached_logits_in_uneven_steps(model, params, uncached_logits):
    tokens = jax.random.randint(jax.random.key(2), (3, 11), 0, VOCABULARY)
    expected = np.stack([uncached_logits(row) for row in tokens])
    cache, at, seen = model.init_cache(3, 16), 0, []
    apply = jax.jit(model.apply)
    for count in (5, 1, 1, 4):
        positions = jnp.broadcast_to(jnp.arange(at, at + count), (3, count))
        piece = tokens[:, at : at + count]
        hidden, cache = apply(params, piece, positions, AttentionSpec(), cache)
        seen.append(model.unembed(params, hidden))
        at += count
    np.testing.assert_allclose(np.concatenate(seen, axis=1), expected, atol=1e-5, rtol=1e-5)


def test_unrolled_layers_and_a_cache_that_grows_change_nothing(params, prompts):
    """Scanned layers' caches are stacked and have room for everything from the start."""
    # The end token is seldom likely.
    params = {**params, "head": params["head"].at[:, EOS].set(0.0)}
    scanned, unrolled = (
        autoregressive(
            Transformer(replace(CONFIG, unroll=unroll)),
            max_new_tokens=2 * NEW_TOKENS_PER_SIZE + 3,
            eos=EOS,
            pad=PAD,
            samples=2,
        )(params, prompts, jax.random.key(6))
        for unroll in (1, CONFIG.layers)
    )
    assert scanned.lengths.max() > NEW_TOKENS_PER_SIZE + 2  # Some rows outlive the first size.
    np.testing.assert_array_equal(unrolled.tokens, scanned.tokens)
    np.testing.assert_allclose(unrolled.log_probabilities, scanned.log_probabilities, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_does_not_depend_on_the_rest_of_the_batch_nor_on_padding(
    model, params, prompts, temperature
):
    sampler = autoregressive(model, max_new_tokens=10, eos=EOS, pad=PAD, temperature=temperature)
    key = jax.random.key(3)
    together = sampler(params, prompts, key)
    other = jnp.roll(prompts["tokens"], 1, axis=1)
    real = jnp.arange(prompts["tokens"].shape[1]) < prompts["lengths"][:, None]
    junk = {**prompts, "tokens": jnp.where(real, prompts["tokens"], other)}
    np.testing.assert_array_equal(sampler(params, junk, key).tokens, together.tokens)
    # The first row keeps its index when the others leave, and its trailing padding goes too.
    alone = {"tokens": prompts["tokens"][:1, : LENGTHS[0]], "lengths": prompts["lengths"][:1]}
    single = sampler(params, alone, key)
    np.testing.assert_array_equal(single.tokens[0], together.tokens[0])
    np.testing.assert_allclose(
        single.log_probabilities[0], together.log_probabilities[0], atol=1e-5
    )


def test_greedy_rows_alone_equal_rows_together(model, params, prompts):
    sampler = autoregressive(model, max_new_tokens=8, eos=EOS, pad=PAD, temperature=0)
    together = sampler(params, prompts, jax.random.key(0))
    for row in range(len(LENGTHS)):
        alone = {name: value[row : row + 1] for name, value in prompts.items()}
        np.testing.assert_array_equal(
            sampler(params, alone, jax.random.key(9)).tokens[0], together.tokens[row]
        )


def test_any_of_several_ends_ends_a_row_and_padding_may_be_one(model, params, prompts):
    free = autoregressive(model, max_new_tokens=9, eos=EOS, pad=PAD, temperature=0)
    before = free(params, prompts, jax.random.key(0))
    firsts = [int(before.tokens[row, 1]) for row in (0, 1)]
    sampler = autoregressive(model, max_new_tokens=9, eos=(*firsts, PAD), pad=PAD, temperature=0)
    out = sampler(params, prompts, jax.random.key(0))
    for row in range(len(LENGTHS)):
        ends = [i for i, t in enumerate(written(before, row)) if t in (*firsts, PAD)]
        assert int(out.lengths[row]) == (ends[0] + 1 if ends else 9)
        assert bool(out.finished[row]) == bool(ends)
    with pytest.raises(InputError, match="eos is empty"):
        autoregressive(model, max_new_tokens=9, eos=(), pad=PAD)


def test_the_end_token_ends_a_row_and_padding_follows(model, params, prompts):
    """The end token is made whatever the model greedily writes third (or next) in the first row."""
    free = autoregressive(model, max_new_tokens=9, eos=EOS, pad=PAD, temperature=0)
    before = free(params, prompts, jax.random.key(0))
    end = next(int(token) for token in before.tokens[0, 2:] if token != PAD)
    sampler = autoregressive(model, max_new_tokens=9, eos=end, pad=PAD, temperature=0)
    out = sampler(params, prompts, jax.random.key(0))
    for row in range(len(LENGTHS)):
        expected = list(written(before, row))
        if end in expected:
            expected = expected[: expected.index(end) + 1]
            assert bool(out.finished[row])
            assert int(out.lengths[row]) == len(expected)
        np.testing.assert_array_equal(written(out, row)[: len(expected)], expected)
        length = int(out.lengths[row])
        assert bool(out.finished[row]) == (end in written(out, row))
        assert bool(out.finished[row]) or length == 9
        assert np.all(np.asarray(out.tokens[row, length:]) == PAD)
        assert np.all(np.asarray(out.log_probabilities[row, length:]) == 0)
        assert np.all(np.asarray(out.log_probabilities[row, :length]) < 0)
    assert bool(out.finished[0])


def test_samples_of_a_prompt_are_neighbours_that_differ(model, params, prompts):
    sampler = autoregressive(model, max_new_tokens=6, eos=EOS, pad=PAD, temperature=3.0, samples=3)
    out = sampler(params, prompts, jax.random.key(4))
    assert out.tokens.shape == (3 * len(LENGTHS), 6)
    assert len({tuple(row) for row in np.asarray(out.tokens[:3])}) == 3
    # The same rows without the shortcut of reading each prompt once.
    repeated = {name: jnp.repeat(value, 3, axis=0) for name, value in prompts.items()}
    plain = autoregressive(model, max_new_tokens=6, eos=EOS, pad=PAD, temperature=3.0)
    np.testing.assert_array_equal(plain(params, repeated, jax.random.key(4)).tokens, out.tokens)


def test_first_tokens_follow_the_models_distribution(model, params, uncached_logits):
    """Chi-square of 4,000 draws against softmax(logits / 2)."""
    prompt = {"tokens": jnp.asarray([[5, 6, 7]]), "lengths": jnp.asarray([3])}
    sampler = autoregressive(
        model, max_new_tokens=1, eos=EOS, pad=PAD, temperature=2.0, samples=4000
    )
    drawn = np.asarray(sampler(params, prompt, jax.random.key(5)).tokens[:, 0])
    expected = 4000 * np.asarray(jax.nn.softmax(uncached_logits([5, 6, 7])[-1] / 2))
    counts = np.bincount(drawn, minlength=VOCABULARY)
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    statistic = np.sum((observed - wanted) ** 2 / np.maximum(wanted, 1e-9))
    degrees = len(wanted) - 1
    assert degrees > 2
    assert statistic < degrees + 4 * np.sqrt(2 * degrees)


def test_truncation_equals_its_definition():
    logits = np.asarray([2.0, 0.5, 1.0, -1.0, 0.0], np.float32)

    def kept(**arguments):
        return set(np.flatnonzero(np.isfinite(truncate(jnp.asarray(logits), **arguments))))

    assert kept(temperature=1.0, top_k=None, top_p=None) == {0, 1, 2, 3, 4}
    assert kept(temperature=1.0, top_k=2, top_p=None) == {0, 2}
    assert kept(temperature=1.0, top_k=99, top_p=None) == {0, 1, 2, 3, 4}
    order = np.argsort(-logits)
    for temperature in (0.5, 1.0, 4.0):
        p = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        for top_p in (0.05, 0.5, 0.8, 0.99, 1.0):
            count = 1 + int(np.sum(np.cumsum(p[order]) < top_p))
            expected = set(order[: min(count, 5)])
            assert kept(temperature=temperature, top_k=None, top_p=top_p) == expected
    np.testing.assert_allclose(truncate(jnp.asarray(logits), 4.0, None, None), logits / 4)


def test_truncated_sampling_stays_inside(model, params, prompts):
    greedy = autoregressive(model, max_new_tokens=7, eos=EOS, pad=PAD, temperature=0)
    wanted = greedy(params, prompts, jax.random.key(0)).tokens
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}):
        sampler = autoregressive(
            model, max_new_tokens=7, eos=EOS, pad=PAD, temperature=5.0, **narrow
        )
        np.testing.assert_array_equal(sampler(params, prompts, jax.random.key(6)).tokens, wanted)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"eos": VOCABULARY}, f"eos is {VOCABULARY}"),
        ({"pad": EOS}, "eos and pad"),
    ],
)
def test_arguments_out_of_range_are_named(model, changes, named):
    arguments = {"max_new_tokens": 4, "eos": EOS, "pad": PAD, **changes}
    with pytest.raises(InputError, match=named):
        autoregressive(model, **arguments)


def test_bad_prompts_are_named(model, params, prompts):
    sampler = autoregressive(model, max_new_tokens=1, eos=EOS, pad=PAD)
    key = jax.random.key(0)
    with pytest.raises(InputError, match="no 'lengths'"):
        sampler(params, {"tokens": prompts["tokens"]}, key)
    with pytest.raises(InputError, match="prompt 2 has length 0"):
        sampler(params, {**prompts, "lengths": jnp.asarray([1, 2, 0, 4])}, key)
    with pytest.raises(InputError, match="expected tokens"):
        sampler(params, {**prompts, "lengths": prompts["lengths"][:2]}, key)


def test_sampling_composes_with_jit(model, params, prompts):
    sampler = autoregressive(model, max_new_tokens=3, eos=EOS, pad=PAD, temperature=0)
    inside = jax.jit(sampler)(params, prompts, jax.random.key(0))
    np.testing.assert_array_equal(inside.tokens, sampler(params, prompts, jax.random.key(0)).tokens)
