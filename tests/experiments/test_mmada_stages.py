"""The scripts of the stages from nothing to a table and a page, at toy sizes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxreason.evaluation.diffusion.stage_table import StageResult, stage_lines
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
    assert (data.generator, data.width, data.height) == (world.generator, 4, 4)


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


def command(script, root, *options):
    """What a script prints, started as by hand on a machine with one device."""
    ran = subprocess.run(
        [sys.executable, FOLDER / script, "--quick", "--root", root, *options],
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.slow
def test_one_command_trains_all_stages_and_writes_the_page(tmp_path):
    options = ("--reasoning", "correct", "none")
    printed = command("stages.py", tmp_path, *options)
    root = tmp_path / "quick"
    numbers = json.loads((root / "report" / "numbers.json").read_text())
    table = [StageResult.from_json(row) for row in numbers["stages"]]
    assert [row.name for row in table][1:] == ["+ mixed chain of thought (correct)", "+ UniGRPO"]
    assert all(set(row.tasks) == {"plan", "read_plan", "draw_solution"} for row in table)
    assert len(numbers["variants"]) == 2
    assert stage_lines(table).splitlines()[-1] in printed
    made = {path.name for path in (root / "report").iterdir()}
    assert {"index.html", "inpainting.png", "extrapolation.png", "stages.png"} <= made
    assert sum(name.endswith(".gif") for name in made) == 4
    assert load_run(root / "stage3").experiment.world.reasoning == "correct"
    # A second call finds everything done, and judges nothing anew.
    again = command("stages.py", tmp_path, *options)
    assert "stage3: finished before" in again
    assert "judging" in printed
    assert "judging" not in again
    assert json.loads((root / "report" / "numbers.json").read_text()) == numbers


@pytest.mark.slow
def test_one_token_at_a_time_is_compared_with_diffusion(tmp_path):
    command("autoregressive.py", tmp_path)
    results = tmp_path / "quick" / "results"
    document = json.loads((results / "autoregressive.json").read_text())
    assert next(iter(document["rows"])) == "autoregressive"
    assert len(document["rows"]) == 4
    for row in document["rows"].values():
        assert 0 <= row["valid"]["value"] <= 1
        assert row["tokens_per_second"] > 0
    # A head, a rule, and a row for each decoder.
    assert (results / "autoregressive.md").read_text().count("\n|") == 6
