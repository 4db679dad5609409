"""`jaxreason convert`: published folders become runs, and runs become published folders."""

import errno
import json
import shutil

import golden_llada
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from saved_runs import save_run

from jaxreason.cli.main import main
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import AttentionSpec, TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.records_data import RecordsData
from jaxreason.training.diffusion.records_experiment import RecordsExperiment
from jaxreason.training.runs import load_run
from jaxreason.training.stored_tree import ReadLeaf
from jaxreason.weights.folders import open_weights
from jaxreason.weights.llada import export_llada
from jaxreason.weights.llada_settings import LladaMetadata, llada_metadata
from jaxreason.weights.stored_tensor import StoredTensor

CONFIG = golden_llada.golden_config()
IDS = ["--mask", "59", "--eos", "58"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder of a tiny LLaDA in bfloat16, in several files."""
    folder = tmp_path_factory.mktemp("published") / "tiny"
    params = golden_llada.golden_params(dtype=jnp.bfloat16)
    export_llada(params, folder, CONFIG, shard_bytes=10_000)
    return folder


def run(*words):
    return main(["convert", *map(str, words)])


def test_there_and_back_is_bit_equal(published, tmp_path, capsys):
    assert run(published, tmp_path / "run", *IDS) == 0
    assert "2 layers of width 32, 60 ids, bfloat16, mask mode full" in capsys.readouterr().out
    loaded = load_run(tmp_path / "run")
    assert (loaded.step, loaded.experiment.mask, loaded.experiment.eos) == (0, 59, 58)
    assert loaded.model.config.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {jnp.dtype("bfloat16")}
    spread = load_run(tmp_path / "run", mesh=make_mesh(MeshConfig(fsdp=4, tensor=2))).params
    assert not spread["layers"]["up"].sharding.is_fully_replicated
    jax.tree.map(np.testing.assert_array_equal, spread, loaded.params)
    assert run(tmp_path / "run", tmp_path / "back") == 0
    assert "1 files, bfloat16, llada, mask mode full" in capsys.readouterr().out
    first, second = open_weights(published), open_weights(tmp_path / "back")
    assert set(first) == set(second)
    for name, array in first.items():
        assert second[name].dtype == ml_dtypes.bfloat16
        assert second[name].tobytes() == array.tobytes(), name


def test_an_imported_run_computes(published, tmp_path):
    """In float32 on weights rounded to bfloat16: near the reference's logits."""
    assert run(published, tmp_path / "run", *IDS, "--dtype", "float32") == 0
    model, params = load_run(tmp_path / "run")[1:3]
    tokens = jnp.asarray([golden_llada.TOKENS])
    hidden, _ = jax.jit(model.apply)(params, tokens, None, AttentionSpec("bidirectional"))
    expected = [-1.29427, -1.41381, -2.01033, -0.96674]
    np.testing.assert_allclose(model.unembed(params, hidden)[0, 8, :4], expected, atol=0.03)


def test_an_extended_vocabulary_and_what_is_said_of_images_and_padding_are_kept(
    published, tmp_path
):
    options = ["--image-offset", "60", "--image-codes", "8", "--mask-mode", "bool"]
    options += ["--vocabulary-size", "70"]
    assert run(published, tmp_path / "run", *IDS, *options) == 0
    assert run(tmp_path / "run", tmp_path / "a") == 0
    kept = LladaMetadata("bool", 60, 8, 59, 58)
    assert llada_metadata(tmp_path / "a") == kept
    name = "model.transformer.ff_out.weight"
    old, new = open_weights(published)[name], open_weights(tmp_path / "a")[name]
    assert new.shape == (70, 32)
    assert new[:60].tobytes() == old.tobytes()
    assert run(tmp_path / "a", tmp_path / "again") == 0
    assert load_run(tmp_path / "again").experiment.metadata() == kept


def test_what_else_config_json_says_comes_through(published, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(published, folder)
    more = {"max_sequence_length": 4096, "eos_token_id": 58, "init_fn": "mitchell"}
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(document | more))
    assert run(folder, tmp_path / "run", *IDS) == 0
    assert run(tmp_path / "run", tmp_path / "back") == 0
    back = json.loads((tmp_path / "back" / "config.json").read_text())
    assert back == document | more | {"mask_token_id": 59, "pad_token_id": 58}


@pytest.mark.parametrize("data", ["records", "mazes"])
def test_what_is_trained_here_is_exported_with_the_meaning_of_its_ids(tmp_path, capsys, data):
    """Mask, ends, images and mask mode are in the files: nothing need be said to import them."""
    shape = TransformerConfig(0, 1, 16, 2, 2, 8, 32, tied=False, attention="bidirectional")
    objective = MaskedDiffusionConfig(mask_mode="full")
    if data == "records":
        (tmp_path / "train.jsonl").write_text('{"task": "lm", "text": "one two"}\n')
        records = RecordsData(str(tmp_path / "train.jsonl"), image_codes=5)
        experiment = RecordsExperiment(
            records, model=shape, objective=objective, rows={"lm": 2}
        ).settled()
        ids = experiment.ids
    else:
        experiment = MaskedDiffusionExperiment(
            MazeWorld(width=3, height=3), model=shape, objective=objective
        )
        ids = experiment.vocabulary().ids
    model = experiment.transformer()
    save_run(tmp_path / "run", experiment.as_json(), model.init(jax.random.key(0)))
    assert run(tmp_path / "run", tmp_path / "a") == 0
    assert run(tmp_path / "a", tmp_path / "again") == 0
    assert "mask mode full" in capsys.readouterr().out
    found = load_run(tmp_path / "again").experiment
    assert (found.mask, found.eos, found.eot) == (ids.mask, ids.eos, ids.end_of_turn)
    assert (found.image_offset, found.image_codes) == (ids.image_offset, ids.image_codes)
    assert found.mask_mode == "full"
    assert found.model.vocabulary_size == model.config.vocabulary_size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "mask must be given"),
        (["--mask", "60", "--eos", "3"], "mask is 60; the model has ids 0..59"),
        ([*IDS, "--eot", "70"], "eot is 70; the model has ids 0..59"),
        ([*IDS, "--image-offset", "50"], "image_codes 8192 from image_offset 50 on end beyond"),
        ([*IDS, "--vocabulary-size", "50"], "vocabulary_size is 50"),
        ([*IDS, "--image-codes", "4"], "expected both or neither"),
        ([*IDS, "--mask-mode", "some"], "some"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(published, tmp_path, capsys, words, said):
    assert run(published, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_fit_is_refused_first(published, tmp_path, capsys):
    config = json.loads((published / "config.json").read_text())
    assert config["n_layers"] == 2
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in published.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "config.json").write_text(json.dumps(config | {"n_layers": 3}))
    assert run(broken, tmp_path / "run", *IDS) == 2
    assert "lack 'model.transformer.blocks.2.attn_norm.weight'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(tmp_path / "absent", tmp_path / "run", *IDS) == 2
    assert run(published, tmp_path, *IDS) == 2
    assert "exists already; choose a new one" in capsys.readouterr().err
    assert run(tmp_path / "run", tmp_path / "out") == 2
    assert "run does not exist; expected a folder to convert" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["in", "out"])
def test_what_fails_on_the_way_leaves_nothing(published, tmp_path, capsys, monkeypatch, way):
    """A disk too small is seen first; one that breaks in the middle takes all of it away again."""
    source = published
    if way == "out":
        source = tmp_path / "run"
        assert run(published, source, *IDS) == 0
    options = IDS if way == "in" else []
    before = set(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
        assert run(source, tmp_path / "new", *options) == 1
        said = capsys.readouterr().err
        assert "the disk is full" in said
        assert "nothing was written" in said
    assert set(tmp_path.iterdir()) == before
    with monkeypatch.context() as patch:
        kind, name = (StoredTensor, "rows") if way == "in" else (ReadLeaf, "__getitem__")
        read, asked = getattr(kind, name), []

        def breaking(*arguments):
            asked.append(arguments)
            if len(asked) > 5:
                raise OSError(errno.EIO, "Input/output error")
            return read(*arguments)

        patch.setattr(kind, name, breaking)
        assert run(source, tmp_path / "new", *options) == 1
        assert "Input/output error" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before
    # A folder that a killed command has left is no obstacle.
    (tmp_path / "new.partial" / "checkpoints").mkdir(parents=True)
    assert run(source, tmp_path / "new", *options) == 0
    assert set(tmp_path.iterdir()) == {*before, tmp_path / "new"}


def test_a_published_folder_may_have_checkpoints_of_another_trainer(published, tmp_path):
    shutil.copytree(published, tmp_path / "folder")
    (tmp_path / "folder" / "checkpoints").mkdir()
    assert run(tmp_path / "folder", tmp_path / "run", *IDS) == 0
    assert load_run(tmp_path / "run").step == 0


def test_only_what_fits_the_source_can_be_asked_for(published, tmp_path, capsys):
    assert run(published, tmp_path / "run", *IDS) == 0
    for words, said in (
        ((published, tmp_path / "x", "--to", "hf"), "to is 'hf', but"),
        ((published, tmp_path / "x", "--step", "3"), "is no run with steps"),
        ((tmp_path / "run", tmp_path / "x", "--mask", "3"), "mask is for published folders"),
        ((tmp_path / "run", tmp_path / "x", "--to", "run"), "to is 'run', but"),
        ((published / "config.json", tmp_path / "x"), "are no .safetensors file"),
        ((next(published.glob("*.safetensors")), tmp_path / "x"), "no config.json beside them"),
    ):
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert run(tmp_path / "run", tmp_path / "x", "--step", "3") == 1
    assert "no checkpoint of step 3" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
