"""The study of subnetworks: shared runs, honest tables, and two scripts from nothing to results."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxreason.analysis import open_checkpoint, pairs

FOLDER = Path(__file__).parents[2] / "experiments" / "subnetworks"
NAMES = ("study", "outputs", "measures", "sparsity", "overlap", "rank", "masked", "ablations")


@pytest.fixture(scope="module")
def scripts():
    """The modules of the folder, as they find each other when one of them is run."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        del sys.modules[name]


def test_scripts_that_share_a_name_share_the_run(scripts):
    """Whichever script is first trains a run, so all must mean the same by its name."""
    study = scripts.study.standard()
    known: dict = {}
    for script in (scripts.sparsity, scripts.overlap, scripts.ablations):
        for name, experiment in script.runs(study).items():
            # Intervals of logging do not change what is trained.
            free = {"evaluate_every": 0, "save_every": 0, "keep_every": 0}
            train = dataclasses.replace(experiment.train, **free)
            found = dataclasses.replace(experiment, train=train)
            assert known.setdefault(name, found) == found, name
    assert set(study.main_runs()) <= set(known)
    assert len(known) < 60
    # Runs that keep their checkpoints are as long as the main ones, and equal them otherwise.
    others = {name: e for name, e in known.items() if "-long-" not in name}
    assert len({str(experiment) for experiment in others.values()}) == len(others)


def test_all_methods_are_trained_alike(scripts):
    study = scripts.study.standard()
    found = study.main_runs().values()
    assert {one.optimizer for one in found} == {study.template.optimizer}
    assert {one.train.steps for one in found} == {study.steps}
    rows = study.template.rollout.rows
    for one in found:
        if one.kind == "preference":
            sequences = 2 if one.method in scripts.study.PREFERENCE else 1
            assert one.batch_size * sequences == rows


def test_runs_of_a_seed_learn_from_the_same_completions(scripts):
    study = scripts.study.standard()
    assert study.run("rft", 2).samples_from == study.path("dpo-2")
    assert study.run("rft", 2).sampling == study.run("dpo", 2).sampling
    assert study.run("dpo", 2).samples_from is None


def test_means_and_errors(scripts):
    found = scripts.outputs.spread([0.1, 0.2, 0.6])
    assert found["mean"] == pytest.approx(0.3)
    assert found["standard_error"] == pytest.approx(np.sqrt(0.07 / 3))
    assert scripts.outputs.cell(found) == "30.0 ± 15.3"
    assert scripts.outputs.cell(scripts.outputs.spread([0.123, None])) == "12.3"
    assert scripts.outputs.cell(scripts.outputs.spread([None])) == "–"


def test_a_table_for_a_page(scripts):
    text = scripts.outputs.Sheet("What.", ("", "a"), [("x", "1")]).markdown()
    assert text == "What.\n\n|  | a |\n| --- | --- |\n| x | 1 |\n"


@pytest.mark.parametrize("shape", [(48, 2, 8), (24, 16)])
def test_controls_of_rank_are_as_large_as_the_update(scripts, shape):
    name = "layers/0/query" if len(shape) == 3 else "layers/0/gate"
    delta = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for control, rank in ((scripts.rank.noise, 16), (scripts.rank.rank_one, 1)):
        made = control(name, delta)
        assert made.shape == shape
        assert np.linalg.norm(made) == pytest.approx(np.linalg.norm(delta), rel=1e-5)
        assert not np.array_equal(made, delta)
        assert np.linalg.matrix_rank(made.reshape(shape[0], -1)) == rank


@pytest.mark.slow
def test_two_scripts_from_nothing_to_results(scripts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    toy = scripts.study.quick(tmp_path)
    study = dataclasses.replace(toy, methods=("grpo", "sft"), workers=0)
    found = scripts.sparsity.main(study)
    _check_sparsity(study, found)
    before = {path: path.stat().st_mtime_ns for path in study.root.glob("*/metrics.jsonl")}
    shared = scripts.overlap.main(study)
    _check_overlap(study, shared)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for name, document in (("sparsity", found), ("overlap", shared)):
        written = json.loads((study.results / f"{name}.json").read_text())
        assert written["settings"]["steps"] == study.steps
        assert {key: written[key] for key in document} == json.loads(json.dumps(document))
        assert (study.results / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = (study.results / "sparsity.md").read_text()
    assert table.count("\n|") == 2 + 1 + len(found["methods"])
    assert "GRPO, stored in bf16" in table
    assert "written" in capsys.readouterr().out


def _check_sparsity(study, found):
    assert set(found["methods"]) == {*study.methods, "grpo-bf16", "sft-bf16"}
    one = found["methods"]["grpo"]["single"]["grpo-0"]
    together = list(
        pairs(open_checkpoint(study.path("base")), open_checkpoint(study.path("grpo-0")))
    )
    before, after = (
        np.concatenate([np.ravel(part[1][side]) for part in together]) for side in (0, 1)
    )
    assert one["sparsity"]["exact"] == pytest.approx(np.mean(before == after))
    assert one["sparsity"]["absolute"] == pytest.approx(np.mean(np.abs(after - before) <= 1e-5))
    assert one["norm"] == pytest.approx(np.linalg.norm(after - before), rel=1e-4)
    for row in found["methods"].values():
        shares = {mode: value["mean"] for mode, value in row["sparsity"].items()}
        assert shares["exact"] <= shares["absolute"] < 1
        assert shares["exact"] <= shares["bf16_exact"] <= shares["paper"]
    stored = found["methods"]["sft-bf16"]["sparsity"]
    assert stored["exact"] == stored["bf16_exact"]
    assert 0 < found["base"]["sampled"] < 1


def _check_overlap(study, found):
    for part in found["settings_compared"].values():
        for words, group in part["groups"].items():
            (first, second), observed = group["changed"], group["observed"]
            for i in range(len(group["pairs"])):
                o1, o2 = (observed[name]["values"][i] for name in ("o1", "o2"))
                assert o1 * first["values"][i] == pytest.approx(o2 * second["values"][i]), words
                random = group["nulls"]["uniform"]["o1"]["values"][i]
                assert random == pytest.approx(second["values"][i])
    most = list(found["settings_compared"].values())[1]
    changed = 1 - np.array(most["total"]["sparsity"])
    assert changed.mean() == pytest.approx(0.2, abs=1e-3)
