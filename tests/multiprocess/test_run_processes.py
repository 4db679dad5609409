"""Runs of several real processes: faults end them all alike, and they go on as if nothing happened.

The toy has one fault at most, at batch 6 of process 1, unless a test says otherwise.
"""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from harness import command, environment, run_processes

from jaxreason.training.checkpoint import checkpoint_steps, load_params
from jaxreason.training.metrics import read_metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import training_toy as toy

HERE = Path(__file__).parent
TOY = ["train", HERE / "toy_experiment.py"]
MAZE = ["train", HERE / "maze_experiment.py"]


def launch(run, *options, processes=2, launch_options=()):
    """`jaxreason launch` of the toy, 2 devices to a process."""
    start = ["launch", "--processes", processes, "--devices-per-process", 4 // processes]
    words = [*start, *launch_options, "--", *TOY, "--run", run, *options]
    return subprocess.run(
        command(words), env=environment(), capture_output=True, text=True, check=False, timeout=240
    )


def rows(run):
    """metrics.jsonl without times."""
    found = read_metrics(Path(run) / "metrics.jsonl")
    return [{name: x for name, x in row.items() if name != "time"} for row in found]


def params(run, init=toy.init):
    """The newest parameters, on one device."""
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(init, jax.random.key(0))
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes)
    return jax.device_get(load_params(run, abstract)[0])


def assert_same_run(first, second):
    jax.tree.map(np.testing.assert_array_equal, params(first), params(second))
    assert rows(first) == rows(second)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of two processes that nobody disturbed."""
    run = tmp_path_factory.mktemp("several") / "straight"
    ended = launch(run)
    assert ended.returncode == 0, ended.stderr
    return run


def test_one_killed_process_stops_all_and_the_launcher_ends_the_run_bit_for_bit(straight, tmp_path):
    ended = launch(tmp_path, "--fault.kind", "kill", "--train.step-timeout", "10")
    assert ended.returncode == 0, ended.stderr
    assert "processes ended with 43, SIGKILL; starting all again" in ended.stderr
    stacks = (tmp_path / "stacks" / "process-0.txt").read_text()
    assert "training/program.py" in stacks, "the stacks must show where the survivor waited"
    assert "training/program.py" in ended.stderr
    assert_same_run(straight, tmp_path)


@pytest.mark.slow
def test_process_0_killed_stops_all_too(straight, tmp_path):
    options = ("--fault.kind", "kill", "--fault.process", "0", "--train.step-timeout", "10")
    ended = launch(tmp_path, *options)
    assert ended.returncode == 0, ended.stderr
    assert "processes ended with SIGKILL, 43; starting all again" in ended.stderr
    assert (tmp_path / "stacks" / "process-1.txt").exists()
    assert_same_run(straight, tmp_path)


@pytest.mark.slow
def test_a_process_that_is_stuck_stops_all(straight, tmp_path):
    ended = launch(tmp_path, "--fault.kind", "stuck", "--train.step-timeout", "5")
    assert ended.returncode == 0, ended.stderr
    assert "processes ended with 43, 43; starting all again" in ended.stderr
    assert "in strike" in (tmp_path / "stacks" / "process-1.txt").read_text()
    assert_same_run(straight, tmp_path)


@pytest.mark.slow
def test_sigterm_to_one_process_saves_everywhere_at_one_step(straight, tmp_path):
    once = ("--restarts", "0")
    options = ("--fault.kind", "sigterm", "--pause", "0.1")
    ended = launch(tmp_path, *options, launch_options=once)
    assert ended.returncode == 42, ended.stderr
    assert "processes ended with 42, 42" in ended.stderr
    assert ended.stderr.count("stopped by SIGTERM after step") == 1
    assert 6 < checkpoint_steps(tmp_path)[-1] < 13
    assert launch(tmp_path, *options).returncode == 0
    assert_same_run(straight, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "sentence"),
    [
        ("input", 2, "process 1: the input of batch 6"),
        ("failure", 1, "process 1: the failure of batch 6"),
        ("bug", 1, "process 1: internal error, ValueError: the bug of batch 6"),
    ],
)
def test_an_error_on_one_process_ends_all_with_its_code_and_one_sentence(
    tmp_path, kind, code, sentence
):
    both = run_processes(2, [*TOY, "--run", tmp_path, "--fault.kind", kind], timeout=120)
    assert [process.returncode for process in both] == [code, code], both
    said = "".join(process.stderr for process in both)
    assert said.count(f"jaxreason: {sentence}") == 1
    assert "Traceback" not in said or kind == "bug"


@pytest.mark.slow
def test_an_error_on_all_processes_is_said_once(tmp_path):
    (tmp_path / "config.json").write_text('{"other": 1}')
    both = run_processes(2, [*TOY, "--run", tmp_path], timeout=120)
    assert [process.returncode for process in both] == [2, 2]
    assert "".join(p.stderr for p in both).count("was started with another config") == 1


@pytest.mark.slow
def test_numbers_of_one_process_that_are_not_finite_fail_on_all(tmp_path):
    limit = ("--train.max-consecutive-skipped", "3")  # counts batches 6, 7 and 8
    both = run_processes(2, [*TOY, "--run", tmp_path, "--fault.kind", "nan", *limit], timeout=120)
    assert [process.returncode for process in both] == [1, 1], both
    said = "".join(process.stderr for process in both)
    assert said.count("not finite in 3 steps in a row up to step 9") == 1
    assert checkpoint_steps(tmp_path)[-1] == 4, "the last good checkpoint is kept"


@pytest.mark.slow
def test_processes_with_other_options_are_refused(tmp_path):
    from harness import free_port, wait_all

    words = [*TOY, "--run", tmp_path, "--train.seed"]
    coordinator = f"127.0.0.1:{free_port()}"
    both = [
        subprocess.Popen(
            command([*words, seed]),
            env=environment(2, index, 2, coordinator),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, seed in enumerate(("0", "1"))
    ]
    ended = wait_all(both, words, 120)
    assert [process.returncode for process in ended] == [2, 2]
    expected = "process 1 was started with another config: train.seed (1 there, 0 on process 0)"
    assert "".join(p.stderr for p in ended).count(expected) == 1


@pytest.mark.slow
def test_damage_that_one_process_sees_costs_one_start(straight, tmp_path):
    steps = ("--train.steps", "12")
    assert launch(tmp_path, *steps).returncode == 0
    for path in (tmp_path / "checkpoints" / "12").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    ended = launch(tmp_path, "--train.step-timeout", "10")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "damaged" / "12").is_dir()
    assert_same_run(straight, tmp_path)


def losses(run):
    return np.array([row["loss"] for row in rows(run) if "loss" in row])


@pytest.mark.slow
def test_the_losses_are_those_of_one_process_and_fewer_may_go_on(tmp_path):
    for processes, devices in ((1, 4), (2, 2), (4, 1)):
        words = [*MAZE, "--run", tmp_path / str(processes)]
        for ended in run_processes(processes, words, devices, timeout=400):
            assert ended.returncode == 0, ended.stderr
    half = tmp_path / "half"
    short = [*MAZE, "--run", half, "--train.steps", "4"]
    assert {p.returncode for p in run_processes(4, short, 1, timeout=400)} == {0}
    assert {p.returncode for p in run_processes(2, [*MAZE, "--run", half], 2, timeout=400)} == {0}

    one = rows(tmp_path / "1")
    assert len(one) == 10
    for other in (tmp_path / "2", tmp_path / "4", half):
        np.testing.assert_allclose(losses(other), losses(tmp_path / "1"), rtol=1e-6)
        assert [row.get("tokens") for row in rows(other)] == [row.get("tokens") for row in one]
        for mine, theirs in zip(rows(other), one, strict=True):
            for name, value in theirs.get("evaluation", {}).items():
                np.testing.assert_allclose(mine["evaluation"][name], value, rtol=1e-6)
    assert json.loads((half / "config.json").read_text())["batch"]["streams"] == 4
