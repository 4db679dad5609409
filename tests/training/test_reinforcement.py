"""Online RL as a run: every kind of algorithm learns, resumes exactly, and runs on a mesh."""

import dataclasses

import jax
import numpy as np
import pytest
from rl_base import make_base

from jaxreason.errors import FailureError, InputError
from jaxreason.objectives.algorithms import ALGORITHMS
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.post_training import problem_source
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig, RolloutSource
from jaxreason.training.runs import load_run


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def experiment(base, **fields):
    train = {"steps": 3, "log_every": 1, "save_every": 1} | fields.pop("train", {})
    smoothing = fields.pop("eps", 1e-8)
    rollout = {"prompts": 4, "group": 4, "max_new_tokens": 24} | fields.pop("rollout", {})
    return ReinforcementExperiment(
        base=base,
        problems=32,
        held_out=8,
        rollout=RolloutConfig(**rollout),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=0, total_steps=8, eps=smoothing),
        train=TrainConfig(**train),
        **fields,
    )


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


# One algorithm of each shape; the objectives of all are tested on their own.
SHAPES = {
    "grpo": {"epochs": 2, "minibatches": 2},
    "rloo": {},
    "ppo": {"minibatches": 2},
    "prime": {},
}


@pytest.mark.parametrize(
    "method",
    ["grpo", *(pytest.param(n, marks=pytest.mark.slow) for n in ("rloo", "ppo", "prime"))],
)
def test_a_run_cut_after_any_step_continues_to_the_same_bits(base, tmp_path, method):
    whole = experiment(base, method=method, rollout=SHAPES[method])
    through = whole.run(tmp_path / "whole", progress=False)
    for steps in (1, 3):
        cut = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=steps))
        resumed = cut.run(tmp_path / "cut", progress=False)
    assert_equal(through.state.params, resumed.state.params)
    assert_equal(through.state.optimizer_state, resumed.state.optimizer_state)
    if method in ("ppo", "prime"):
        assert_equal(through.state.auxiliary.params, resumed.state.auxiliary.params)
    rows = [
        [{k: v for k, v in row.items() if k != "time"} for row in read_metrics(path)]
        for path in (tmp_path / "whole/metrics.jsonl", tmp_path / "cut/metrics.jsonl")
    ]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == [1, 2, 3]

    row = rows[0][-1]
    cells = [value for name, value in row.items() if name.startswith("trace_") and "plan" in name]
    assert len(cells) == 4
    assert sum(cells) == pytest.approx(1)
    assert row["reward"] <= row["plan_valid"]
    timed = read_metrics(tmp_path / "whole/metrics.jsonl")[-1]["time"]
    assert all(timed[part] > 0 for part in ("sampling", "reward", "scoring", "step", "compile"))

    run = load_run(tmp_path / "whole")
    assert run.step == 3
    assert_equal(run.params, through.state.params)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), run.params, load_run(base).params)
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.slow
def test_a_mesh_gives_the_same_rollouts_and_nearly_the_same_parameters(base, tmp_path, monkeypatch):
    # Adam with a tiny eps would turn rounding in tiny gradients into whole steps.
    fields = {"train": {"steps": 2}, "eps": 0.1}
    alone = experiment(base, **fields).run(tmp_path / "alone", progress=False)
    monkeypatch.undo()
    spread = experiment(base, **fields, mesh=MeshConfig(replica=2, fsdp=2, tensor=2))
    together = spread.run(tmp_path / "mesh", progress=False)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("alone", "mesh")]
    for one, other in zip(*rows, strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["reward"] == other["reward"]
    a, b = jax.device_get((alone.state.params, together.state.params))
    start = load_run(base).params
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)
    assert (
        max(np.abs(x - y).max() for x, y in zip(*map(jax.tree.leaves, (a, start)), strict=True))
        > 1e-3
    )


@pytest.mark.slow
def test_parameters_stored_in_bfloat16_keep_moments_in_float32(base, tmp_path):
    result = experiment(base, params_dtype="bfloat16").run(tmp_path, progress=False)
    assert {x.dtype.name for x in jax.tree.leaves(result.state.params)} == {"bfloat16"}
    floats = [x for x in jax.tree.leaves(result.state.optimizer_state) if x.ndim]
    assert {x.dtype.name for x in floats} == {"float32"}
    # Found by its path, it holds the same numbers in float32.
    found = load_run(tmp_path).params
    assert {x.dtype.name for x in jax.tree.leaves(found)} == {"float32"}
    assert_equal(found, jax.tree.map(lambda x: x.astype("float32"), result.state.params))


def test_every_published_algorithm_can_be_named(base):
    for method in ALGORITHMS:
        assert experiment(base, method=method).algorithm() == ALGORITHMS[method]
    changed = experiment(
        base, method="grpo", overrides={"clip_high": "0.3", "dual_clip": "3", "kl_estimator": "k2"}
    ).algorithm()
    assert (changed.clip_high, changed.dual_clip, changed.kl_estimator) == (0.3, 3.0, "k2")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "grop"}, "method is 'grop'"),
        ({"overrides": {"clip": "0.1"}}, "unknown field 'clip'"),
        ({"overrides": {"clip_high": "wide"}}, "clip_high is 'wide'"),
        ({"overrides": {"kl_estimator": "k9"}}, "kl_estimator='k9'"),
        ({"rollout": {"group": 1}}, "group=1"),
        ({"params_dtype": "float16"}, "params_dtype is 'float16'"),
        ({"mask_placement": "weights"}, "mask_placement is 'weights'"),
        ({"auxiliary_rate": 0.0}, "auxiliary_rate is 0"),
        ({"method": "dapo", "overrides": {"overlong_buffer": "25"}}, "overlong_buffer=25"),
    ],
)
def test_bad_fields_are_named_before_anything_is_loaded(fields, message):
    with pytest.raises(InputError, match=message):
        experiment("nowhere", **fields)


def test_what_an_update_cannot_hold_is_refused_before_anything_is_drawn(
    base, tmp_path, monkeypatch
):
    monkeypatch.setattr(RolloutSource, "draw", None)
    with pytest.raises(InputError, match=r"8 completions, .* train.accumulation \(3\)"):
        experiment(base, rollout={"minibatches": 2}, train={"accumulation": 3}).run(tmp_path)


def test_a_base_that_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="base is not set"):
        experiment("").run(tmp_path / "run", progress=False)
    with pytest.raises(FailureError, match="nowhere is not a run directory"):
        experiment(str(tmp_path / "nowhere")).run(tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": "3", "height": "3"}, "other than the 34 words the base was trained on"),
        ({"width": "6", "height": "6"}, "other than the 34 words the base was trained on"),
        ({"split": "test"}, "'split', which is not to be changed"),
        ({"wall_fraction": "0.3"}, "wall_fraction is '0.3': expected 2 values"),
        ({"walls": "0.3"}, "unknown field 'walls'"),
    ],
)
def test_problems_that_the_base_cannot_read_are_refused(base, changes, message):
    with pytest.raises(InputError, match=message):
        problem_source(load_run(base), 8, changes)


def test_problems_may_differ_from_those_of_the_base(base):
    changes = {"generator": "drunkards_walk", "coverage": "0.6", "wall_fraction": "0.2, 0.4"}
    data = problem_source(load_run(base), 8, changes).config
    assert (data.generator, data.coverage) == ("drunkards_walk", 0.6)
    assert data.wall_fraction == (0.2, 0.4)
    assert (data.split, data.count) == ("train", 8)
