"""Supervised stages of masked diffusion: trained, resumed, continued, found by path and judged."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.held_out import Judge, validation_losses
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import load_run, read_experiment
from jaxreason.types import Completions

ONE = MeshConfig(fsdp=1, replica=1)
TINY = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, minimum_path_cells=None, count=24),
    model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="bidirectional"),
    rows={"draw_maze": 3, "plan": 3, "read_plan": 2},
    decoding=DecodingConfig(block=4, tokens_per_step=2, image_steps=2),
    optimizer=OptimizerConfig(warmup_steps=1, total_steps=4),
    train=TrainConfig(steps=4, log_every=1, save_every=2),
    held_out=0,
)


def change(experiment=TINY, **changes):
    """The experiment with fields changed; those of `train` by their own names."""
    inner = {f.name for f in dataclasses.fields(TrainConfig)} & changes.keys()
    train = dataclasses.replace(experiment.train, **{name: changes.pop(name) for name in inner})
    return dataclasses.replace(experiment, train=train, **changes)


def losses(run):
    """The training losses of a run directory."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of all four steps on eight devices, and its result."""
    directory = tmp_path_factory.mktemp("runs") / "straight"
    return directory, TINY.run(directory, progress=False)


def test_an_experiment_is_rebuilt_from_its_config_json(tmp_path):
    reasoned = change(world=MazeWorld(reasoning="swapped"), base="somewhere", steps=9)
    (tmp_path / "config.json").write_text(json.dumps(reasoned.as_json()))
    assert read_experiment(tmp_path) == reasoned


def test_a_run_stopped_and_resumed_ends_with_the_same_bits(trained, tmp_path):
    _, straight = trained
    change(steps=2).run(tmp_path, progress=False)
    resumed = TINY.run(tmp_path, progress=False)
    jax.tree.map(np.testing.assert_array_equal, straight.state.params, resumed.state.params)


def test_a_run_is_found_by_its_path(trained):
    directory, result = trained
    run = load_run(directory)
    assert (run.step, run.experiment) == (4, TINY)
    jax.tree.map(np.testing.assert_array_equal, run.params, result.state.params)


def test_eight_devices_have_the_losses_of_one(trained, tmp_path):
    directory, _ = trained
    one = jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        patch.setattr(jax, "devices", lambda *_: one)
        TINY.run(tmp_path / "one", progress=False)
    np.testing.assert_allclose(losses(directory), losses(tmp_path / "one"), rtol=1e-5)


def test_a_later_stage_goes_on_from_its_base(trained, tmp_path):
    directory, result = trained
    world = dataclasses.replace(TINY.world, reasoning="correct")
    # A rate of nothing changes nothing: what is stored are the base's parameters.
    still = OptimizerConfig(1e-30, 0, 1, weight_decay=0.0)
    stage = change(world=world, base=str(directory), optimizer=still, steps=1)
    stage.run(tmp_path, progress=False)
    run = load_run(tmp_path)
    assert run.experiment == stage
    jax.tree.map(np.testing.assert_array_equal, run.params, result.state.params)


def test_a_base_with_other_tokens_or_another_shape_is_refused_by_name(trained, tmp_path):
    directory, _ = trained
    other = change(world=MazeWorld(), base=str(directory))
    with pytest.raises(InputError, match=r"3x3 maze world.*5x5 maze world.*world\.width"):
        other.run(tmp_path / "run", progress=False)
    wider = dataclasses.replace(TINY.model, mlp_width=48)
    with pytest.raises(InputError, match=r"model\.mlp_width 32, this experiment 48"):
        change(model=wider, base=str(directory)).run(tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"paint": 1}}, "rows has task 'paint'; expected some of draw_maze"),
        ({"rows": {"plan": -1}}, "rows of plan is -1"),
        ({"rows": {}}, "no task with at least one row"),
        ({"model": TransformerConfig(0, 1, 16, 2, 2, 8, 32)}, "needs 'bidirectional'"),
        ({"held_out": -1}, "held_out is -1"),
    ],
)
def test_fields_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        change(**changes)


def test_rows_that_do_not_split_over_the_devices_are_refused(tmp_path):
    odd = change(rows={"plan": 7}, mesh=MeshConfig(fsdp=8))
    with pytest.raises(InputError, match=r"rows sum to 7; .* replica x fsdp \(8\)"):
        odd.run(tmp_path, progress=False)


def test_a_vocabulary_that_is_not_that_of_the_world_is_refused():
    model = dataclasses.replace(TINY.model, vocabulary_size=10)
    with pytest.raises(InputError, match=r"model\.vocabulary_size is 10, but mazes of 3x3"):
        change(model=model).transformer()


def test_answers_to_every_task_are_judged_one_by_one(trained):
    directory, _ = trained
    run = load_run(directory)
    judge = Judge(run.experiment, run.model, mazes=5, batch=3)
    for task in ("plan", "read_plan", "draw_maze"):
        answered = judge.answer(run.params, task)
        assert answered.judgement.values.shape == (5,)
        assert len(answered.problems) == 5
    assert answered.pictures.codes.shape == (5, 9)
    # The maze drawn is the maze judged: the truth, drawn, is right.
    source = judge.source
    truth = np.stack([source.codes(i) for i in range(5)])
    assert source.judge("draw_maze", answered.problems, truth).values.all()
    share = answered.judgement.breakdown["share"]
    right = answered.pictures.codes == truth
    np.testing.assert_allclose(share, right.mean(axis=1), rtol=1e-6)


def test_the_loss_on_held_out_rows_drops_as_many_texts_as_training():
    """Seen by how many tokens of the rows are no padding."""

    def objective(params, batch, key):
        return 0.0, {"seen": (batch["keys"].sum(), 1)}

    def seen(share):
        rows = {"draw_maze": 4}
        return validation_losses(objective, TINY.source, rows, None, share)({})["validation_seen"]

    assert seen(1.0) < seen(0.5) < seen(0.0)


def test_prompts_of_any_length_come_in_few_widths():
    kind = {"generator": "searchformer", "width": 4, "height": 4}
    world = dataclasses.replace(TINY.world, description="list", **kind)
    experiment = change(world=world, rows={"plan": 8})
    judge = Judge(experiment, experiment.transformer(), mazes=6, batch=1)
    widths, lengths, eos = [], [], judge.source.vocabulary.eos

    def sampler(params, prompts, key):
        widths.append(prompts["tokens"].shape[1])
        lengths.append(int(prompts["lengths"][0]))
        nothing = np.full((1, 2), eos)
        return Completions(nothing, np.zeros((1, 2)), np.ones(1, int), np.ones(1, bool))

    judge.answer({}, "plan", sampler=sampler)
    assert any(n % 8 for n in lengths)
    assert all(width % 8 == 0 for width in widths)
    assert all(0 <= width - n < 8 for width, n in zip(widths, lengths, strict=True))


def test_evaluations_give_losses_and_verdicts_by_task(trained, tmp_path):
    rows = {"draw_maze": 8}
    directory, _ = trained
    e = change(rows=rows, steps=1, evaluate_every=1, held_out=3, base=str(directory))
    e.run(tmp_path, progress=False)
    (found,) = [
        row["evaluation"]
        for row in map(json.loads, (tmp_path / "metrics.jsonl").open())
        if "evaluation" in row
    ]
    assert found["held_out_mazes"] == 3
    assert found["held_out_draw_maze"] <= found["held_out_draw_maze_share"] <= 1
    assert found["validation_loss"] == pytest.approx(found["validation_loss_t2i"], rel=0.01)
