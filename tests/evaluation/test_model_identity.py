"""Which model answers are of: its weights, its shape and its checkpoint, wherever it lies."""

import dataclasses
import shutil

from tiny_models import write_tiny_model

from jaxreason.evaluation.identity import digest, model_identity
from jaxreason.models import Transformer
from jaxreason.training.runs import load_run


def test_models_are_told_apart_by_what_they_are_and_not_by_their_paths(tmp_path):
    write_tiny_model(tmp_path / "a", layers=1, tokenizer=False)
    write_tiny_model(tmp_path / "b", layers=1, tokenizer=False, seed=1)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    run = load_run(tmp_path / "a")
    found = model_identity(run)
    assert model_identity(load_run(tmp_path / "copy")) == found
    other = model_identity(load_run(tmp_path / "b"))
    assert other == {**found, "weights": other["weights"]}
    assert other["weights"] != found["weights"]
    config = dataclasses.replace(run.model.config, rope_base=2 * run.model.config.rope_base)
    turned = model_identity(run._replace(model=Transformer(config), step=7))
    assert turned == {**found, "model": turned["model"], "step": 7}
    assert turned["model"] != found["model"]


def test_a_digest_is_of_the_value_and_not_of_the_order_of_names():
    assert digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
