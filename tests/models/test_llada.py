"""LLaDA's numerics and names: logits of the reference code, and its weights there and back."""

from dataclasses import replace

import golden_llada
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Transformer, preset
from jaxreason.models.llada import from_llada, llada_places, to_llada
from jaxreason.models.rope import rope_frequencies

CONFIG = golden_llada.golden_config()
MODEL = Transformer(CONFIG)
TOKENS = jnp.asarray([golden_llada.TOKENS], jnp.int32)
KEYS = jnp.arange(12)[None] >= 2
LOGITS = {
    "full": [-1.29427, -1.41381, -2.01033, -0.96674],
    "bool": [-1.42513, -2.10767, -1.42047, -0.50909],
    "legacy_float": [-1.37221, -1.77838, -1.66218, -0.66808],
    "causal_trap": [0.82401, -0.27719, -1.89376, -0.90841],
}


@pytest.fixture(scope="module")
def params():
    return golden_llada.golden_params()


@jax.jit
def logits(params, tokens, spec, positions=None):
    return MODEL.unembed(params, MODEL.apply(params, tokens, positions, spec)[0])


@pytest.mark.parametrize("mode", LOGITS)
def test_logits_equal_the_references_in_every_mask_mode(params, mode):
    out = logits(params, TOKENS, AttentionSpec("bidirectional", keys=KEYS, mask_mode=mode))
    np.testing.assert_allclose(out[0, 8, :4], LOGITS[mode], atol=1e-5)
    if mode == "full":
        np.testing.assert_allclose(jnp.abs(out).mean(), 1.3833478, rtol=1e-6)
        np.testing.assert_array_equal(out, logits(params, TOKENS, AttentionSpec("bidirectional")))


def test_a_hidden_key_is_as_good_as_a_token_left_out(params):
    """Also with padding in the middle, where positions tell what was there."""
    for hidden in ([0, 1], [4, 7]):
        keys = ~jnp.isin(jnp.arange(12), jnp.asarray(hidden))[None]
        out = logits(params, TOKENS, AttentionSpec("bidirectional", keys=keys))
        kept = np.flatnonzero(keys[0])
        alone = logits(params, TOKENS[:, kept], AttentionSpec("bidirectional"), jnp.asarray([kept]))
        np.testing.assert_allclose(out[:, kept], alone, atol=2e-5)


def test_only_the_trap_makes_the_model_causal(params):
    changed = TOKENS.at[0, 11].set(30)
    for mode in LOGITS:
        spec = AttentionSpec("bidirectional", keys=KEYS, mask_mode=mode)
        before, after = (logits(params, tokens, spec)[0, 8] for tokens in (TOKENS, changed))
        assert np.array_equal(before, after) == (mode == "causal_trap")


def test_rotary_frequencies_are_llamas_at_base_500000():
    config = preset("llada_8b")
    ours = np.asarray(rope_frequencies(config.head_size, config.rope_base))[[0, 1, 31, 63]]
    np.testing.assert_allclose(ours, [1, 0.8146172, 1.7360467e-3, 2.4551408e-6], rtol=1e-6)


def test_names_are_the_published_ones():
    names = set(llada_places(CONFIG))
    block = {f"{name}_proj" for name in ("q", "k", "v", "ff", "up")}
    block |= {"attn_norm", "attn_out", "ff_norm", "ff_out"}
    expected = {f"blocks.{i}.{name}" for i in range(2) for name in block}
    expected |= {"wte", "ln_f", "ff_out"}
    assert names == {f"model.transformer.{name}.weight" for name in expected}
    big = llada_places(preset("mmada_8b"))
    assert len(big) == 32 * 9 + 3
    assert big["model.transformer.ff_out.weight"].stored == (134_656, 4096)
    assert big["model.transformer.blocks.31.ff_proj.weight"].stored == (12_288, 4096)
    assert big["model.transformer.blocks.0.ff_out.weight"].stored == (4096, 12_288)


def test_the_map_fits_the_model_and_is_its_own_inverse():
    """With sizes that all differ, so that no transpose goes unnoticed."""
    config = replace(CONFIG, heads=6, kv_heads=2, head_size=4)
    weights = golden_llada.golden_weights(config)
    params = from_llada(weights, config)
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    back = to_llada(params, config)
    assert set(back) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_foreign_weights_are_refused_by_name():
    weights = golden_llada.golden_weights()
    missing = {name: w for name, w in weights.items() if "blocks.1.up" not in name}
    with pytest.raises(InputError, match=r"lack 'model\.transformer\.blocks\.1\.up_proj\.weight'"):
        from_llada(missing, CONFIG)
    extra = weights | {"model.transformer.blocks.2.up_proj.weight": np.zeros(1)}
    with pytest.raises(InputError, match=r"hold 'model\.transformer\.blocks\.2\.up_proj\.weight'"):
        from_llada(extra, CONFIG)
    swapped = "model.transformer.blocks.0.ff_out.weight"
    with pytest.raises(InputError, match=r"ff_out\.weight' has shape \(48, 32\).*\(32, 48\)"):
        from_llada(weights | {swapped: weights[swapped].T}, CONFIG)
    with pytest.raises(InputError, match=r"model\.qkv_bias is True"):
        from_llada(weights, replace(CONFIG, qkv_bias=True))
    with pytest.raises(InputError, match=r"hold 'model\.transformer\.ff_out\.weight'"):
        from_llada(weights, replace(CONFIG, tied=True))
