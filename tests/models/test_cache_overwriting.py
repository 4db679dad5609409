"""A bidirectional cache: any span computed afresh over the slots it stood in."""

import golden_llada
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Transformer

TOKENS = jnp.asarray([golden_llada.TOKENS, golden_llada.TOKENS[::-1]], jnp.int32)
SPAN = slice(5, 9)
MODELS = {
    layers: Transformer(golden_llada.golden_config(layers=layers, unroll=layers))
    for layers in (1, 2)
}


def compute(layers, tokens, positions, spec, cache=None):
    model = MODELS[layers]
    params = golden_llada.golden_params(model.config)
    return jax.jit(model.apply)(params, tokens, positions, spec, cache)


def whole(layers, tokens, spec=None, capacity=12):
    """Hidden states of a full forward, and the cache it leaves."""
    spec = spec or AttentionSpec("bidirectional")
    positions = jnp.broadcast_to(jnp.arange(12), tokens.shape)
    empty = MODELS[layers].init_cache(len(tokens), capacity)
    return compute(layers, tokens, positions, spec, empty)


def afresh(layers, tokens, cache, spec=None):
    """The span alone, written over its slots."""
    positions = jnp.broadcast_to(jnp.arange(12), tokens.shape)[:, SPAN]
    cache = cache._replace(filled=jnp.int32(SPAN.start))
    spec = spec or AttentionSpec("bidirectional")
    return compute(layers, tokens[:, SPAN], positions, spec, cache)


def test_a_full_pass_with_a_cache_equals_one_without():
    hidden, cache = whole(2, TOKENS, capacity=15)
    np.testing.assert_allclose(
        hidden, compute(2, TOKENS, None, AttentionSpec("bidirectional"))[0], atol=1e-5
    )
    assert cache.valid.tolist() == [[True] * 12 + [False] * 3] * 2


def test_an_unchanged_span_computed_afresh_changes_nothing():
    """At any depth: every key and value it reads is still right."""
    hidden, cache = whole(2, TOKENS)
    again, after = afresh(2, TOKENS, cache)
    np.testing.assert_allclose(again, hidden[:, SPAN], atol=1e-5)
    for old, new in zip(jax.tree.leaves(cache), jax.tree.leaves(after), strict=True):
        if old.ndim:
            np.testing.assert_allclose(old, new, atol=1e-5)
    assert int(after.filled) == SPAN.stop


def test_with_one_layer_a_changed_span_is_exact():
    """There, keys and values depend on their own token alone."""
    _, stale = whole(1, TOKENS.at[:, SPAN].set(golden_llada.MASK))
    hidden, fresh = whole(1, TOKENS)
    again, after = afresh(1, TOKENS, stale)
    np.testing.assert_allclose(again, hidden[:, SPAN], atol=1e-5)
    np.testing.assert_allclose(after.key, fresh.key, atol=1e-5)
    np.testing.assert_allclose(after.value, fresh.value, atol=1e-5)


def test_only_the_spans_slots_are_written():
    _, cache = whole(2, TOKENS)
    _, after = afresh(2, TOKENS.at[:, SPAN].set(7), cache)
    outside = np.r_[0 : SPAN.start, SPAN.stop : 12]
    for old, new in zip(cache.key, after.key, strict=True):
        np.testing.assert_array_equal(new[:, :, outside], old[:, :, outside])
        assert not np.allclose(new[:, :, SPAN], old[:, :, SPAN])


def test_padding_is_seen_by_no_span():
    """Left padding as `keys` of the first pass, or as the cache's own `valid`; holes in a span."""
    keys = jnp.asarray([[False] * 3 + [True] * 9, [True] * 12])
    padded = AttentionSpec("bidirectional", keys=keys)
    hidden, cache = whole(2, TOKENS, padded)
    np.testing.assert_array_equal(cache.valid, keys)
    np.testing.assert_allclose(hidden[0, 3:], compute(2, TOKENS, None, padded)[0][0, 3:], atol=1e-5)
    garbled = cache._replace(key=tuple(key.at[0, :, :3].set(9.0) for key in cache.key))
    again, _ = afresh(2, TOKENS, garbled)
    np.testing.assert_allclose(again, hidden[:, SPAN], atol=1e-5)
    hole = jnp.ones((2, 4), bool).at[0, 1].set(False)
    _, after = afresh(2, TOKENS, cache, AttentionSpec("bidirectional", keys=hole))
    np.testing.assert_array_equal(after.valid, keys.at[0, SPAN.start + 1].set(False))
    full = AttentionSpec("bidirectional", keys=hole, mask_mode="full")
    np.testing.assert_array_equal(afresh(2, TOKENS, cache, full)[1].valid, keys)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (AttentionSpec("block_diffusion", block=2), "use block_causal"),
        (AttentionSpec(keys=jnp.ones((2, 4), bool), mask_mode="legacy_float"), "'legacy_float'"),
        (AttentionSpec(segments=jnp.ones((2, 4), jnp.int32)), "segments do not go with a cache"),
    ],
)
def test_what_a_cache_cannot_know_is_refused(spec, named):
    with pytest.raises(InputError, match=named):
        afresh(1, TOKENS, MODELS[1].init_cache(2, 12), spec)
