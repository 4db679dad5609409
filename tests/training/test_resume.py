"""A run that is interrupted in any way ends as if nothing had happened, bit for bit."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
import training_toy as toy

from jaxreason.errors import FailureError, InputError
from jaxreason.models import TransformerConfig
from jaxreason.training.checkpoint import checkpoint_steps, load_params
from jaxreason.training.files import settle_config
from jaxreason.training.loop import TrainConfig, train
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preemption import PREEMPTED_EXIT_CODE, Preempted
from jaxreason.training.runs import experiment_from_json


def command(directory, kill=None):
    """The command line of a run in its own process."""
    script = str(Path(toy.__file__))
    return [sys.executable, script, str(directory), *([kill] if kill else [])]


def execute(directory, kill=None):
    return subprocess.run(command(directory, kill), capture_output=True, text=True, check=False)


def rows_without_time(directory):
    return [
        {name: value for name, value in row.items() if name != "time"}
        for row in read_metrics(directory / "metrics.jsonl")
    ]


def saved_params(directory):
    abstract = jax.eval_shape(toy.init, jax.random.key(0))
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return load_params(
        directory,
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), abstract),
    )[0]


def assert_identical(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The directory and result of a run that nobody disturbed."""
    directory = tmp_path_factory.mktemp("straight")
    return directory, toy.run(directory)


def test_killed_before_between_and_during_saves_ends_bit_identical(straight, tmp_path):
    directory, result = straight
    # Before the first save (at 4), between the first and the second (at 8), while the third (at
    # 12) is being written, and then to the end, always with the same arguments.
    for kill, complete in (("2", []), ("6", [4]), ("save", [4, 8])):
        ended = execute(tmp_path, kill)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert checkpoint_steps(tmp_path) == complete
    leftovers = [p.name for p in (tmp_path / "checkpoints").iterdir() if not p.name.isdigit()]
    assert any(name.startswith("12.") for name in leftovers), "the kill must hit an open save"
    ended = execute(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert_identical(saved_params(tmp_path), result.state.params)
    assert_identical(saved_params(tmp_path), saved_params(directory))
    assert rows_without_time(tmp_path) == rows_without_time(directory)
    assert not [p for p in (tmp_path / "checkpoints").iterdir() if not p.name.isdigit()]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.45])
def test_killed_from_outside_at_any_moment_ends_bit_identical(straight, tmp_path, delay):
    directory, result = straight
    process = subprocess.Popen(command(tmp_path, "slow"), stderr=subprocess.DEVNULL)
    while not (tmp_path / "metrics.jsonl").exists():
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.wait()
    assert execute(tmp_path).returncode == 0
    assert_identical(saved_params(tmp_path), result.state.params)
    assert rows_without_time(tmp_path) == rows_without_time(directory)


def test_sigterm_saves_and_exits_with_its_code(straight, tmp_path):
    directory, result = straight
    process = subprocess.Popen(command(tmp_path, "slow"), stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "metrics.jsonl").exists() or not rows_without_time(tmp_path):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == PREEMPTED_EXIT_CODE == 42
    assert "stopped by SIGTERM after step" in output
    assert 3 <= checkpoint_steps(tmp_path)[-1] < 13
    toy.run(tmp_path)
    assert_identical(saved_params(tmp_path), result.state.params)
    assert rows_without_time(tmp_path) == rows_without_time(directory)


def test_finished_run_does_nothing_more(straight):
    directory, result = straight
    names = ("metrics.jsonl", "summary.json")
    before = [(directory / name).read_bytes() for name in names]
    again = toy.run(directory, hook=lambda index: pytest.fail("no batch is needed"))
    assert_identical(again.state.params, result.state.params)
    assert [(directory / name).read_bytes() for name in names] == before


def test_more_steps_continue_as_one_longer_run(straight, tmp_path):
    toy.run(tmp_path / "parts", steps=8)
    toy.run(tmp_path / "parts", steps=13)
    assert_identical(saved_params(tmp_path / "parts"), straight[1].state.params)
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["train"]["steps"] == 13


@pytest.mark.parametrize(
    ("before", "after"),
    [pytest.param((4, 2), (2, 4), marks=pytest.mark.slow), ((1, 1), (8, 1))],
)
def test_other_mesh_resumes(straight, tmp_path, before, after):
    toy.run(tmp_path, steps=8, mesh=toy.toy_mesh(*before))
    result = toy.run(tmp_path, mesh=toy.toy_mesh(*after))
    assert result.state.params["layers"]["up"].sharding.mesh.shape["fsdp"] == after[0]
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        jax.device_get(result.state.params),
        jax.device_get(straight[1].state.params),
    )


def test_other_config_is_refused_by_field(straight):
    directory, _ = straight
    other = OptimizerConfig(learning_rate=2e-2, warmup_steps=3, total_steps=30)
    expected = r"optimizer\.learning_rate \(0\.01 then, 0\.02 now\)"
    with pytest.raises(InputError, match=expected):
        toy.run(directory, optimizer=other)
    with pytest.raises(InputError, match=r"train\.seed \(0 then, 1 now\)"):
        toy.run(directory, seed=1)


def test_all_checkpoints_damaged_is_a_failure(tmp_path):
    toy.run(tmp_path, steps=4)
    for path in (tmp_path / "checkpoints").glob("*/_CHECKPOINT_METADATA"):
        path.write_text("{")
    with pytest.raises(FailureError, match=r"all checkpoints of .* are damaged \(steps \[4\]"):
        toy.run(tmp_path)


def test_a_run_without_checkpoints_may_be_configured_anew(tmp_path, straight):
    other = OptimizerConfig(learning_rate=2e-2, warmup_steps=3, total_steps=30)

    def stop(index):
        raise InputError("the first batch is refused")

    with pytest.raises(InputError, match="first batch"):
        toy.run(tmp_path, optimizer=other, hook=stop)
    assert_identical(toy.run(tmp_path).state.params, straight[1].state.params)


def test_a_base_that_was_brought_up_to_date_is_still_the_base(tmp_path):
    base = {"kind": "maze", "batch": {"length": 8}}
    old = {**base, "batch": {"length": 8, "process_index": 0, "process_count": 1}}
    new = {**base, "batch": {"length": 8, "streams": 1}}
    for before in (old, {"kind": "preference", "origin": old}):
        after = {**before, "origin": new} if "origin" in before else new
        settle_config(tmp_path, {"beta": 1, "origin": before}, begun=False)
        settle_config(tmp_path, {"beta": 1, "origin": after}, begun=True)
        wrong = {**new, "batch": {"length": 8, "streams": 2}}
        (tmp_path / "config.json").write_text(json.dumps({"beta": 1, "origin": old}))
        with pytest.raises(InputError, match=r"origin\.batch\.streams \(1 then, 2 now\)"):
            settle_config(tmp_path, {"beta": 1, "origin": wrong}, begun=True)
        (tmp_path / "config.json").unlink()


def test_a_run_from_before_a_model_could_have_windows_goes_on(tmp_path):
    """Fields that models have gained are what they were without them."""
    model = TransformerConfig(8, 2, 16, 2, 2, 8, 16)
    first = list(asdict(model))[: list(asdict(model)).index("backend") + 1]
    old = {"kind": "maze", "model": {name: getattr(model, name) for name in first}}
    settle_config(tmp_path, old, begun=False)
    with pytest.raises(InputError, match=r"model\.window \(0 then, 4 now\)"):
        settle_config(tmp_path, {**old, "model": asdict(replace(model, window=4))}, begun=True)
    new = json.loads(json.dumps({**old, "model": asdict(model)}))
    settle_config(tmp_path, new, begun=True)
    assert experiment_from_json(old) == experiment_from_json(new)


def test_config_json_of_another_kind_is_never_replaced(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    with pytest.raises(InputError, match="was started with another config"):
        toy.run(tmp_path)
    assert "Qwen2" in (tmp_path / "config.json").read_text()


def test_a_second_process_in_the_run_directory_is_refused(tmp_path):
    process = subprocess.Popen(command(tmp_path, "slow"), stderr=subprocess.DEVNULL)
    while not (tmp_path / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(FailureError, match="another process is training in"):
        toy.run(tmp_path)
    process.kill()
    process.wait()
    # The claim ends with the process that held it.
    assert int(toy.run(tmp_path).state.step) == 13


def test_sigterm_before_the_first_step_is_not_lost(tmp_path):
    class Early(toy.Stream):
        def __iter__(self):
            signal.raise_signal(signal.SIGTERM)
            return super().__iter__()

    with pytest.raises(Preempted, match="stopped by SIGTERM at step 0"):
        train(
            tmp_path,
            objective=toy.objective,
            model_init=toy.init,
            optimizer_config=toy.OPTIMIZER,
            train_config=TrainConfig(steps=2),
            batches=Early(),
            progress=False,
        )
    assert checkpoint_steps(tmp_path) == []


def test_checkpoints_of_a_stranger_are_left_alone(tmp_path):
    foreign = tmp_path / "checkpoints" / "1000"
    foreign.mkdir(parents=True)
    with pytest.raises(InputError, match=r"has checkpoints but no config\.json"):
        toy.run(tmp_path)
    assert foreign.is_dir()
    assert not (tmp_path / "config.json").exists()
