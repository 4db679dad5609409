"""Runs of language models are compiled ahead from shapes, the same programs that they run."""

import json
from dataclasses import replace

import jax
import pytest
from test_same_program import program_of_run
from tiny_models import write_tiny_model

from jaxreason.data import BatchConfig
from jaxreason.errors import InputError
from jaxreason.sharding.mesh import make_mesh
from jaxreason.training.language import (
    LanguagePreference,
    LanguageReinforcement,
    LanguageSupervised,
)
from jaxreason.training.loop import TrainConfig
from jaxreason.training.preflight.programs import planned_programs
from jaxreason.training.rollouts import RolloutConfig

SUPERVISED = LanguageSupervised(
    batch=BatchConfig(batch_size=16, length=64), train=TrainConfig(steps=1), held_out=1
)
PREFERENCE = LanguagePreference(
    length=96, batch_size=8, held_out=1, overflow="error", train=TrainConfig(steps=1)
)
REINFORCEMENT = LanguageReinforcement(
    base="qwen2_0_5b", prompt_tokens=64, rollout=RolloutConfig(8, 2, 64), buckets=1
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("tokenizers")
    found = tmp_path_factory.mktemp("base")
    write_tiny_model(found / "base", layers=1)
    rows = [{"prompt": "a", "completion": "b"}] * 64
    pairs = [{"prompt": "a", "chosen": "b" * 40, "rejected": "c"}] * 64
    for name, lines in (("chats", rows), ("pairs", pairs)):
        (found / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


@pytest.mark.slow
def test_supervised_and_preference_runs_compile_what_was_planned(folder, monkeypatch, tmp_path):
    for experiment, data in ((SUPERVISED, "chats"), (PREFERENCE, "pairs")):
        e = replace(
            experiment,
            base=str(folder / "base"),
            data=replace(experiment.data, path=str(folder / f"{data}.jsonl")),
        )
        ran = program_of_run(monkeypatch, tmp_path / data, e)
        (planned,) = planned_programs(e, make_mesh(e.mesh))
        assert planned.lower().as_text() == ran
        assert planned.resident["base"] == planned.arguments["parameters"]


def test_reinforcement_is_planned_from_the_name_of_published_weights():
    planned = {
        one.name: one for one in planned_programs(REINFORCEMENT, make_mesh(REINFORCEMENT.mesh))
    }
    assert set(planned) == {"policy update", "sampler", "log-probabilities"}
    held = planned["policy update"]
    devices = jax.device_count()
    parameters = 494_032_768
    assert held.arguments["parameters"] == pytest.approx(4 * parameters / devices, rel=0.01)
    # The published weights are in bfloat16, what is trained begins as float32.
    assert held.resident["base"] == pytest.approx(2 * parameters / devices, rel=0.01)
    assert held.resident["base as stored"] == held.arguments["parameters"]
    assert planned["sampler"].lower().in_avals[0][1]["tokens"].shape == (8, 64)


def test_a_base_that_is_nowhere_is_named():
    experiment = replace(REINFORCEMENT, base="qwen9")
    with pytest.raises(InputError, match=r"base qwen9 is no run directory.*qwen2_0_5b"):
        planned_programs(experiment, make_mesh(REINFORCEMENT.mesh))
