"""Every kind of attention against a loop over queries, and every kernel against `xla`."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec
from jaxreason.models.attention import attend, attend_in_parts, logit_bias, visible
from jaxreason.models.backends import attend_fn, choose, limit
from jaxreason.models.splash import unsplittable
from jaxreason.sharding.mesh import MeshConfig, make_mesh

B, H, G, T, K = 2, 6, 2, 10, 8
SEGMENTS = jnp.asarray([[1, 1, 1, 2, 2, 2, 2, 3, 0, 0], [1] * 6 + [2] * 4])
LENGTHS = jnp.asarray([10, 4])
KEYS = jnp.asarray([[0, 0, 1, 1, 1, 0, 1, 1, 1, 1], [1] * 7 + [0] * 3], bool)
SPECS = {
    "causal": AttentionSpec("causal"),
    "bidirectional": AttentionSpec("bidirectional"),
    "block_causal": AttentionSpec("block_causal", block=4),
    "causal_segments": AttentionSpec("causal", segments=SEGMENTS),
    "bidirectional_lengths": AttentionSpec("bidirectional", lengths=LENGTHS),
    "block_causal_all": AttentionSpec("block_causal", 4, segments=SEGMENTS, lengths=LENGTHS),
    "causal_lengths": AttentionSpec("causal", lengths=LENGTHS),
    "bidirectional_keys": AttentionSpec("bidirectional", keys=KEYS),
    "causal_keys_segments": AttentionSpec("causal", segments=SEGMENTS, keys=KEYS),
    "bidirectional_keys_full": AttentionSpec("bidirectional", keys=KEYS, mask_mode="full"),
    "causal_trap": AttentionSpec("bidirectional", keys=KEYS, mask_mode="causal_trap"),
    "causal_window": AttentionSpec("causal", window=3),
    "causal_window_all": AttentionSpec("causal", window=3, segments=SEGMENTS, keys=KEYS),
    "causal_window_lengths": AttentionSpec("causal", window=3, lengths=LENGTHS),
    "block_diffusion": AttentionSpec("block_diffusion", block=2),
    "block_diffusion_keys": AttentionSpec("block_diffusion", block=2, keys=KEYS),
}
FLOAT = AttentionSpec("bidirectional", keys=KEYS, mask_mode="legacy_float")


def allowed(spec, row, t, s):
    """The definition, one pair at a time."""
    seen = {
        "causal": s <= t,
        "bidirectional": True,
        "block_causal": s // max(spec.block, 1) <= t // max(spec.block, 1),
        "block_diffusion": denoises(t, s, T // 2, max(spec.block, 1)),
    }[spec.kind]
    if spec.segments is not None:
        seen = seen and spec.segments[row, t] == spec.segments[row, s]
    if spec.lengths is not None:
        seen = seen and s < spec.lengths[row]
    if spec.keys is not None and spec.mask_mode != "full":
        seen = seen and spec.keys[row, s]
    if spec.mask_mode == "causal_trap":
        seen = seen and s <= t
    if spec.window:
        seen = seen and t - s < spec.window
    return bool(seen)


def denoises(t, s, n, block):
    """Pairs of [x_t ; x_0] by their stories: noisy and clean tokens, and what each may read."""
    t_clean, s_clean = t >= n, s >= n
    t_block, s_block = t % n // block, s % n // block
    if t_clean:
        return s_clean and s_block <= t_block
    return s_block < t_block if s_clean else s_block == t_block


def inputs(length=T, head_size=K):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((B, H, length, head_size), (B, G, length, head_size), (B, G, length, head_size))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("name", SPECS)
def test_attention_equals_its_definition(name):
    spec = SPECS[name]
    query, key, value = map(np.asarray, inputs())
    out = np.asarray(attend(*inputs(), visible(spec, T, T)))
    for row in range(B):
        table = np.array([[allowed(spec, row, t, s) for s in range(T)] for t in range(T)])
        for head in range(H):
            group = head // (H // G)
            scores = query[row, head].astype(float) @ key[row, group].T.astype(float) / np.sqrt(K)
            weights = np.where(table, np.exp(scores), 0)
            seeing = weights.sum(-1) > 0
            expected = weights @ value[row, group] / np.maximum(weights.sum(-1), 1e-30)[:, None]
            np.testing.assert_allclose(out[row, head][seeing], expected[seeing], atol=1e-5)
    assert np.all(np.isfinite(out))


def test_a_later_query_sees_the_keys_before_it():
    whole = visible(SPECS["causal"], T, T)
    np.testing.assert_array_equal(visible(SPECS["causal"], 3, T, 5), whole[:, 5:8])


def test_a_float_mask_shifts_the_logits_of_pairs_of_real_tokens():
    query, key, value = map(np.asarray, inputs())
    out = np.asarray(attend(*inputs(), visible(FLOAT, T, T), logit_bias(FLOAT)))
    scores = np.einsum("bhtk,bhsk->bhts", query, np.repeat(key, H // G, 1)) / np.sqrt(K)
    real = np.asarray(KEYS)
    scores = scores + (real[:, None, :, None] & real[:, None, None, :])
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.einsum("bhts,bhsk->bhtk", weights, np.repeat(value, H // G, 1))
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert logit_bias(replace(FLOAT, mask_mode="bool")) is None


def test_without_a_hidden_key_the_trap_stays_open():
    spec = AttentionSpec("bidirectional", keys=jnp.ones((B, T), bool), mask_mode="causal_trap")
    assert visible(spec, T, T).all()


def test_a_query_without_keys_is_finite():
    spec = AttentionSpec("bidirectional", keys=jnp.zeros((B, T), bool))
    out, gradient = jax.value_and_grad(
        lambda q: attend(q, *inputs()[1:], visible(spec, T, T)).sum()
    )(inputs()[0])
    assert np.isfinite(out)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_causal_parts_give_what_the_whole_gives(parts):
    """T is no multiple of most of these, and a segment may end inside a part."""
    mask = visible(SPECS["causal_segments"], T, T)

    def both(attention):
        return jax.value_and_grad(lambda x: (attention(*x) ** 2).sum())(inputs())

    whole = both(lambda q, k, v: attend(q, k, v, mask))
    split = both(lambda q, k, v: attend_in_parts(q, k, v, mask, None, parts))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(split), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_long_causal_sequences_skip_hidden_keys_on_cpu():
    query, key, value = inputs(200)
    spec = AttentionSpec("causal")
    split = attend_fn("xla", spec, 200)
    hidden_key = value.at[:, :, 150:].set(jnp.nan)
    # NaN times a weight of zero is NaN: where it is not seen, the product was left out.
    early = split(query, key, hidden_key)[:, :, :66]
    np.testing.assert_allclose(
        early, attend(query, key, value, visible(spec, 200, 200))[:, :, :66], atol=1e-5
    )
    near = AttentionSpec("causal", window=20)
    late = attend_fn("xla", near, 200)(query, key, value.at[:, :, :40].set(jnp.nan))[:, :, 140:]
    whole = attend(query, key, value, visible(near, 200, 200))
    np.testing.assert_allclose(late, whole[:, :, 140:], atol=1e-5)


def test_whole_and_single_token_blocks_are_the_known_masks():
    """One block: plain masked diffusion on the noisy half. Blocks of one: autoregression."""
    n = T // 2
    one = np.asarray(visible(AttentionSpec("block_diffusion", block=n), T, T)[0])
    assert one[:n, :n].all()
    assert not one[:n, n:].any()
    each = np.asarray(visible(AttentionSpec("block_diffusion", block=1), T, T)[0])
    np.testing.assert_array_equal(each[:n, :n], np.eye(n, dtype=bool))
    np.testing.assert_array_equal(each[:n, n:], np.tri(n, k=-1, dtype=bool))
    np.testing.assert_array_equal(each[n:, n:], np.tri(n, dtype=bool))
    with pytest.raises(InputError, match="9 tokens are not twice"):
        visible(AttentionSpec("block_diffusion", block=1), 9, 9)


def test_keys_of_another_length_are_refused():
    with pytest.raises(InputError, match=r"keys have shape \(2, 10\)"):
        visible(SPECS["bidirectional_keys"], 12, 12)
    with pytest.raises(InputError, match="mask_mode 'float' is unknown"):
        AttentionSpec(keys=KEYS, mask_mode="float")


@pytest.mark.parametrize(
    ("kind", "block"), [("local", 0), ("block_diffusion", 0), ("block_causal", 0), ("causal", 2)]
)
def test_impossible_specifications_are_refused(kind, block):
    with pytest.raises(InputError, match="attention"):
        AttentionSpec(kind, block)


@pytest.mark.parametrize(("kind", "window"), [("causal", -1), ("bidirectional", 4)])
def test_impossible_windows_are_refused(kind, window):
    with pytest.raises(InputError, match=f"attention window {window} does not go with"):
        AttentionSpec(kind, window=window)


@pytest.mark.parametrize(
    ("kind", "window"),
    [("causal", 0), ("bidirectional", 0), pytest.param("causal", 40, marks=pytest.mark.slow)],
)
def test_splash_in_the_interpreter_equals_xla(kind, window):
    """Output and gradients on the rows that are not padding; segments, lengths, keys together."""
    length = 128
    segments = jnp.asarray(np.repeat([[1, 2, 3, 0], [1, 1, 2, 2]], 32, axis=1))
    keys = jnp.asarray(np.random.default_rng(0).random((B, length)) < 0.8)
    lengths = jnp.asarray([96, 120])
    spec = AttentionSpec(kind, segments=segments, lengths=lengths, keys=keys, window=window)
    query, key, value = inputs(length, 64)
    real = (keys & (jnp.arange(length) < lengths[:, None]))[:, None, :, None]

    def total(backend, query, key, value):
        out = attend_fn(backend, spec, length, interpret=True)(query, key, value)
        return jnp.sum(jnp.where(real, jnp.sin(out), 0)), out

    results = {}
    for backend in ("xla", "splash"):
        run = jax.jit(
            jax.value_and_grad(lambda *a, b=backend: total(b, *a), (0, 1, 2), has_aux=True)
        )
        (_, out), gradients = run(query, key, value)
        results[backend] = [jnp.where(real, out, 0), *gradients]
    for ours, expected in zip(results["splash"], results["xla"], strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_splash_over_a_mesh_equals_xla_on_one_device():
    """Rows and heads are split, rows padded to the kernel's blocks, and gradients come back."""
    rows, length = 4, 100
    shapes = ((rows, 4, length, 64), (rows, 2, length, 64), (rows, 2, length, 64))
    keys = jax.random.split(jax.random.key(1), 3)
    given = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    segments = jnp.asarray(np.repeat([[1, 2], [1, 1], [1, 2], [1, 3]], 50, axis=1))
    spec = AttentionSpec("causal", segments=segments)

    def total(backend, *arrays):
        return jnp.sum(jnp.sin(attend_fn(backend, spec, length, interpret=True)(*arrays)))

    expected = jax.jit(jax.value_and_grad(lambda *a: total("xla", *a), (0, 1, 2)))(*given)
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        assert unsplittable(rows, 4, 2) is None
        found = jax.jit(jax.value_and_grad(lambda *a: total("splash", *a), (0, 1, 2)))(*given)
        assert "divide" in unsplittable(3, 4, 2)
        assert "heads" in unsplittable(rows, 3, 1)
    assert "set_mesh" in unsplittable(rows, 4, 2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4), found, expected
    )
    with jax.set_mesh(make_mesh(MeshConfig(fsdp=4, sequence=2))):
        assert "sequence is 2" in unsplittable(rows, 4, 2)


def test_auto_follows_platform_and_limits():
    causal = SPECS["causal"]

    def auto(platform, spec=causal, length=256, head_size=64, dtype="bfloat16", unsplit=None):
        return choose("auto", spec, length, head_size, dtype, platform, unsplit)

    assert auto("cpu") == "xla"
    assert auto("gpu") == "cudnn"
    assert auto("gpu", dtype="float32") == "xla"
    assert auto("gpu", head_size=12) == "xla"
    assert auto("gpu", length=255) == "xla"
    assert auto("tpu") == "splash"
    assert auto("tpu", unsplit="needs whole rows") == "xla"
    assert auto("tpu", length=200) == "splash"
    assert auto("gpu", spec=SPECS["causal_window_all"]) == "cudnn"
    assert auto("tpu", spec=SPECS["causal_window_all"]) == "splash"
    assert auto("tpu", spec=SPECS["block_causal"]) == "xla"
    assert auto("tpu", spec=SPECS["block_diffusion"]) == "xla"
    assert auto("tpu", spec=SPECS["bidirectional_keys"]) == "splash"
    assert auto("gpu", spec=SPECS["bidirectional_keys"]) == "cudnn"
    assert auto("gpu", spec=FLOAT) == auto("tpu", spec=FLOAT) == "xla"
    with pytest.raises(InputError, match="'cudnn' does not know mask_mode 'legacy_float'"):
        choose("cudnn", FLOAT, 256, 64, "bfloat16", "gpu")


@pytest.mark.parametrize(
    ("backend", "platform", "dtype", "named"),
    [
        ("cudnn", "cpu", "bfloat16", "needs an NVIDIA GPU, and the platform is 'cpu'"),
        ("cudnn", "gpu", "float32", "needs model.dtype 'bfloat16'"),
        ("splash", "gpu", "bfloat16", "needs a TPU"),
    ],
)
def test_a_named_kernel_that_cannot_run_is_an_error(backend, platform, dtype, named):
    with pytest.raises(InputError, match=named):
        choose(backend, SPECS["causal"], 256, 64, dtype, platform)
    assert limit("xla", SPECS["block_causal_all"], 7, 2, "float32", "cpu") is None


@pytest.mark.gpu
@pytest.mark.parametrize("name", [n for n in SPECS if n != "causal_trap"])
def test_cudnn_equals_xla(name):
    """In bfloat16, on the queries that are not padding."""
    query, key, value = (x.astype(jnp.bfloat16) for x in inputs())
    spec = SPECS[name]
    seeing = np.asarray(visible(spec, T, T)).any(-1)
    if spec.lengths is not None:
        seeing = seeing & (np.arange(T) < np.asarray(spec.lengths)[:, None])
    if spec.keys is not None and spec.mask_mode != "full":
        seeing = seeing & np.asarray(spec.keys)
    rows = np.broadcast_to(seeing[:, None, :, None], query.shape)
    out, expected = (attend_fn(b, spec, T)(query, key, value) for b in ("cudnn", "xla"))
    np.testing.assert_allclose(
        np.where(rows, out, 0).astype(float), np.where(rows, expected, 0).astype(float), atol=2e-2
    )
