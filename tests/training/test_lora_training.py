"""Post-training with LoRA: only A and B move and have moments; runs are resumed, read, compared."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rl_base import make_base
from tiny_models import write_tiny_model

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.cli.main import main
from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError
from jaxreason.models.lora import LoraConfig, add_lora, is_lora, lora_mask, merge_lora
from jaxreason.rewards import Reward
from jaxreason.sharding.rules import path_name
from jaxreason.training.adapters import export_adapter
from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preference_experiment import PreferenceExperiment
from jaxreason.training.pretrained import pretrained_model
from jaxreason.training.runs import load_run
from jaxreason.training.state import state_from_params
from jaxreason.weights.peft import import_peft

LORA = LoraConfig(rank=2, alpha=4.0, targets=("query", "value", "output", "up", "down"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


def make_easy(patch):
    """One device, and a verifier that takes what ended after an even number of words."""

    def reward(self, problems, completions):
        values = np.asarray(completions.finished) & (np.asarray(completions.lengths) % 2 == 0)
        return Reward(values.astype(np.float32), {})

    patch.setattr(MazeExperiment, "reward", reward)
    patch.setattr(jax, "device_count", lambda: 1)


@pytest.fixture(autouse=True)
def easy(monkeypatch):
    make_easy(monkeypatch)


def experiment(base, steps=3, **fields):
    return PreferenceExperiment(
        base=base,
        batch_size=8,
        held_out=8,
        sampling=SamplingConfig(problems=24, samples=6, batch=12, max_new_tokens=24),
        optimizer=OptimizerConfig(1e-2, 0, 12, moments_dtype="bfloat16"),
        train=TrainConfig(steps=steps, log_every=1),
        lora=LORA,
        **fields,
    )


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A run of three steps, stopped after two in between, with bfloat16 parameters."""
    folder = tmp_path_factory.mktemp("lora")
    with pytest.MonkeyPatch.context() as patch:
        make_easy(patch)
        whole = experiment(base, params_dtype="bfloat16")
        dataclasses.replace(whole, train=TrainConfig(steps=2, log_every=1)).run(folder, False)
        return folder, whole.run(folder, progress=False)


def leaves(tree):
    return {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def test_only_a_and_b_move_and_only_they_have_moments(base, trained):
    folder, result = trained
    start = add_lora(load_run(base).params, LORA, jax.random.key(0))
    marked, before, after = leaves(lora_mask(start)), leaves(start), leaves(result.state.params)
    for name, x in after.items():
        assert x.dtype == (jnp.float32 if marked[name] else jnp.bfloat16)
        same = bool((x == before[name].astype(x.dtype)).all())
        assert same != marked[name], name
    size = sum(x.size for name, x in after.items() if marked[name])
    moments = [x for x in jax.tree.leaves(result.state.optimizer_state) if x.ndim]
    assert sum(x.nbytes for x in moments) == 2 * 2 * size
    first = read_metrics(folder / "metrics.jsonl")[0]
    # B is zero: at first policy and reference are the same.
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-4)


@pytest.mark.slow
def test_a_run_cut_in_two_is_that_run(base, trained, tmp_path):
    through = experiment(base, params_dtype="bfloat16").run(tmp_path, progress=False)
    jax.tree.map(np.testing.assert_array_equal, through.state.params, trained[1].state.params)


def test_a_run_is_read_merged_and_unmerged(base, trained):
    folder, result = trained
    apart = load_run(folder, merge=False)
    assert apart.model.config.lora == LORA
    jax.tree.map(np.testing.assert_array_equal, apart.params, result.state.params)
    whole = load_run(folder)
    assert whole.model == load_run(base).model
    jax.tree.map(np.testing.assert_array_equal, whole.params, merge_lora(apart.params, LORA))
    tokens = jnp.arange(12).reshape(2, 6)
    np.testing.assert_allclose(
        whole.model.apply(whole.params, tokens)[0],
        apart.model.apply(apart.params, tokens)[0],
        atol=2e-5,
    )


def test_comparisons_see_merged_weights(base, trained):
    folder, result = trained
    opened, reference = open_checkpoint(folder), open_checkpoint(base)
    assert opened.names() == reference.names()
    merged = leaves(merge_lora(result.state.params, LORA))
    for name in opened.names():
        found, wanted = opened.read(name), np.asarray(merged[name])
        assert found.dtype == wanted.dtype
        # Sums of another order may round to the other neighbour.
        np.testing.assert_allclose(np.float32(found), np.float32(wanted), rtol=2**-7, atol=1e-6)
        kernel = name.rsplit("/")[-1] in LORA.targets
        same = (opened.read(name) == reference.read(name).astype(opened.dtype(name))).all()
        assert same != kernel, name
    at = open_checkpoint(f"{folder}/checkpoints/3")
    np.testing.assert_array_equal(at.read("layers/up"), opened.read("layers/up"))


def test_what_does_not_go_with_lora_is_refused(base):
    with pytest.raises(InputError, match="mask and lora are set"):
        experiment(base, mask="mask.npz")
    with pytest.raises(InputError, match="'muon'; with lora expected 'adamw'"):
        PreferenceExperiment(lora=LORA, optimizer=OptimizerConfig(method="muon"))


def test_fields_of_lora_are_options(base):
    default = experiment(base)
    changed = parse_options(type(default), ["--lora.rank", "5"], "train", default)
    assert changed.lora == dataclasses.replace(LORA, rank=5)
    assert parse_options(type(default), ["lora:none"], "train", default).lora is None
    plain = dataclasses.replace(default, lora=None)
    chosen = ["--train.steps", "2", "lora:lora-config", "--lora.targets", "up"]
    assert parse_options(type(plain), chosen, "train", plain).lora == LoraConfig(targets=("up",))


def test_an_adapter_of_a_maze_model_is_refused(trained, tmp_path):
    with pytest.raises(InputError, match="which no published layout holds"):
        export_adapter(trained[0], tmp_path / "adapter")


def test_a_run_from_published_weights_gives_an_adapter_or_merged_weights(tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    write_tiny_model(base, "qwen2", tokenizer=False)
    known = pretrained_model(base, "float32")
    lora = LoraConfig(rank=2, alpha=3.0, targets=("query", "down"))
    plain = load_run(base).params
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: (
            jnp.cos(jnp.arange(x.size)).reshape(x.shape) if is_lora(path[-1].key) else x
        ),
        add_lora(plain, lora, jax.random.key(0)),
    )
    config = {"kind": "preference", "lora": dataclasses.asdict(lora), "origin": known.as_json()}
    run.mkdir()
    (run / "config.json").write_text(json.dumps(config))
    checkpoints = Checkpoints(run)
    state = state_from_params(params, optax.sgd(0.1), jax.random.key(0))
    checkpoints.save(state, {"step": 0, "sums": None}, {})
    checkpoints.close()

    assert main(["convert", str(run), str(tmp_path / "adapter"), "--to", "peft"]) == 0
    shape, back = import_peft(tmp_path / "adapter", plain, known.model, "qwen2")
    assert shape.lora == lora
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(base)

    assert main(["convert", str(run), str(tmp_path / "merged")]) == 0
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        load_run(tmp_path / "merged").params,
        load_run(run).params,
    )
