"""Preference learning as a run: every method learns from its data, resumes exactly, is found."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from rl_base import make_base

from jaxreason.errors import FailureError, InputError
from jaxreason.rewards import Reward
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training import preference_data
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preference_experiment import (
    METHODS,
    PreferenceExperiment,
    balanced_weight,
)
from jaxreason.training.runs import experiment_from_json, load_run
from jaxreason.training.stored_batches import digest, read_arrays


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def easy_verifier(monkeypatch):
    """Right is what ended early: the small base does both, and can learn to."""

    def reward(self, problems, completions):
        values = np.asarray(completions.finished) & (np.asarray(completions.lengths) % 2 == 0)
        return Reward(values.astype(np.float32), {})

    monkeypatch.setattr(MazeExperiment, "reward", reward)


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def experiment(base, method="dpo", **fields):
    train = {"steps": 12, "log_every": 12} | fields.pop("train", {})
    sampling = {"problems": 24, "samples": 6, "batch": 12, "max_new_tokens": 24}
    return PreferenceExperiment(
        base=base,
        method=method,
        batch_size=8,
        held_out=8,
        sampling=SamplingConfig(**sampling | fields.pop("sampling", {})),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=0, total_steps=12),
        train=TrainConfig(**train),
        **fields,
    )


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


# Their losses and gradients are tested on their own.
SLOW = ("dpo_norm", "ipo", "kto", "orpo", "simpo")


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[pytest.mark.slow] if m in SLOW else []) for m in METHODS]
)
def test_a_method_learns_what_it_is_meant_to(base, tmp_path, method):
    """On all of its training data: less loss, a larger margin or gap of rewards."""
    whole = experiment(base, method)
    result = whole.run(tmp_path, progress=False)
    start = load_run(base)
    arrays, _ = read_arrays(tmp_path / "data.npz")
    objective = whole.objective(start.model, balanced_weight(arrays, 1.0))
    measure = jax.jit(lambda params: objective(params, arrays, None)[1])

    def means(params):
        return {name: total / count for name, (total, count) in measure(params).items()}

    before, after = means(start.params), means(result.state.params)
    assert after["loss"] < before["loss"]
    if METHODS[method].rows == "pairs":
        assert after["margin"] > before["margin"]
    if method == "kto":
        assert before["desirable_reward"] == pytest.approx(0, abs=1e-4)
        assert after["desirable_reward"] > after["undesirable_reward"]


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("dpo", {"params_dtype": "bfloat16", "train": {"accumulation": 2}}),
        pytest.param("kto", {}, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_cut_goes_on_to_the_same_bits(base, tmp_path, monkeypatch, method, fields):
    fields["train"] = {"steps": 4, "log_every": 1} | fields.get("train", {})
    whole = experiment(base, method, **fields)
    through = whole.run(tmp_path / "whole", progress=False)
    cut = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=3))
    cut.run(tmp_path / "cut", progress=False)
    stored = (tmp_path / "cut/data.npz").read_bytes()
    # Nothing is drawn again.
    monkeypatch.setattr(preference_data, "_draw", None)
    resumed = whole.run(tmp_path / "cut", progress=False)
    assert (tmp_path / "cut/data.npz").read_bytes() == stored
    assert_equal(through.state.params, resumed.state.params)
    assert_equal(through.state.optimizer_state, resumed.state.optimizer_state)
    if fields.get("params_dtype") == "bfloat16":
        assert {x.dtype.name for x in jax.tree.leaves(through.state.params)} == {"bfloat16"}
        moments = [x for x in jax.tree.leaves(through.state.optimizer_state) if x.ndim]
        assert {x.dtype.name for x in moments} == {"float32"}


def test_policy_and_reference_agree_at_the_start(base, tmp_path):
    """Also when the run starts from parameters rounded to bfloat16."""
    one = experiment(base, params_dtype="bfloat16", train={"steps": 1, "log_every": 1})
    one.run(tmp_path, progress=False)
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["margin"] == pytest.approx(0, abs=1e-4)
    assert row["loss"] == pytest.approx(np.log(2), abs=1e-4)


def test_a_run_is_found_by_its_path_and_says_what_it_came_from(base, tmp_path):
    whole = experiment(base, "simpo", train={"steps": 1, "evaluate_every": 1})
    result = whole.run(tmp_path, progress=False)
    evaluated = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "evaluation" in row]
    assert [row["step"] for row in evaluated] == [0, 1]
    assert all(0 <= row["evaluation"]["held_out_reward"] <= 1 for row in evaluated)
    found = load_run(tmp_path)
    assert found.step == 1
    assert found.experiment == load_run(base).experiment
    assert_equal(found.params, result.state.params)
    config = json.loads((tmp_path / "config.json").read_text())
    assert experiment_from_json(config) == whole
    _, about = read_arrays(tmp_path / "data.npz")
    summary = about["summary"]
    assert summary["problems"] == 24
    assert summary["samples"] == 24 * 6
    assert 0 < summary["right"] < 1


def test_completions_are_drawn_once_for_several_methods(base, tmp_path, monkeypatch):
    first = experiment(base, "rft", train={"steps": 1})
    first.run(tmp_path / "first", progress=False)
    monkeypatch.setattr(preference_data, "_draw", None)
    taken = experiment(base, "rft", train={"steps": 1}, samples_from=str(tmp_path / "first"))
    taken.run(tmp_path / "taken", progress=False)
    same = [read_arrays(tmp_path / name / "data.npz")[0] for name in ("first", "taken")]
    assert digest(same[0]) == digest(same[1])

    other = dataclasses.replace(taken, sampling=dataclasses.replace(taken.sampling, seed=1))
    with pytest.raises(InputError, match="completions were drawn with another seed; use"):
        other.run(tmp_path / "other", progress=False)
    absent = dataclasses.replace(taken, samples_from=str(tmp_path))
    with pytest.raises(InputError, match=r"which has no samples\.npz"):
        absent.run(tmp_path / "other", progress=False)


def test_off_policy_pairs_choose_the_solutions_of_the_data(base, tmp_path):
    experiment(base, pairs="off_policy", train={"steps": 1}).run(tmp_path, progress=False)
    arrays, _ = read_arrays(tmp_path / "data.npz")
    source = load_run(base).experiment.source(count=24)
    shown = {tuple(source[i]["tokens"].tolist()) for i in range(24)}
    for tokens, segments in zip(arrays["tokens"][:, 0], arrays["segments"][:, 0], strict=True):
        assert tuple(tokens[segments == 1].tolist()) in shown


@pytest.mark.slow
def test_a_mesh_changes_nothing_but_rounding(base, tmp_path, monkeypatch):
    straight = experiment(base, train={"steps": 2}).run(tmp_path / "one", progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(MazeExperiment, "reward", lambda *a: None)  # not drawn again
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh/data.npz").write_bytes((tmp_path / "one/data.npz").read_bytes())
    split = experiment(base, train={"steps": 2}, mesh=MeshConfig(fsdp=4, tensor=2))
    result = split.run(tmp_path / "mesh", progress=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        jax.device_get(result.state.params),
        jax.device_get(straight.state.params),
    )


def test_data_of_other_settings_are_made_again_and_lost_data_must_come_out_equal(base, tmp_path):
    first = experiment(base, "sft", train={"steps": 1})
    first.run(tmp_path, progress=False)
    (tmp_path / "data.npz").unlink()
    longer = dataclasses.replace(first, train=dataclasses.replace(first.train, steps=2))
    assert int(longer.run(tmp_path, progress=False).state.step) == 2
    path = tmp_path / "data.npz"
    arrays, about = read_arrays(path)
    preference_data.write_arrays(path, {**arrays, "tokens": arrays["tokens"] + 1}, about)
    longer = dataclasses.replace(first, train=dataclasses.replace(first.train, steps=3))
    with pytest.raises(InputError, match="the saved data position belongs to data with content"):
        longer.run(tmp_path, progress=False)
    # A base that was trained on would give other data: those there are kept.
    preference_data.write_arrays(path, arrays, {**about, "identity": {"base": [0]}})
    with pytest.raises(InputError, match=r"was made with another .*base.* has checkpoints"):
        longer.run(tmp_path, progress=False)
    assert digest(read_arrays(path)[0]) == digest(arrays)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "ppo"}, "method is 'ppo'; expected one of dpo, "),
        ({"method": "simpo", "label_smoothing": 0.1}, "'simpo' does not use it; leave it at 0.0"),
        ({"method": "sft", "beta": 0.1}, "beta is 0.1, but method 'sft' does not use it"),
        ({"method": "dpo", "beta": -0.1}, "beta is -0.1; expected a positive number"),
        ({"method": "dpo", "pairs": "both"}, "pairs is 'both'; expected one of on_policy"),
        ({"method": "kto", "train": {"accumulation": 2}}, "train.accumulation is 2; the baseline"),
        ({"method": "dpo", "per_problem": 0}, "per_problem is 0; it must be at least 1"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        experiment("somewhere", **fields)


def test_what_cannot_be_trained_is_refused_before_anything_is_drawn(base, tmp_path, monkeypatch):
    monkeypatch.setattr(preference_data, "_draw", None)
    with pytest.raises(InputError, match="base is not set"):
        experiment("").run(tmp_path)
    with pytest.raises(FailureError, match="is not a run directory"):
        experiment(str(tmp_path)).run(tmp_path)
    with pytest.raises(InputError, match="batch_size is 8; it must be a multiple of"):
        experiment(base, train={"accumulation": 3}).run(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another directory"):
        experiment(base).run(tmp_path / "file")


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("dpo", 0, r"0\.0 % of the samples are right, and a right and a wrong sample of one"),
        ("kto", 1, r"100\.0 % of the samples are right, and right and wrong samples are needed"),
        ("rft", 0, r"0\.0 % of the samples are right, and a right sample is needed"),
    ],
)
def test_samples_that_teach_nothing_are_bad_input(
    base, tmp_path, monkeypatch, method, value, message
):
    def reward(self, problems, completions):
        return Reward(np.full(len(problems), value, np.float32), {})

    monkeypatch.setattr(MazeExperiment, "reward", reward)
    with pytest.raises(InputError, match=message):
        experiment(base, method).run(tmp_path, progress=False)
