"""Checkpoints that cannot be read for a reason outside of them are left where they are."""

import errno
import json
from types import SimpleNamespace

import jax
import pytest
import training_toy as toy

from jaxreason.data import MazeData
from jaxreason.errors import FailureError
from jaxreason.paths import as_path
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training import checkpoint_reading, runs
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps
from jaxreason.training.checkpoint_reading import Damaged, Unreachable, _unreadable, alike
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.metrics import MetricsFile, read_metrics
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.program import _Part
from jaxreason.training.state import abstract_state, init_state

OPTIMIZER = make_optimizer(toy.OPTIMIZER)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(checkpoint_reading, "_PAUSES", (0.0, 0.0))


LOCAL, REMOTE = "/runs/one/checkpoints/8", "memory://bucket/one/checkpoints/8"


@pytest.mark.parametrize(
    ("path", "error", "kind"),
    [
        (LOCAL, ValueError("DATA_LOSS: a chunk is truncated"), Damaged),
        (LOCAL, ValueError("NOT_FOUND: no such key"), Damaged),
        (LOCAL, FileNotFoundError(errno.ENOENT, "No such file"), Damaged),
        (LOCAL, KeyError("json"), Damaged),
        (LOCAL, OSError(errno.ESTALE, "Stale file handle"), Unreachable),
        (LOCAL, OSError(errno.EIO, "Input/output error"), Unreachable),
        (LOCAL, ValueError("UNAVAILABLE: Error reading"), Unreachable),
        (LOCAL, ValueError("DEADLINE_EXCEEDED"), Unreachable),
        (LOCAL, PermissionError(errno.EACCES, "Permission denied"), FailureError),
        (LOCAL, ValueError("UNAUTHENTICATED: token"), FailureError),
        (LOCAL, ValueError("RESOURCE_EXHAUSTED: out of memory"), FailureError),
        (REMOTE, ValueError("DATA_LOSS: a chunk is truncated"), Damaged),
        (REMOTE, json.JSONDecodeError("Expecting value", "{", 1), Damaged),
        (REMOTE, ValueError("UNAVAILABLE: Error reading"), Unreachable),
        (REMOTE, RuntimeError("Could not reach the token endpoint"), Unreachable),
        (REMOTE, FileNotFoundError(errno.ENOENT, "No such file"), Unreachable),
    ],
)
def test_what_is_damage_and_what_lies_outside(path, error, kind):
    outer = RuntimeError("no handler could load it")  # as Orbax does
    outer.__cause__ = error
    for raised in (error, outer):
        reason = _unreadable(path, raised)
        assert type(reason) is kind
        assert f"{type(error).__name__}: " in str(reason)
        assert "left alone" in str(reason) or kind is Damaged


def everyone(monkeypatch, others):
    """This is process 0; `others` gives what process 1 finds, attempt by attempt."""
    found = iter(others)
    monkeypatch.setattr(checkpoint_reading, "agree", lambda mine: [mine, next(found)])


def broken(path):
    raise Damaged("it has no metadata")


def intact(path):
    return {"step": 8}


def test_damage_that_all_processes_see_is_damage(monkeypatch):
    everyone(monkeypatch, [[True, "no metadata there"]])
    with pytest.raises(Damaged, match="it has no metadata"):
        alike(broken, LOCAL)


def test_what_only_one_process_cannot_read_is_no_damage(monkeypatch):
    everyone(monkeypatch, [[True, "FileNotFoundError: no such file"]] * 3)
    with pytest.raises(FailureError, match=r"process 1 cannot read .*/8 .*which process 0 can"):
        alike(intact, LOCAL)
    everyone(monkeypatch, [None] * 3)
    with pytest.raises(FailureError, match=r"process 0 cannot read .*/8 .*which process 1 can"):
        alike(broken, LOCAL)


def test_a_view_that_was_old_is_read_again(monkeypatch):
    everyone(monkeypatch, [[True, "FileNotFoundError: no such file"], None])
    assert alike(intact, LOCAL) == {"step": 8}


def test_a_reason_outside_is_no_damage_though_another_process_says_so(monkeypatch):
    everyone(monkeypatch, [[False, "gs://b could not be read"]] * 3)
    with pytest.raises(FailureError, match="gs://b could not be read"):
        alike(broken, LOCAL)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    run = tmp_path_factory.mktemp("reach")
    checkpoints = Checkpoints(run)
    for step in (1, 2):
        state = init_state(toy.init, OPTIMIZER, jax.random.key(step))
        extra = {"step": step, "sums": None}
        checkpoints.save(state._replace(step=state.step + step), extra, {"index": step})
    checkpoints.close()
    return run


@pytest.mark.parametrize("times", [1, 99])
def test_a_disk_that_fails_for_a_moment_costs_nothing_and_one_that_stays_away_no_checkpoint(
    saved, monkeypatch, times
):
    load, failed = checkpoint_reading.ocp.load_checkpointables, []

    def stale(*arguments):
        if len(failed) < times:
            failed.append(arguments)
            raise OSError(errno.ESTALE, "Stale file handle")
        return load(*arguments)

    monkeypatch.setattr(checkpoint_reading.ocp, "load_checkpointables", stale)
    checkpoints = Checkpoints(saved, warn=pytest.fail)
    try:
        if times == 1:
            assert checkpoints.restore(abstract_state(toy.init, OPTIMIZER))[1]["step"] == 2
        else:
            with pytest.raises(FailureError, match=r"Stale file handle.*left alone"):
                checkpoints.restore(abstract_state(toy.init, OPTIMIZER))
    finally:
        checkpoints.close()
    assert checkpoint_steps(saved) == [1, 2]


def test_several_processes_start_again_when_a_checkpoint_cannot_be_reached(saved, monkeypatch):
    def stale(*arguments):
        raise OSError(errno.ESTALE, "Stale file handle")

    def ended(sentence):
        raise SystemExit(sentence)

    monkeypatch.setattr(checkpoint_reading.ocp, "load_checkpointables", stale)
    monkeypatch.setattr("jaxreason.training.checkpoint.end_lost", ended)
    checkpoints = Checkpoints(saved, warn=pytest.fail)
    # Only here: the real collectives need real processes.
    for module in ("checkpoint", "checkpoint_reading"):
        monkeypatch.setattr(f"jaxreason.training.{module}.agree", lambda item: [item])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    try:
        with pytest.raises(SystemExit, match=r"Stale file handle.*left alone"):
            checkpoints.restore(abstract_state(toy.init, OPTIMIZER))
    finally:
        monkeypatch.undo()
        checkpoints.close()
    assert checkpoint_steps(saved) == [1, 2]


def test_process_0_says_which_checkpoint_of_a_base_all_read(tmp_path, monkeypatch):
    asked = []

    def load(directory, abstract, step):
        asked.append(step)
        raise FailureError("enough")

    experiment = MazeExperiment(data=MazeData(width=5, height=5))
    (tmp_path / "config.json").write_text(json.dumps(experiment.as_json()))
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)  # process 0 does not see it yet
    monkeypatch.setattr(runs, "load_params", load)
    monkeypatch.setattr(runs, "agree", lambda step: [8, step])
    for step in (None, 12):
        with pytest.raises(FailureError, match="enough"):
            runs.load_run(tmp_path, step, mesh=make_mesh(MeshConfig(fsdp=8)))
    assert asked == [8, 12]


def test_the_rows_before_an_error_reach_an_object_store():
    file = MetricsFile(as_path("memory://rows-before-an-error/run"), 0)
    part = _Part(*[None] * len(_Part._fields))
    file.write({"step": 3, "loss": 1.0})
    with pytest.raises(FailureError, match="not finite"), part.closed(file):
        raise FailureError("not finite in 3 steps")
    assert [
        row["step"] for row in read_metrics("memory://rows-before-an-error/run/metrics.jsonl")
    ] == [3]


def test_rows_that_cannot_be_written_do_not_hide_the_error():
    class Full:
        def close(self):
            raise OSError("no route to the store")

    said = []
    part = _Part(*[None] * len(_Part._fields))._replace(display=SimpleNamespace(note=said.append))
    with pytest.raises(FailureError, match="not finite"), part.closed(Full()):
        raise FailureError("not finite in 3 steps")
    assert said == ["the last rows of metrics.jsonl were not written: no route to the store"]
