"""The studies of UniGRPO take a finished run only if it is the one they ask for."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from jaxreason.errors import InputError
from jaxreason.training.runs import load_module

STUDY = load_module(Path(__file__).parents[2] / "experiments/mmada/unigrpo_study.py")


def finished(path, document):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({**document, "origin": {"kind": "any"}}))
    (path / "summary.json").write_text("{}")


def test_a_finished_run_is_reused_only_for_the_same_experiment(tmp_path, monkeypatch):
    study = STUDY.Study(root=tmp_path / "unigrpo", held_out=7)
    wanted = study.reinforcement("plan", 1)
    monkeypatch.setattr(type(wanted), "run", lambda *_: pytest.fail("trained again"))
    before = wanted.as_json()
    finished(tmp_path / "same", {**before, "algorithm": asdict(wanted.algorithm())})
    study.ensure(tmp_path / "same", wanted)
    finished(tmp_path / "older", before)
    study.ensure(tmp_path / "older", wanted)
    for name, other, message in (
        ("seed", study.reinforcement("plan", 2), r"train\.seed \(1 there, 2 wanted\)"),
        (
            "overrides",
            study.reinforcement("plan", 1, overrides={"timestep_rule": "random"}),
            r"overrides\.timestep_rule \('absent' there, 'random' wanted\)",
        ),
        ("task", study.reinforcement("draw_solution", 1), "task "),
    ):
        finished(tmp_path / name, before)
        with pytest.raises(InputError, match=message):
            study.ensure(tmp_path / name, other)
    changed = {**before, "algorithm": {**asdict(wanted.algorithm()), "clip_low": 0.1}}
    finished(tmp_path / "preset", changed)
    with pytest.raises(InputError, match=r"algorithm\.clip_low \(0\.1 there, 0\.2 wanted\)"):
        study.ensure(tmp_path / "preset", wanted)


def test_what_is_not_finished_is_trained(tmp_path, monkeypatch):
    study = STUDY.Study(root=tmp_path / "unigrpo")
    wanted = study.reinforcement("plan", 1)
    trained = []
    monkeypatch.setattr(type(wanted), "run", lambda self, path: trained.append((self, path)))
    study.ensure(tmp_path / "new", wanted)
    assert trained == [(wanted, tmp_path / "new")]
