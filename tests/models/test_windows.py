"""Sliding windows in a whole model: whatever way it is run, a token sees what its layers see."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Transformer
from jaxreason.models.attention import attend, visible
from jaxreason.models.backends import attend_either
from jaxreason.models.block import Block, rms_norm
from jaxreason.models.rope import rope_angles
from jaxreason.sampling import autoregressive
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules

MIXED = tiny_models.tiny_config(
    "qwen3",
    **{"vocabulary_size": 32, "layers": 3, "window": 4, "window_layers": (True, False, True)},
    **{"qkv_bias": True, "output_bias": True, "mlp_bias": True},
)
ALL = replace(MIXED, window_layers=())
PARAMS = jax.tree.map(jnp.asarray, tiny_models.tiny_params(MIXED))
TOKENS = jax.random.randint(jax.random.key(3), (2, 16), 0, 32)


def hidden_of(config, tokens=TOKENS, **arguments):
    model = Transformer(config)
    return jax.jit(lambda p: model.apply(p, tokens, **arguments)[0])(PARAMS)


@pytest.fixture(scope="module")
def scanned():
    return hidden_of(MIXED)


def test_each_layer_has_its_own_window(scanned):
    """Layer by layer in plain Python, with masks by their definition."""
    c = MIXED

    def by_hand(params):
        x = params["embedding"][TOKENS]
        angles = rope_angles(jnp.broadcast_to(jnp.arange(16), (2, 16)), c.head_size, c.rope_base)
        for i, window in enumerate((4, 0, 4)):
            mask = visible(AttentionSpec("causal", window=window), 16, 16)
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["layers"])
            x, _ = Block(c).apply(
                {"params": layer}, x, *angles, lambda q, k, v, m=mask: (attend(q, k, v, m), None)
            )
        return rms_norm(x, params["final_norm"], c.norm_epsilon)

    np.testing.assert_allclose(scanned, jax.jit(by_hand)(PARAMS), atol=1e-4)
    assert np.abs(hidden_of(ALL) - scanned).max() > 1e-2


@pytest.mark.parametrize("changes", [{"unroll": 3}, {"remat": "names"}])
def test_unrolled_and_recomputed_layers_agree(scanned, changes):
    np.testing.assert_allclose(hidden_of(replace(MIXED, **changes)), scanned, atol=1e-5)


def test_what_no_window_reaches_does_not_count():
    """Three layers of window 4 pass on what is 9 tokens back, and nothing older."""
    changed = TOKENS.at[:, 0].set((TOKENS[:, 0] + 1) % 32)
    before, after = hidden_of(ALL), hidden_of(ALL, changed)
    np.testing.assert_array_equal(before[:, 10:], after[:, 10:])
    assert (np.abs(before - after)[:, :10].max(-1) > 0).all()


def test_a_window_as_long_as_the_row_is_none():
    whole = replace(MIXED, window=0, window_layers=())
    np.testing.assert_array_equal(hidden_of(replace(MIXED, window=16)), hidden_of(whole))


def test_packed_examples_do_not_see_each_other():
    segments = jnp.asarray([[1] * 7 + [2] * 9, [1] * 16])
    positions = jnp.asarray([[*range(7), *range(9)], [*range(16)]])
    packed = hidden_of(
        MIXED, positions=positions, attention=AttentionSpec("causal", segments=segments)
    )
    np.testing.assert_allclose(packed[0, 7:], hidden_of(MIXED, TOKENS[:, 7:])[0], atol=1e-5)


@pytest.mark.parametrize("unroll", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_decoding_equals_reading_all_at_once(unroll):
    """A short prompt has padding between it and what follows, which its window does not count;
    unrolled layers have a cache that grows.
    """
    model = Transformer(replace(MIXED, unroll=unroll))
    lengths = np.asarray([9, 3])
    sampler = autoregressive(model, max_new_tokens=64, eos=31, pad=0, temperature=0)
    out = sampler(
        PARAMS, {"tokens": TOKENS[:, :9], "lengths": jnp.asarray(lengths)}, jax.random.key(0)
    )
    rows = np.zeros((2, 73), np.int32)
    for row, (prompt, more) in enumerate(zip(lengths, out.lengths, strict=True)):
        given = [*TOKENS[row, :prompt], *out.tokens[row, :more]]
        rows[row, : len(given)] = given
    logits = jax.jit(lambda p: model.unembed(p, model.apply(p, jnp.asarray(rows))[0]))(PARAMS)
    scores = np.asarray(jax.nn.log_softmax(logits))
    for row, (prompt, more) in enumerate(zip(lengths, out.lengths, strict=True)):
        places = np.arange(prompt - 1, prompt - 1 + int(more))
        chosen = scores[row, places, rows[row, places + 1]]
        np.testing.assert_allclose(out.log_probabilities[row, :more], chosen, atol=1e-4)
    assert min(out.lengths) > 6


def test_a_mesh_gives_what_one_device_gives():
    """Norms, biases and windows, with gradients, split in every way."""
    model = Transformer(MIXED)

    def total(params):
        return (model.apply(params, TOKENS)[0] ** 2).mean()

    step = jax.value_and_grad(total)
    expected = jax.jit(step)(PARAMS)
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2, sequence=2))
    shardings = match_rules(TRANSFORMER_RULES, PARAMS, mesh)
    assert shardings["layers"]["gate_bias"].spec == jax.sharding.PartitionSpec(None, "tensor")
    with jax.set_mesh(mesh):
        found = jax.jit(step)(jax.device_put(PARAMS, shardings))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


def test_kernels_branch_where_masks_are_chosen():
    """A kernel takes no mask as an argument, so that there are two of them."""
    keys = jax.random.split(jax.random.key(1), 3)
    given = [jax.random.normal(key, (1, 2, 128, 64)) for key in keys]
    spec = AttentionSpec("causal")
    masked, branched = (
        jax.jit(attend_either(backends, spec, 40, 128, True))
        for backends in (("xla", "xla"), ("xla", "splash"))
    )
    for has_window in jnp.asarray([False, True]):
        expected = masked(*given, has_window)
        np.testing.assert_allclose(branched(*given, has_window), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"window": -1}, "model.window is -1"),
        ({"attention": "bidirectional"}, "needs 'causal'"),
        ({"window_layers": (True,)}, r"names 1 layers; expected model.layers \(3\)"),
        ({"window": 0}, "a model.window above 0"),
    ],
)
def test_impossible_windows_are_refused(changes, named):
    with pytest.raises(InputError, match=named):
        replace(MIXED, **changes)


def test_attention_that_no_window_goes_with_is_refused():
    model = Transformer(ALL)
    with pytest.raises(InputError, match=r"model\.window is 4 and the attention 'bidirectional'"):
        model.apply(PARAMS, TOKENS, attention=AttentionSpec("bidirectional"))
    with pytest.raises(InputError, match="with window 3"):
        model.apply(PARAMS, TOKENS, attention=AttentionSpec("causal", window=3))
