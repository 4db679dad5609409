"""What preflight compiles is, word for word, what a run compiles."""

import json
from dataclasses import replace

import jax
import pytest

from jaxreason.data import BatchConfig, MazeData
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import make_mesh
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.image_tokenizer_experiment import ImageTokenizerExperiment
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.preference_experiment import PreferenceExperiment
from jaxreason.training.preflight.programs import planned_programs
from jaxreason.training.program import TrainConfig
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.training.runs import Run
from jaxreason.training.step import Step

MODEL = TransformerConfig(0, 1, 16, 2, 1, 8, 32)
MAZE = MazeExperiment(
    data=MazeData(width=4, height=4, count=64, regime="solution_only"),
    batch=BatchConfig(batch_size=16, length=96),
    model=MODEL,
    loss_chunk=32,
    train=TrainConfig(steps=2, accumulation=2),
)
DIFFUSION = MaskedDiffusionExperiment(
    world=MazeWorld(width=4, height=4, count=64),
    model=replace(MODEL, attention="bidirectional", tied=False),
    rows={"plan": 4, "draw_maze": 4},
    held_out=0,
)


class Stopped(Exception):
    """The run came to its training step."""


def program_of_run(monkeypatch, tmp_path, experiment):
    """The text of the first training step that a run lowers."""
    lower, seen = Step.lower, []

    def stop(step, state, batch):
        seen.append(lower(step, state, batch).as_text())
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(Step, "lower", stop)
        with pytest.raises(Stopped):
            experiment.run(tmp_path / "run", progress=False)
    return seen[0]


@pytest.mark.parametrize("experiment", [MAZE, DIFFUSION], ids=["maze", "diffusion"])
def test_supervised_training(monkeypatch, tmp_path, experiment):
    ran = program_of_run(monkeypatch, tmp_path, experiment)
    (planned,) = planned_programs(experiment, make_mesh(experiment.mesh))
    assert planned.lower().as_text() == ran


def test_reinforcement(monkeypatch, tmp_path):
    model = MAZE.transformer()
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(MAZE.as_json()))
    experiment = ReinforcementExperiment(
        base=str(base),
        problems=32,
        rollout=RolloutConfig(prompts=8, group=2, max_new_tokens=16, epochs=2),
        train=TrainConfig(steps=1),
    )
    run = Run(MAZE, model, model.init(jax.random.key(0)), 0)
    monkeypatch.setattr(ReinforcementExperiment, "load_base", lambda self: run)
    ran = program_of_run(monkeypatch, tmp_path, experiment)
    planned = {one.name: one for one in planned_programs(experiment, make_mesh(experiment.mesh))}
    assert set(planned) == {"policy update", "sampler", "log-probabilities"}
    assert planned["policy update"].lower().as_text() == ran
    # Old policy and reference are scored, and the moments lie beside while they are.
    assert planned["log-probabilities"].calls == 2
    assert planned["policy update"].calls == 2
    assert planned["sampler"].resident["training state"] > planned["sampler"].arguments["rows"]
    # The base, which is the reference too, lies there all the time.
    parameters = planned["policy update"].arguments["parameters"]
    assert all(one.resident["base"] == parameters for one in planned.values())


def test_a_base_in_another_dtype_lies_there_twice(tmp_path):
    base = tmp_path / "config.json"
    base.write_text(json.dumps(MAZE.as_json()))
    experiment = ReinforcementExperiment(
        base=str(tmp_path),
        params_dtype="bfloat16",
        problems=32,
        rollout=RolloutConfig(prompts=8, group=2, max_new_tokens=16),
    )
    first = planned_programs(experiment, make_mesh(experiment.mesh))[0]
    parameters = first.arguments["parameters"]
    assert first.resident == {"base": 2 * parameters, "base as stored": parameters}


def test_the_base_of_supervised_training_stays_on_the_devices():
    mesh = make_mesh(DIFFUSION.mesh)
    (fresh,) = planned_programs(DIFFUSION, mesh)
    (later,) = planned_programs(replace(DIFFUSION, base="run"), mesh)
    assert (fresh.resident, later.resident) == ({}, {"base": later.arguments["parameters"]})


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("dpo", {"tokens", "reference_log_probabilities"}),
        ("kto", {"desirable"}),
        ("sft", {"tokens"}),
    ],
)
def test_preference_learning_is_traced_for_every_kind_of_rows(tmp_path, method, names):
    base = tmp_path / "config.json"
    base.write_text(json.dumps(MAZE.as_json()))
    sampling = SamplingConfig(problems=16, max_new_tokens=16)
    experiment = PreferenceExperiment(base=str(tmp_path), method=method, sampling=sampling)
    (planned,) = planned_programs(experiment, make_mesh(experiment.mesh))
    batch = planned.lower().in_avals[0][1]
    assert names <= set(batch)
    assert batch["tokens"].shape[:-1] == ((32,) if method == "sft" else (32, 2))


def test_image_tokenizers_are_compiled_without_pictures():
    experiment = ImageTokenizerExperiment()
    (planned,) = planned_programs(experiment, make_mesh(experiment.mesh))
    assert planned.lower().in_avals[0][1]["images"].shape[0] == experiment.batch_size
    assert planned.flops is None


def test_a_base_may_be_an_experiment_file_and_must_be_one_or_the_other(tmp_path):
    file = tmp_path / "base.py"
    file.write_text("from jaxreason.training.experiment import MazeExperiment\n"
                    "experiment = MazeExperiment()\n")  # fmt: skip
    experiment = ReinforcementExperiment(base=str(file))
    assert experiment.base_shapes().params["embedding"].shape[0] > 0
    for base, message in (("", "base is not set"), ("nowhere", "may also name the experiment")):
        with pytest.raises(InputError, match=message):
            ReinforcementExperiment(base=base).base_shapes()
