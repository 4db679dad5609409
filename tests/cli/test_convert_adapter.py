"""`jaxreason convert ADAPTER RUN --base FOLDER`: an adapter made elsewhere, as a run."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny_models

from jaxreason.analysis import CompareSettings, compare, open_checkpoint
from jaxreason.cli.main import main
from jaxreason.models.lora import LoraConfig, add_lora, merge_lora
from jaxreason.training.pretrained import tokenizer_of
from jaxreason.training.runs import load_run, read_experiment
from jaxreason.weights.folders import open_weights
from jaxreason.weights.peft import CONFIG, WEIGHTS, export_peft

LORA = LoraConfig(rank=2, targets=("query", "output", "down"))


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def folders(tmp_path_factory, request):
    """A base, an adapter for it, and the parameters of both together."""
    root = tmp_path_factory.mktemp("adapters")
    tiny_models.write_tiny_model(root / "base", "qwen2", dtype=request.param)
    run = load_run(root / "base")
    params = jax.device_get(add_lora(run.params, LORA, jax.random.key(0)))
    for number, (name, leaf) in enumerate(sorted(params["layers"].items())):
        if "_lora_" in name:
            noise = np.random.default_rng(number).normal(size=leaf.shape)
            params["layers"][name] = noise.astype(np.float32)
    export_peft(params, replace(run.model.config, lora=LORA), root / "adapter", "qwen2")
    return root, params


def command(*words):
    return main(["convert", *map(str, words)])


def test_an_adapter_becomes_a_run_and_comes_back(folders, tmp_path, capsys):
    root, params = folders
    adapter, base = root / "adapter", root / "base"
    assert command(adapter, tmp_path / "run", "--base", base) == 0
    assert "adapter of rank 2, query, output, down" in capsys.readouterr().out
    apart = load_run(tmp_path / "run", merge=False)
    assert apart.model.config.lora == LORA
    jax.tree.map(np.testing.assert_array_equal, apart.params, params)
    merged = merge_lora(params, LORA)
    assert command(tmp_path / "run", tmp_path / "back", "--to", "peft") == 0
    assert (tmp_path / "back" / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()
    assert command(tmp_path / "run", tmp_path / "out") == 0
    near(load_run(tmp_path / "out").params, merged)
    assert tokenizer_of(tmp_path / "run").identity == tokenizer_of(base).identity
    assert tokenizer_of(tmp_path / "out").identity == tokenizer_of(base).identity
    assert read_experiment(tmp_path / "run").kind == "pretrained"
    settings = CompareSettings(rank=False)
    found = compare(open_checkpoint(base), open_checkpoint(tmp_path / "run"), settings)
    moved = {t.name for t in found.tensors if t.counts.delta_largest}
    layers = range(len(params["layers"]["query"]))
    assert moved == {f"layers/{n}/{name}" for n in layers for name in LORA.targets}


def near(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


def test_what_does_not_fit_is_refused_first(folders, tmp_path, capsys):
    root = folders[0]
    adapter, base, new = root / "adapter", root / "base", tmp_path / "run"
    tiny_models.write_tiny_model(tmp_path / "wide", "qwen2", width=48, tokenizer=False)
    for words, said in (
        ((adapter, new), "is an adapter: give base"),
        ((base, new, "--base", base), "is no PEFT adapter"),
        ((adapter, new, "--base", adapter), "no config.json beside them"),
        ((adapter, new, "--base", tmp_path / "none"), "expected a published folder"),
        ((adapter, new, "--base", base, "--to", "hf"), "to is 'hf', but"),
        ((adapter, new, "--base", base, "--step", "3"), "is no run with steps"),
        ((adapter, new, "--base", base, "--mask", "3"), "mask is an option for LLaDA"),
        ((adapter, new, "--base", tmp_path / "wide"), "has shape"),
    ):
        assert command(*words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not new.exists()
    assert open_weights(adapter / WEIGHTS)
    assert (adapter / CONFIG).is_file()
