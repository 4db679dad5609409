"""Files of the image tokenizer and of CLIP: there and back, bit by bit."""

import json
from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.models.clip import Clip
from jaxreason.models.clip_config import CLIP_PRESETS, ClipConfig, TowerConfig
from jaxreason.models.clip_names import BUFFERS, clip_places, to_clip
from jaxreason.models.magvit import MagvitConfig
from jaxreason.models.magvit_names import published_shapes, to_published
from jaxreason.weights.clip import clip_config, export_clip, import_clip
from jaxreason.weights.folders import in_memory, open_weights, save_weights
from jaxreason.weights.magvit import export_magvit, import_magvit, magvit_config

RANDOM = np.random.default_rng(0)
TOKENIZER = MagvitConfig(8, (1, 2), (1, 1), (1, 2), (1, 1), code_bits=4, groups=4)
CLIP = ClipConfig(
    TowerConfig(2, 24, 3, 40),
    TowerConfig(1, 32, 2, 48),
    20,
    vocabulary_size=50,
    text_length=9,
    end_token=49,
    image_size=8,
    patch_size=4,
)


def drawn(shapes, dtype=np.float32):
    return {name: RANDOM.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same_files(first, second):
    first, second = open_weights(first), open_weights(second)
    assert set(first) == set(second)
    assert all(same(first[name], second[name]) for name in first)


def tokenizer_without_tables():
    """Published files may lack the quantiser's tables, which are no weights."""
    shapes = published_shapes(TOKENIZER)
    return drawn({name: s for name, s in shapes.items() if not name.startswith("quantize")})


def test_a_tokenizer_there_and_back(tmp_path):
    bare = tokenizer_without_tables()
    save_weights(tmp_path / "bare", in_memory(bare), shard_bytes=5000)
    _, params = import_magvit(tmp_path / "bare", TOKENIZER)
    assert all(same(to_published(TOKENIZER, params)[name], bare[name]) for name in bare)
    export_magvit(params, tmp_path / "a", TOKENIZER, shard_bytes=5000)
    assert open_weights(tmp_path / "a").shapes == published_shapes(TOKENIZER)
    config, again = import_magvit(tmp_path / "a")
    assert config == TOKENIZER
    export_magvit(again, tmp_path / "b", config)
    assert_same_files(tmp_path / "a", tmp_path / "b")


def test_a_tokenizer_of_another_shape_is_refused(tmp_path):
    save_weights(tmp_path / "bare", in_memory(tokenizer_without_tables()))
    _, params = import_magvit(tmp_path / "bare", TOKENIZER)
    export_magvit(params, tmp_path / "a", TOKENIZER)
    with pytest.raises(InputError, match="weights"):
        import_magvit(tmp_path / "a", MagvitConfig())
    note = tmp_path / "a" / "jaxreason.json"
    note.write_text(json.dumps({"magvit": {"layers": 3}}))
    with pytest.raises(InputError, match="field 'layers'"):
        magvit_config(tmp_path / "a")
    note.write_text("{")
    with pytest.raises(FailureError, match="shape of a tokenizer"):
        magvit_config(tmp_path / "a")
    note.unlink()
    assert magvit_config(tmp_path / "a") == MagvitConfig()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_clip_there_and_back(tmp_path, dtype):
    """Buffers that older files hold besides are let pass and not written."""
    arrays = drawn({name: place.stored for name, place in clip_places(CLIP).items()}, dtype)
    settings = {"model_type": "clip"}
    save_weights(
        tmp_path / "a",
        in_memory(arrays | {name: np.arange(9)[None] for name in BUFFERS}),
        shard_bytes=5000,
        documents={"config.json": json.dumps(settings)},
    )
    config, params = import_clip(tmp_path / "a", CLIP)
    shapes = jax.eval_shape(Clip(config).init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    assert all(same(array, arrays[name]) for name, array in to_clip(params, CLIP).items())
    export_clip(params, tmp_path / "b", CLIP)
    config, again = import_clip(tmp_path / "b")
    assert config == CLIP
    assert jax.tree.all(
        jax.tree.map(lambda a, b: same(np.asarray(a), np.asarray(b)), params, again)
    )
    assert clip_config(tmp_path / "a") == replace(CLIP_PRESETS["clip_vit_b32"], end_token=49407)


def test_a_folder_that_is_no_clip_is_refused(tmp_path):
    with pytest.raises(FailureError, match=r"config\.json cannot be read"):
        import_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(InputError, match="siglip"):
        import_clip(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(FailureError, match="shape of a CLIP"):
        import_clip(tmp_path)


@pytest.mark.oracle
def test_transformers_loads_what_we_write(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; install extra `oracle`")
    transformers = pytest.importorskip("transformers", reason="install extra `oracle`")
    params = Clip(CLIP).init(jax.random.key(0))
    export_clip(params, tmp_path / "a", CLIP)
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "a").state_dict()
    for name, array in to_clip(params, CLIP).items():
        np.testing.assert_array_equal(theirs[name].to(torch.float32).numpy(), array, err_msg=name)
