"""A published folder is taken wherever a run directory is; it becomes one, and a run becomes it."""

import json
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tiny_models
from saved_runs import save_run

from jaxreason.analysis import CompareSettings, compare, open_checkpoint
from jaxreason.errors import FailureError, InputError
from jaxreason.models.lora import LoraConfig, add_lora, merge_lora
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.training import checkpoint
from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.converting import export_run, import_run
from jaxreason.training.files import settle_config
from jaxreason.training.post_training import PostTraining, origin_json
from jaxreason.training.pretrained import keep_tokenizer, tokenizer_of
from jaxreason.training.runs import experiment_from_json, load_run, read_config, read_experiment
from jaxreason.training.state import TrainState
from jaxreason.training.stored_params import checked_leaves
from jaxreason.weights import shards
from jaxreason.weights.folders import open_weights
from jaxreason.weights.pretrained import checked_places, pretrained_config

FAMILIES = ("qwen2", "qwen3", "llama", "mistral")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One tiny folder of each family, in bfloat16 and several files."""
    root = tmp_path_factory.mktemp("published")
    for family in FAMILIES:
        tiny_models.write_tiny_model(
            root / family, family, dtype="bfloat16", shard_bytes=5000, settings={"eos_token_id": 3}
        )
    return root


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_a_run_without_steps(folders, family):
    run = load_run(folders / family)
    expected = tiny_models.tiny_params(tiny_models.tiny_config(family))
    same(run.params, jax.tree.map(lambda a: a.astype(ml_dtypes.bfloat16), expected))
    assert (run.step, run.experiment.family, run.experiment.kind) == (0, family, "pretrained")
    assert run.model.config.dtype == "bfloat16"
    assert experiment_from_json(read_config(folders / family)) == run.experiment
    with pytest.raises(InputError, match="without steps"):
        load_run(folders / family, 3)


def test_post_training_takes_it_as_its_base(folders, tmp_path):
    """The folder is described in config.json of the run, which is read again without it."""
    chosen = PostTraining(base=str(folders / "qwen2"), params_dtype="float32")
    base, shapes = chosen.load_base(), chosen.base_shapes()
    assert jax.tree.map(jnp.shape, base.params) == jax.tree.map(lambda s: s.shape, shapes.params)
    assert {leaf.dtype for leaf in jax.tree.leaves(chosen.initial_params(base))} == {
        jnp.dtype("float32")
    }
    settle_config(tmp_path, {"kind": "x", "origin": origin_json(chosen.base)}, begun=False)
    assert read_experiment(tmp_path) == base.experiment


@pytest.mark.parametrize("on_devices", [False, True], ids=["memory", "device buffers"])
def test_over_a_mesh_every_device_has_its_part(folders, monkeypatch, on_devices):
    """Both ways to put a part together: in memory, and in the buffers of a device."""
    if on_devices:
        monkeypatch.setattr(shards, "_is_memory", lambda device: False)
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    run = load_run(folders / "qwen2", mesh=mesh)
    same(run.params, load_run(folders / "qwen2").params)
    shardings = match_rules(TRANSFORMER_RULES, run.params, mesh)
    assert jax.tree.map(lambda leaf: leaf.sharding, run.params) == shardings
    assert run.params["layers"]["gate"].addressable_shards[0].data.shape == (2, 4, 12)
    # What lies with several devices are copies: one may be donated while others are used.
    norm = [shard.data for shard in run.params["final_norm"].addressable_shards]
    assert len({array.unsafe_buffer_pointer() for array in norm}) == len(norm)


def test_only_rows_that_a_device_needs_are_read(folders, monkeypatch):
    """A device with half of the heads reads half of the queries' bytes, in one piece."""
    opened = open_weights(folders / "llama")
    name = "model.layers.0.self_attn.q_proj.weight"
    read = []
    tensor = opened.tensors[name]

    def rows(first, last):
        read.append((first, last))
        return tensor.read_rows(first, last)

    place = checked_places(opened, pretrained_config(folders / "llama"))[name]
    half = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    monkeypatch.setattr(
        type(half),
        "addressable_devices_indices_map",
        lambda self, shape: {jax.devices()[0]: (slice(None), slice(2, 4), slice(None))},
        raising=False,
    )
    parts = shards._parts(place.ours, tensor.dtype, half)
    shards._fill(parts, replace(tensor, read_rows=rows), place._replace(layer=None), tensor.dtype)
    assert read == [(8, 16)]
    np.testing.assert_array_equal(parts[0].held[0], place.to_ours(tensor.read())[:, 2:4])


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_there_and_back_every_file_is_the_same(folders, tmp_path, family):
    known = import_run(folders / family, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.experiment == known
    same(run.params, load_run(folders / family).params)
    export_run(tmp_path / "run", tmp_path / "back")
    first, second = open_weights(folders / family), open_weights(tmp_path / "back")
    assert set(first) == set(second)
    for name, array in first.items():
        assert second[name].dtype == ml_dtypes.bfloat16
        assert second[name].tobytes() == array.tobytes(), name
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        told, again = (
            (folder / file).read_text() for folder in (folders / family, tmp_path / "back")
        )
        assert json.loads(told) == json.loads(again)


def test_a_converted_run_can_be_gone_on_with_like_any_other(folders, tmp_path):
    """Its checkpoint is restored as a whole, by its fingerprint, and damage is seen."""
    import_run(folders / "qwen2", tmp_path / "run", dtype="float32")
    params = load_run(tmp_path / "run").params
    zeros = [jnp.zeros((), jnp.int32) for _ in range(3)]
    state = TrainState(zeros[0], params, (), jax.random.key(0), zeros[1], zeros[2])
    checkpoints = Checkpoints(tmp_path / "run", warn=lambda said: None)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
    restored, _ = checkpoints.restore(abstract)
    same(restored.params, params)
    checkpoints.close()
    files = sorted((tmp_path / "run" / "checkpoints" / "0" / "params" / "d").iterdir())
    large = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(large.read_bytes())
    content[len(content) // 3] ^= 1
    large.write_bytes(content)
    for read in (load_run, lambda run: export_run(run, tmp_path / "damaged")):
        with pytest.raises(FailureError, match="checkpoint"):
            read(tmp_path / "run")
    assert not (tmp_path / "damaged").exists()


def test_a_run_saved_in_one_piece_is_exported_as_well(folders, tmp_path):
    """Training stores all layers of a leaf together; each is read once and checked as a whole."""
    params = load_run(folders / "qwen3").params
    moved = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) + 1e-3, params)
    save_run(tmp_path / "run", {"kind": "x", "origin": origin_json(folders / "qwen3")}, moved)
    keep_tokenizer(folders / "qwen3", tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    same(load_run(tmp_path / "out").params, moved)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == 3
    assert tokenizer_of(tmp_path / "out").identity == tokenizer_of(folders / "qwen3").identity
    export_run(tmp_path / "run", tmp_path / "half", dtype="bfloat16")
    assert str(open_weights(tmp_path / "half")["model.norm.weight"].dtype) == "bfloat16"


def test_a_folder_is_compared_with_a_run_under_our_names(folders, tmp_path):
    """And with another folder under those of the files, as before."""
    import_run(folders / "qwen2", tmp_path / "run")
    settings = CompareSettings(rank=False)
    found = compare(open_checkpoint(folders / "qwen2"), open_checkpoint(tmp_path / "run"), settings)
    assert {t.name for t in found.tensors} >= {"layers/1/query", "embedding", "final_norm"}
    assert (found.together.missing, found.together.extra) == ({}, {})
    assert found.total().size == open_checkpoint(tmp_path / "run").parameters
    assert found.total().delta_largest == 0
    other = compare(
        open_checkpoint(folders / "qwen2"), open_checkpoint(folders / "qwen2"), settings
    )
    assert {t.name for t in other.tensors} == set(open_weights(folders / "qwen2"))


def test_half_precision_is_widened_which_changes_no_value(tmp_path):
    tiny_models.write_tiny_model(tmp_path / "a", "llama", dtype="float16")
    run = load_run(tmp_path / "a")
    assert (run.experiment.params_dtype, run.model.config.dtype) == ("float32", "float32")
    stored = open_weights(tmp_path / "a")["model.norm.weight"]
    np.testing.assert_array_equal(run.params["final_norm"], stored.astype(np.float32))


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_low_rank_updates_are_merged_on_the_way_out(folders, tmp_path, dtype):
    """In float32, when that is asked for, nothing is rounded to the base's bfloat16 first."""
    config = LoraConfig(rank=2, targets=("query", "output", "down"))
    params = add_lora(load_run(folders / "llama").params, config, jax.random.key(0))
    layers = {
        name: leaf + 0.01 if name.endswith("_lora_b") else leaf
        for name, leaf in params["layers"].items()
    }
    params = {**params, "layers": layers}
    said = {"kind": "x", "lora": asdict(config), "origin": origin_json(folders / "llama")}
    save_run(tmp_path / "run", said, params)
    export_run(tmp_path / "run", tmp_path / "out", dtype=dtype)
    if dtype is not None:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    exported = load_run(tmp_path / "out").params
    for path, leaf in jax.tree.leaves_with_path(merge_lora(params, config)):
        found = dict(jax.tree.leaves_with_path(exported))[path]
        assert found.dtype == leaf.dtype
        np.testing.assert_allclose(
            np.float32(found), np.float32(leaf), rtol=1e-6 if dtype else 2**-7, atol=1e-7
        )
    changed = exported["layers"]["down"] != load_run(folders / "llama").params["layers"]["down"]
    assert np.mean(changed) > 0.5


def test_a_layer_of_a_large_checkpoint_is_read_alone(folders, tmp_path, monkeypatch):
    """Training stores the layers of large parameters apart, on a mesh too, and reads them back."""
    monkeypatch.setattr(checkpoint, "LARGE_LAYER", 500)
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    params = load_run(folders / "qwen2", mesh=mesh).params
    said = {"kind": "x", "params_dtype": "bfloat16", "origin": origin_json(folders / "qwen2")}
    save_run(tmp_path, said, params)
    chunks = {leaf.name: leaf.chunk for leaf in checked_leaves(tmp_path / "checkpoints" / "0")}
    assert chunks["layers/gate"] == (1, 4, 12)
    assert chunks["layers/attention_norm"][0] == 2  # small
    same(load_run(tmp_path, mesh=mesh).params, params)
    export_run(tmp_path, tmp_path / "out")
    assert all(
        array.tobytes() == open_weights(folders / "qwen2")[name].tobytes()
        for name, array in open_weights(tmp_path / "out").items()
    )
