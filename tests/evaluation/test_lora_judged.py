"""Runs that trained LoRA are asked as they were trained: with A and B beside bfloat16 kernels."""

from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_runs import save_run
from tiny_models import write_tiny_model

from jaxreason.cli.main import main
from jaxreason.evaluation.harness import HarnessModel, HarnessSettings, load_harness
from jaxreason.models import Transformer
from jaxreason.models.lora import LoraConfig, add_lora
from jaxreason.training import runs
from jaxreason.training.post_training import origin_json

LORA = LoraConfig(rank=2, alpha=4.0)
REQUESTS = [("What is 2+3? ", "five"), ("The cat", " sat"), ("She has ten", " apples")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A published base in bfloat16, a run of small updates, and its parameters when it ended."""
    folder = tmp_path_factory.mktemp("judged")
    base, run = folder / "base", folder / "run"
    write_tiny_model(base, layers=1, dtype="bfloat16")
    params = add_lora(runs.load_run(base).params, LORA, jax.random.key(0))
    layers = {
        name: 1e-3 * jax.random.normal(jax.random.key(1), leaf.shape)
        if name.endswith("_lora_b")
        else leaf
        for name, leaf in params["layers"].items()
    }
    params = {**params, "layers": layers}
    more = {"params_dtype": "bfloat16", "lora": asdict(LORA), "origin": origin_json(base)}
    save_run(run, {"kind": "x", **more}, params)
    return base, run, params


def logits(model, params):
    tokens = jnp.arange(48).reshape(2, 24)
    return np.asarray(model.unembed(params, model.apply(params, tokens)[0]))


def test_the_harness_asks_the_model_that_was_trained(folders):
    base, path, params = folders
    trained = Transformer(replace(runs.load_run(base).model.config, lora=LORA))
    settings = HarnessSettings(batch_size=4)
    asked = load_harness(path, settings, tokenizer=base)
    assert asked.run.model == trained
    for (name, found), wanted in zip(
        jax.tree.leaves_with_path(asked.run.params), jax.tree.leaves(params), strict=True
    ):
        assert found.dtype == wanted.dtype, name
    expected = logits(trained, params)
    np.testing.assert_array_equal(logits(asked.run.model, asked.run.params), expected)
    merged = runs.load_run(path)
    assert np.abs(logits(merged.model, merged.params) - expected).max() > 1e-3
    there = HarnessModel(asked.run._replace(params=params), asked.tokenizer, settings)
    assert asked.loglikelihood(REQUESTS) == there.loglikelihood(REQUESTS)
    rounded = HarnessModel(merged, asked.tokenizer, settings)
    assert asked.loglikelihood(REQUESTS) != rounded.loglikelihood(REQUESTS)


@pytest.mark.slow
def test_a_prompt_is_answered_by_the_model_that_was_trained(folders, monkeypatch, capsys):
    base, path, _ = folders
    asked = []

    def seen(*arguments, **options):
        asked.append(load_run(*arguments, **options))
        return asked[-1]

    load_run = runs.load_run
    monkeypatch.setattr(runs, "load_run", seen)
    options = ["--tokenizer", str(base), "--plain", "--prompt", "The cat", "--length", "2"]
    assert main(["sample", str(path), *options]) == 0, capsys.readouterr().err
    assert [run.model.config.lora for run in asked] == [LORA]
