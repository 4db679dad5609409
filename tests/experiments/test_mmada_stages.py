"""The scripts of the stages from nothing to a table and a page, at toy sizes."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxreason.evaluation.diffusion.stage_table import StageResult
from jaxreason.training.runs import load_run

FOLDER = Path(__file__).parents[2] / "experiments" / "mmada"
NAMES = ("stages", "toy_stages", "causal_twin", "autoregressive")


@pytest.fixture(scope="module")
def scripts():
    """The modules of the folder, as they find each other when one of them is run."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        del sys.modules[name]


def test_every_stage_goes_on_from_the_one_before(scripts, tmp_path):
    stages = scripts.stages.standard(tmp_path, ["swapped", "none"])
    found = stages.experiments()
    assert list(found) == ["tokenizer", "stage1", "stage2-swapped", "stage2-none", "stage3"]
    for name in ("stage1", "stage2-swapped", "stage2-none"):
        assert found[name].tokenizer == str(tmp_path / "tokenizer")
    for name in ("stage2-swapped", "stage2-none"):
        assert found[name].base == str(tmp_path / "stage1")
        assert found[name].world.reasoning == name.split("-")[1]
    assert found["stage3"].base == str(tmp_path / "stage2-swapped")
    # The tokenizer sees the mazes the stages are about.
    world, data = found["stage1"].world, found["tokenizer"].data
    assert (data.generator, data.width, data.height) == (world.generator, 5, 5)


def test_the_causal_twin_learns_the_answer_and_its_end(scripts):
    eos = 9
    batch = {
        "tokens": np.array([[1, 2, 3, 4, eos, eos, eos], [1, 5, 6, eos, eos, eos, eos]], np.int32),
        "maskable": np.array([[0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]], bool),
    }
    (made,) = scripts.causal_twin.CausalBatches([batch], eos)
    targets = [[0, 0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0, 0]]
    np.testing.assert_array_equal(made["targets_mask"], np.array(targets, bool))
    np.testing.assert_array_equal(made["tokens"], batch["tokens"])
    assert (made["segments"] == 1).all()


@pytest.mark.slow
def test_one_command_trains_all_stages_and_writes_the_page(scripts, tmp_path, capsys):
    stages = scripts.toy_stages.toy(tmp_path, ["correct", "none"])
    table = scripts.stages.run(stages)
    assert [row.name for row in table][1:] == ["+ mixed chain of thought (correct)", "+ UniGRPO"]
    assert all(set(row.tasks) == set(stages.tasks) for row in table)
    report = stages.root / "report"
    numbers = json.loads((report / "numbers.json").read_text())
    assert [StageResult.from_json(row) for row in numbers["stages"]] == table
    assert len(numbers["variants"]) == 2
    assert len(list(report.glob("*.gif"))) == 4
    assert {"inpainting.png", "extrapolation.png"} <= {path.name for path in report.iterdir()}
    assert load_run(stages.path("stage3")).experiment.world.reasoning == "correct"
    # A second call finds everything done, and measures nothing anew.
    kept = (stages.root / "stage1" / "evaluation" / "tasks.json").stat().st_mtime_ns
    capsys.readouterr()
    assert scripts.stages.run(replace(stages, shown=2)) == table
    assert "stage1: finished before" in capsys.readouterr().out
    assert (stages.root / "stage1" / "evaluation" / "tasks.json").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_one_token_at_a_time_is_compared_with_diffusion(scripts, tmp_path):
    comparison = scripts.autoregressive.quick(tmp_path)
    document = scripts.autoregressive.run(comparison)
    assert next(iter(document["rows"])) == "autoregressive"
    assert len(document["rows"]) == 1 + len(comparison.decoders())
    for row in document["rows"].values():
        assert 0 <= row["valid"]["value"] <= 1
        assert row["tokens_per_second"] > 0
    assert (comparison.results / "autoregressive.md").read_text().count("\n| ") == 5
