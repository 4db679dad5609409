"""Online RL of diffusion policies as a run: it learns, resumes exactly, and runs on a mesh."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxreason.data.multimodal.maze_world import MazeWorld
from jaxreason.errors import FailureError, InputError
from jaxreason.models import TransformerConfig
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.diffusion import reinforcement
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.diffusion.reinforcement_task import check_base, held_out_judges
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig, DiffusionRollouts
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import experiment_from_json, load_run, read_config

BASE = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, count=32, minimum_path_cells=None),
    model=TransformerConfig(0, 1, 16, 2, 1, 8, 32, attention="bidirectional"),
    rows={"plan": 4, "draw_solution": 4},
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, total_steps=20, b2=0.9),
    train=TrainConfig(steps=20, log_every=10),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        BASE.run(directory, progress=False)
    return str(directory)


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def experiment(base, **fields):
    train = {"steps": 3, "log_every": 1, "save_every": 1} | fields.pop("train", {})
    smoothing = fields.pop("eps", 1e-8)
    rollout = {"prompts": 4, "group": 2} | fields.pop("rollout", {})
    decoding = {"temperature": 1.0, "length": 8, "tokens_per_step": 2, "image_steps": 3}
    # Partial credit, so that a model that has learned nothing has something to learn from.
    reward = {"share": 1.0} if fields.get("task") == "draw_solution" else {"finished": 1.0}
    fields = {"reward": reward, "overrides": {"updates": "2"}} | fields
    return DiffusionReinforcementExperiment(
        base=base,
        problems=16,
        held_out=4,
        rollout=DiffusionRolloutConfig(**rollout),
        decoding=DecodingConfig(**(decoding | fields.pop("decoding", {}))),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=0, total_steps=8, eps=smoothing),
        train=TrainConfig(**train),
        **fields,
    )


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


@pytest.mark.parametrize(
    ("task", "method", "rollout"),
    [
        ("plan", "unigrpo", {"minibatches": 2}),
        pytest.param("draw_solution", "vrpo", {}, marks=pytest.mark.slow),
    ],
)
def test_a_run_cut_after_any_step_continues_to_the_same_bits(base, tmp_path, task, method, rollout):
    whole = experiment(base, task=task, method=method, rollout=rollout, train={"evaluate_every": 3})
    through = whole.run(tmp_path / "whole", progress=False)
    for steps in (1, 3):
        cut = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=steps))
        resumed = cut.run(tmp_path / "cut", progress=False)
    assert_equal(through.state.params, resumed.state.params)
    assert_equal(through.state.optimizer_state, resumed.state.optimizer_state)
    whole_rows, cut_rows = (
        [{k: v for k, v in row.items() if k != "time"} for row in read_metrics(path)]
        for path in (tmp_path / "whole/metrics.jsonl", tmp_path / "cut/metrics.jsonl")
    )
    trained = [row for row in whole_rows if "loss" in row]
    assert trained == [row for row in cut_rows if "loss" in row]
    assert [row["step"] for row in trained] == [1, 2, 3]
    timed = read_metrics(tmp_path / "whole/metrics.jsonl")[-1]["time"]
    assert all(timed[part] > 0 for part in ("sampling", "reward", "scoring", "step", "compile"))

    config = read_config(tmp_path / "whole")
    assert config["algorithm"] == json.loads(json.dumps(dataclasses.asdict(whole.algorithm())))
    assert experiment_from_json(config) == whole
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
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    real = jax.devices
    monkeypatch.setattr(jax, "devices", lambda *given: real(*given)[:4])
    spread = experiment(base, **fields, mesh=MeshConfig(replica=2, fsdp=2))
    together = spread.run(tmp_path / "mesh", progress=False)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("alone", "mesh")]
    for one, other in zip(*rows, strict=True):
        assert one["reward"] == other["reward"]
        assert one["masked"] == pytest.approx(other["masked"])
    a, b = jax.device_get((alone.state.params, together.state.params))
    start = load_run(base).params
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)
    pairs = zip(*map(jax.tree.leaves, (a, start)), strict=True)
    assert max(np.abs(x - y).max() for x, y in pairs) > 1e-4


@pytest.mark.slow
def test_a_score_of_picture_and_text_is_rewarded_beside_the_verdicts(base, tmp_path):
    reward = {"correct": 1.0, "share": 0.5, "colour_words": 0.01}
    drawn = experiment(base, task="draw_solution", reward=reward, train={"evaluate_every": 2})
    dataclasses.replace(drawn, train=dataclasses.replace(drawn.train, steps=2)).run(
        tmp_path, progress=False
    )
    rows = read_metrics(tmp_path / "metrics.jsonl")
    trained = [row for row in rows if "loss" in row]
    assert [row["step"] for row in trained] == [1, 2]
    for row in trained:
        assert 0 < row["colour_words"] <= 100
        expected = sum(weight * row[name] for name, weight in reward.items())
        assert row["reward"] == pytest.approx(expected, rel=1e-4)
    found = [row["evaluation"] for row in rows if "evaluation" in row][-1]
    expected = sum(weight * found[f"held_out_{name}"] for name, weight in reward.items())
    assert found["held_out_reward"] == pytest.approx(expected, rel=1e-5)


def test_a_run_is_not_continued_after_its_preset_has_changed(base, tmp_path, monkeypatch):
    whole = experiment(base, train={"steps": 1})
    whole.run(tmp_path, progress=False)
    changed = dataclasses.replace(DIFFUSION_ALGORITHMS["unigrpo"], clip_low=0.1)
    monkeypatch.setitem(DIFFUSION_ALGORITHMS, "unigrpo", changed)
    more = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=2))
    with pytest.raises(InputError, match=r"algorithm.clip_low \(0.2 then, 0.1 now\)"):
        more.run(tmp_path, progress=False)


@pytest.mark.slow
def test_rows_are_scored_in_as_many_parts_as_there_are_micro_batches(base, tmp_path, monkeypatch):
    fields = {"task": "draw_solution", "train": {"steps": 1}, "eps": 0.1}
    seen = []
    real = reinforcement.noised_log_probabilities

    def watched(model, params, batch, **options):
        seen.append(batch["tokens"].shape[0])
        return real(model, params, batch, **options)

    monkeypatch.setattr(reinforcement, "noised_log_probabilities", watched)
    whole = experiment(base, **fields).run(tmp_path / "whole", progress=False)
    assert set(seen) == {8}
    seen.clear()
    fields["train"] = {"steps": 1, "accumulation": 4}
    parts = experiment(base, **fields).run(tmp_path / "parts", progress=False)
    assert set(seen) == {2}
    a, b = jax.device_get((whole.state.params, parts.state.params))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)


def test_held_out_mazes_are_of_the_world_that_is_trained_on(base):
    for changes, empty in (({}, False), ({"generator": "free_space"}, True)):
        found = held_out_judges(load_run(base), DecodingConfig(), 8, None, changes)
        assert found.keys() == {"held_out", "held_out_sampled"}
        for judge in found.values():
            assert all(judge.source.problem(i).floor.all() for i in range(8)) == empty


def test_words_whose_scores_would_depend_on_padding_are_refused(base):
    run = load_run(base)
    objective = dataclasses.replace(run.experiment.objective, mask_mode="full")
    other = run._replace(experiment=dataclasses.replace(run.experiment, objective=objective))
    with pytest.raises(InputError, match=r"objective\.mask_mode 'full', under which a row depends"):
        check_base(other, base, "plan")
    check_base(other, base, "draw_solution")
    judge = held_out_judges(other, DecodingConfig(), 4, None, {})["held_out"]
    assert judge.mask_mode == "full"


def test_the_first_update_along_a_trace_has_loss_0_ratio_1_and_a_gradient(base, tmp_path):
    fields = {"task": "draw_solution", "method": "trace_rl", "overrides": {"updates": "1"}}
    whole = experiment(base, train={"steps": 1}, **fields)
    whole.run(tmp_path, progress=False)
    row = read_metrics(tmp_path / "metrics.jsonl")[-1]
    # Three steps of the trace reveal all of a picture between them.
    assert row["masked"] == pytest.approx(1 / 3)
    assert row["loss"] == pytest.approx(0, abs=1e-6)
    assert row["ratio"] == pytest.approx(1, abs=1e-6)
    assert row["informative_groups"] > 0
    assert row["gradient_norm"] > 1e-3


def test_every_published_algorithm_can_be_named(base):
    for method in DIFFUSION_ALGORITHMS:
        found = experiment(base, method=method, overrides={}).algorithm()
        assert found == DIFFUSION_ALGORITHMS[method]
    overrides = {"updates": "3", "first_timestep": "10 20", "share_mask_across_group": "true"}
    changed = experiment(base, overrides=overrides).algorithm()
    assert (changed.updates, changed.first_timestep) == (3, (10, 20))
    assert changed.share_mask_across_group


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "unigropo"}, "method is 'unigropo'"),
        ({"task": "draw"}, "task is 'draw'"),
        ({"overrides": {"clip": "0.1"}}, "unknown field 'clip'"),
        ({"overrides": {"updates": "0"}}, "updates=0"),
        ({"overrides": {"timestep_rule": "even"}}, "timestep_rule='even'"),
        ({"rollout": {"group": 1}}, "group=1"),
        ({"rollout": {"minibatches": 3}}, "rollout.minibatches is 3"),
        ({"decoding": {"temperature": 0.0}}, "decoding.temperature is 0"),
        ({"decoding": {"block": 4, "tokens_per_step": 3}}, "does not divide"),
    ],
)
def test_bad_fields_are_named_before_anything_is_loaded(fields, message):
    with pytest.raises(InputError, match=message):
        experiment("nowhere", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "read_plan"}, "was trained on draw_solution, plan"),
        ({"reward": {"clip": 0.1}}, "reward clip is 0.1, but task 'plan' is answered in words"),
        (
            {"task": "draw_solution", "reward": {"image_reward": 0.1}},
            "the reward model is absent; expected image_reward_folder",
        ),
        (
            {"task": "draw_solution", "clip_folder": "clip"},
            "clip_folder is 'clip', but reward has no weight for clip",
        ),
        (
            {"task": "draw_solution", "reward": {"clip": 1.0}, "clip_folder": "nowhere"},
            "the reward model is absent: nowhere is no folder",
        ),
        (
            {"task": "draw_solution", "reward": {"image_reward": 1}, "image_reward_folder": "none"},
            "the reward model is absent: none is no folder",
        ),
        ({"reward": {"beauty": 0.1}}, "'beauty'"),
        ({"problem_changes": {"width": "4"}}, "a 4x3 maze needs"),
        ({"problem_changes": {"split": "test"}}, "'split', which is not to be changed"),
        ({"train": {"accumulation": 3}}, r"8 answers, .* train.accumulation \(3\)"),
    ],
)
def test_what_does_not_fit_the_base_is_refused_before_anything_is_drawn(
    base, tmp_path, monkeypatch, fields, message
):
    monkeypatch.setattr(DiffusionRollouts, "__call__", None)
    with pytest.raises(InputError, match=message):
        experiment(base, **fields).run(tmp_path / "run", progress=False)


def test_a_base_that_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="base is not set"):
        experiment("").run(tmp_path / "run", progress=False)
    with pytest.raises(FailureError, match="nowhere is not a run directory"):
        experiment(str(tmp_path / "nowhere")).run(tmp_path / "run", progress=False)
