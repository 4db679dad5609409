"""Checkpoints with LLaDA's names and layout: there and back, bit by bit."""

import json
import weakref
from dataclasses import replace

import golden_llada
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.models import AttentionSpec, Transformer
from jaxreason.models.llada import extend_vocabulary, llada_places
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.weights.folders import in_memory, open_weights, save_weights
from jaxreason.weights.llada import export_llada, import_llada
from jaxreason.weights.llada_settings import LladaMetadata, llada_config, llada_metadata
from jaxreason.weights.placed import read_placed
from jaxreason.weights.stored_tensor import StoredTensor

CONFIG = golden_llada.golden_config()
FIRST = "model.transformer.blocks.0.q_proj.weight"


def weights(dtype=np.float32):
    return {name: array.astype(dtype) for name, array in golden_llada.golden_weights().items()}


def published(folder, arrays, **settings):
    """A folder as others publish it: shards, index, config.json, no metadata of ours."""
    document = {
        **{"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": None, "rope_theta": 500000.0},
        **{"mlp_hidden_size": 48, "rms_norm_eps": 1e-05, "weight_tying": False, "alibi": False},
        **{"block_type": "llama", "layer_norm_type": "rms", "vocab_size": 60, **settings},
    }
    save_weights(
        folder,
        in_memory(arrays),
        shard_bytes=20_000,
        documents={"config.json": json.dumps(document)},
    )
    return folder


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_import_and_export_are_bit_equal(tmp_path, dtype):
    source = weights(dtype)
    config = llada_config(published(tmp_path / "a", source))
    assert config == CONFIG
    params = import_llada(tmp_path / "a", config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(dtype)}
    export_llada(params, tmp_path / "b", config, shard_bytes=20_000)
    back = open_weights(tmp_path / "b")
    assert set(back) == set(source)
    for name, array in source.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes(), name
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 1
    assert llada_config(tmp_path / "b") == config


def test_an_imported_model_computes_what_the_reference_does(tmp_path):
    model = Transformer(llada_config(published(tmp_path / "a", weights())))
    params = import_llada(tmp_path / "a", model.config)
    tokens = jnp.asarray([golden_llada.TOKENS])
    hidden, _ = jax.jit(model.apply)(params, tokens, None, AttentionSpec("bidirectional"))
    expected = [-1.29427, -1.41381, -2.01033, -0.96674]
    np.testing.assert_allclose(model.unembed(params, hidden)[0, 8, :4], expected, atol=2e-5)


def test_import_over_a_mesh_places_every_leaf_as_the_rules_say(tmp_path):
    published(tmp_path / "a", weights())
    mesh = jax.make_mesh((1, 4, 2, 1), ("replica", "fsdp", "tensor", "sequence"))
    shapes = jax.eval_shape(Transformer(CONFIG).init, jax.random.key(0))
    shardings = match_rules(TRANSFORMER_RULES, shapes, mesh)
    split = import_llada(tmp_path / "a", CONFIG, shardings=shardings)
    whole = import_llada(tmp_path / "a", CONFIG)
    jax.tree.map(np.testing.assert_array_equal, split, whole)
    assert jax.tree.map(lambda leaf: leaf.sharding, split) == shardings
    assert split["layers"]["gate"].addressable_shards[0].data.shape == (2, 8, 24)
    export_llada(split, tmp_path / "b", CONFIG)
    assert open_weights(tmp_path / "b")[FIRST].tobytes() == weights()[FIRST].tobytes()


def test_a_dtype_is_converted_on_the_way(tmp_path):
    mixed = weights() | {FIRST: weights(ml_dtypes.bfloat16)[FIRST]}
    published(tmp_path / "a", mixed)
    with pytest.raises(InputError, match="give the dtype"):
        import_llada(tmp_path / "a", CONFIG)
    params = import_llada(tmp_path / "a", CONFIG, dtype="bfloat16")
    export_llada(params, tmp_path / "b", CONFIG, dtype="float32")
    rounded = {name: array.astype(ml_dtypes.bfloat16) for name, array in mixed.items()}
    back = open_weights(tmp_path / "b")
    assert all((back[n] == a.astype(np.float32)).all() for n, a in rounded.items())


def test_one_tensor_at_a_time_is_held(tmp_path):
    """Whatever the size of the checkpoint: the one before is gone when the next is read."""
    seen = []

    def watched(tensor):
        def read():
            assert all(reference() is None for reference in seen), f"{tensor.name} is one too many"
            array = tensor.read()
            seen.append(weakref.ref(array))
            return array

        return StoredTensor(tensor.name, tensor.shape, tensor.dtype, read)

    opened = open_weights(published(tmp_path / "a", weights()))
    tensors = {name: watched(tensor) for name, tensor in opened.tensors.items()}
    params = read_placed(replace(opened, tensors=tensors), llada_places(CONFIG))
    assert len(seen) == len(tensors)
    save_weights(tmp_path / "b", tensors, shard_bytes=20_000)
    assert len(seen) == 2 * len(tensors)
    jax.tree.map(np.testing.assert_array_equal, params, import_llada(tmp_path / "b", CONFIG))


def test_offset_and_mask_mode_are_kept(tmp_path):
    published(tmp_path / "a", weights())
    assert llada_metadata(tmp_path / "a") == LladaMetadata("full", None, 0)
    params = golden_llada.golden_params()
    for shard_bytes in (20_000, 10**9):
        kept = LladaMetadata("bool", image_offset=51, image_codes=8)
        folder = tmp_path / f"b{shard_bytes}"
        export_llada(params, folder, CONFIG, metadata=kept, shard_bytes=shard_bytes)
        assert llada_metadata(folder) == kept
    with pytest.raises(InputError, match="mask_mode 'some'"):
        LladaMetadata("some")
    save_weights(tmp_path / "c", in_memory(weights()), metadata={"image_offset": "many"})
    with pytest.raises(FailureError, match="damaged metadata"):
        llada_metadata(tmp_path / "c")


def test_more_ids_leave_the_old_ones_as_they_were(tmp_path):
    params = golden_llada.golden_params(dtype=jnp.bfloat16)
    longer = extend_vocabulary(params, 68, jax.random.key(0))
    config = replace(CONFIG, vocabulary_size=68)
    assert longer["embedding"].shape == (68, 32)
    assert longer["head"].shape == (32, 68)
    assert longer["head"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(longer["embedding"][:60], params["embedding"])
    np.testing.assert_array_equal(longer["head"][:, :60], params["head"])
    assert 0.01 < float(jnp.std(longer["embedding"][60:].astype(jnp.float32))) < 0.03
    export_llada(longer, tmp_path / "a", config)
    assert llada_config(tmp_path / "a").vocabulary_size == 68
    tied = {name: leaf for name, leaf in params.items() if name != "head"}
    assert set(extend_vocabulary(tied, 68, jax.random.key(0))) == set(tied)
    with pytest.raises(InputError, match="60 ids cannot be extended to 59"):
        extend_vocabulary(params, 59, jax.random.key(0))


def test_what_does_not_fit_is_named_before_anything_is_read(tmp_path):
    folder = published(tmp_path / "a", weights())
    for file in folder.glob("*.safetensors"):  # headers whole, tensors cut
        data = file.read_bytes()
        file.write_bytes(data[:-8] + b"\xff" * 8)
    with pytest.raises(InputError, match=r"lack 'model\.transformer\.blocks\.2\.attn_norm"):
        import_llada(folder, replace(CONFIG, layers=3))
    with pytest.raises(InputError, match=r"hold 'model\.transformer\.blocks\.1\."):
        import_llada(folder, replace(CONFIG, layers=1))
    with pytest.raises(InputError, match=r"wte\.weight' has shape \(60, 32\).*\(61, 32\)"):
        import_llada(folder, replace(CONFIG, vocabulary_size=61))


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"block_type": "sequential"}, InputError, "block_type is 'sequential'"),
        ({"rope_full_precision": False}, InputError, "rope_full_precision is False"),
        ({"include_bias": True}, InputError, "include_bias is True"),
        ({"clip_qkv": 8.0}, InputError, "clip_qkv is 8.0"),
        ({"sliding_window": 8}, InputError, "sliding_window is 8; it is not known"),
        ({"n_layers": "many"}, FailureError, "shape of a LLaDA"),
        ({"n_heads": 0}, FailureError, "shape of a LLaDA"),
    ],
)
def test_another_architecture_is_refused(tmp_path, settings, error, said):
    with pytest.raises(error, match=said):
        llada_config(published(tmp_path / "a", weights(), **settings))


def test_a_tied_model_has_no_head_of_its_own(tmp_path):
    config = replace(CONFIG, tied=True)
    params = golden_llada.golden_params(config)
    export_llada(params, tmp_path / "a", config)
    assert "model.transformer.ff_out.weight" not in open_weights(tmp_path / "a")
    assert llada_config(tmp_path / "a") == config
    jax.tree.map(np.testing.assert_array_equal, import_llada(tmp_path / "a", config), params)


def test_parameters_of_another_model_are_not_exported(tmp_path):
    params = golden_llada.golden_params()
    with pytest.raises(InputError, match="parameters lack head"):
        export_llada({k: v for k, v in params.items() if k != "head"}, tmp_path / "a", CONFIG)
    with pytest.raises(InputError, match=r"layers/attention_norm has shape \(2, 32\).*\(3, 32\)"):
        export_llada(params, tmp_path / "a", replace(CONFIG, layers=3))
    with pytest.raises(InputError, match="do not make up"):
        export_llada(params, tmp_path / "a", replace(CONFIG, head_size=4))
    with pytest.raises(InputError, match="attention is 'causal'"):
        export_llada(params, tmp_path / "a", replace(CONFIG, attention="causal"))
    assert list(tmp_path.iterdir()) == []
