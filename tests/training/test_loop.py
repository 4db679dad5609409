"""The loop around the step: rows, skipped steps, full disks, and where the time goes."""

import json
import sys
import threading

import jax
import numpy as np
import optax
import pytest
import training_toy as toy

from jaxreason.errors import FailureError, InputError
from jaxreason.models.transformer import Transformer, TransformerConfig
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps
from jaxreason.training.clock import PARTS, Clock
from jaxreason.training.flops import device_peak, matmul_parameters, training_flops_per_token
from jaxreason.training.loop import TrainConfig, train
from jaxreason.training.metrics import MetricsFile, Sums, read_metrics
from jaxreason.training.progress import format_duration, format_row
from jaxreason.training.step import make_step


def poisoned(first, last):
    """Batches whose loss is not finite for indices first..last."""

    def make(index):
        batch = toy.make_batch(index)
        scale = np.float32(np.nan if first <= index <= last else 1.0)
        return {**batch, "scale": np.full(8, scale)}

    return make


@pytest.fixture
def scaled_objective(monkeypatch):
    """The toy's objective, times the batch's `scale`."""
    plain = toy.objective

    def objective(params, batch, key):
        loss, metrics = plain(params, batch, key)
        scale = batch["scale"].mean()
        total, count = metrics["loss"]
        return loss * scale, {"loss": (total * scale, count)}

    monkeypatch.setattr(toy, "objective", objective)


def test_rows_are_means_over_their_interval(tmp_path):
    result = toy.run(tmp_path, steps=7, log_every=3)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert rows[-1]["tokens"] == sum(toy.make_batch(i)["tokens"].size for i in range(7))
    # The same steps by hand.
    from jaxreason.training.optimizer import learning_rate, make_optimizer
    from jaxreason.training.state import init_state

    optimizer = make_optimizer(toy.OPTIMIZER)
    state = init_state(toy.init, optimizer, jax.random.key(0))
    step, sums = make_step(toy.objective, optimizer), np.zeros(2)
    for index in range(7):
        state, metrics = step(state, toy.make_batch(index))
        sums += [float(x) for x in metrics["loss"]] if index >= 3 else 0
        if index == 5:
            assert rows[1]["loss"] == pytest.approx(sums[0] / sums[1], rel=1e-12)
    assert rows[1]["learning_rate"] == pytest.approx(float(learning_rate(toy.OPTIMIZER, 5)))
    assert optax.global_norm(
        jax.tree.map(lambda a, b: a - b, state.params, result.state.params)
    ) == pytest.approx(0.0)


def test_a_few_bad_steps_are_skipped_counted_and_survived(tmp_path, scaled_objective):
    result = toy.run(tmp_path, make=poisoned(4, 5), max_consecutive_skipped=3)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["skipped"] for row in rows] == [0, 2, 0, 0, 0]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert int(result.state.skipped) == 2
    assert json.loads((tmp_path / "summary.json").read_text())["skipped"] == 2


def test_too_many_bad_steps_fail_and_keep_the_last_good_checkpoint(tmp_path, scaled_objective):
    with pytest.raises(FailureError, match="not finite in 6 steps in a row up to step 12"):
        toy.run(tmp_path, make=poisoned(6, 99), max_consecutive_skipped=6)
    # The save due at step 8 fell into the trouble.
    assert checkpoint_steps(tmp_path) == [4]
    # With the data mended, the same command goes on from there and finishes.
    assert int(toy.run(tmp_path, make=poisoned(99, 99)).state.step) == 13


def test_seconds_sum_to_the_wall_time(tmp_path):
    result = toy.run(tmp_path, steps=5)
    seconds = dict(result.seconds)
    assert seconds.keys() == {*PARTS, "wall"}
    wall = seconds.pop("wall")
    assert sum(seconds.values()) == pytest.approx(wall)
    assert min(seconds.values()) >= 0
    assert seconds["compile"] > 0
    assert seconds["checkpoint"] > 0


def test_nested_measures_are_counted_once():
    clock = Clock()
    with clock.measure("step"), clock.measure("checkpoint"):
        sum(range(100_000))
    seconds = clock.seconds()
    parts = sum(seconds[part] for part in PARTS)
    assert parts == pytest.approx(seconds["wall"])
    assert seconds["checkpoint"] > seconds["step"] >= 0


def test_evaluations_are_rows_of_their_own(tmp_path):
    seen = []

    def evaluate(params, step):
        seen.append(step)
        return {"validity": step / 10}

    train(
        tmp_path,
        objective=toy.objective,
        model_init=toy.init,
        optimizer_config=toy.OPTIMIZER,
        train_config=TrainConfig(steps=5, evaluate_every=2, log_every=5),
        batches=toy.Stream(),
        evaluate_fn=evaluate,
        progress=False,
    )
    rows = [r for r in read_metrics(tmp_path / "metrics.jsonl") if "evaluation" in r]
    assert seen == [row["step"] for row in rows] == [2, 4, 5]
    assert rows[0]["evaluation"] == {"validity": 0.2}


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    # /dev/full accepts no byte: the first row cannot be written.
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(FailureError, match=r"disk is full: .*metrics\.jsonl"):
        toy.run(tmp_path)


def test_full_disk_during_a_save_keeps_earlier_checkpoints(tmp_path, monkeypatch):
    toy.run(tmp_path, steps=4)
    original = Checkpoints.wait

    def full(self):
        original(self)
        if checkpoint_steps(tmp_path) == [4, 8]:
            self._pending = FullDisk()
            original(self)

    class FullDisk:
        def result(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "wait", full)
    with pytest.raises(FailureError, match="earlier checkpoints are intact"):
        toy.run(tmp_path)
    monkeypatch.undo()
    assert int(toy.run(tmp_path).state.step) == 13


def test_data_that_ends_is_bad_input(tmp_path):
    class Short(toy.Stream):
        def __iter__(self):
            return Short()

        def __next__(self):
            if self.index == 3:
                raise StopIteration
            return super().__next__()

    with pytest.raises(InputError, match="the data ended after 3 steps, which are saved"):
        train(
            tmp_path,
            objective=toy.objective,
            model_init=toy.init,
            optimizer_config=toy.OPTIMIZER,
            train_config=TrainConfig(steps=5),
            batches=Short(),
            progress=False,
        )
    assert checkpoint_steps(tmp_path) == [3]


def test_bad_fields_are_named():
    with pytest.raises(InputError, match=r"train\.steps is 0; it must be at least 1"):
        TrainConfig(steps=0)
    with pytest.raises(InputError, match=r"train\.save_every is -1"):
        TrainConfig(save_every=-1)


def test_runs_outside_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(toy.run(tmp_path, steps=2)))
    thread.start()
    thread.join()
    assert int(results[0].state.step) == 2


def test_resumed_file_drops_later_rows_and_a_torn_last_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st')
    file = MetricsFile(tmp_path, resume_step=4)
    file.write({"step": 6, "loss": float("nan")})
    file.close()
    assert read_metrics(path) == [{"step": 2}, {"step": 4}, {"step": 6, "loss": None}]


def test_malformed_row_is_named_by_its_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n{"step"\n{"step": 6}\n')
    with pytest.raises(InputError, match="line 2 is not JSON"):
        MetricsFile(tmp_path, resume_step=4)


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"pip install 'jaxreason\[tensorboard\]'"):
        MetricsFile(tmp_path, 0, tensorboard=True)
    monkeypatch.undo()
    file = MetricsFile(tmp_path, 0, tensorboard=True)
    file.write({"step": 1, "loss": 2.0, "time": {"wall": 1.0}})
    file.close()
    assert list((tmp_path / "tensorboard").iterdir())


def test_open_sums_survive_json():
    values = {"loss": (np.float32(0.1), np.float32(3)), "skipped": (np.float32(0), np.float32(1))}
    whole, part = Sums(), Sums()
    for sums in (whole, part):
        sums.add(values, 7)
    part = Sums(json.loads(json.dumps(part.as_json())))
    for sums in (whole, part):
        sums.add(values, 7)
    assert whole.take() == part.take()


def test_matmul_parameters_and_flops_of_a_known_shape():
    # 2 layers, D 8, H 2, G 1, K 4, F 16, V 11: q 64, k 32, v 32, o 64, mlp 3 x 128 per layer.
    config = TransformerConfig(11, 2, 8, 2, 1, 4, 16, qkv_bias=True)
    for tied in (True, False):
        model = Transformer(TransformerConfig(**{**config.__dict__, "tied": tied}))
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        assert matmul_parameters(shapes) == 2 * 576 + 88
        attention = 3 * 2 * (2 * 2 * 8 * 10)
        assert training_flops_per_token(shapes, 10, causal=False) == 6 * 1240 + attention
        assert training_flops_per_token(shapes, 10) == 6 * 1240 + attention / 2
        # A window of 4 over 10 tokens: 4 - 16 / 20 others on average, in the second layer.
        windowed = training_flops_per_token(shapes, 10, windows=(0, 4))
        assert windowed == pytest.approx(6 * 1240 + attention / 4 + attention / 2 * 3.2 / 10)


def test_peaks_of_known_devices_and_no_guess_for_others():
    assert device_peak("NVIDIA H100 80GB HBM3") == device_peak("NVIDIA H200") == 989e12
    assert device_peak("NVIDIA A100-SXM4-80GB") == 312e12
    assert device_peak("TPU v5 lite") == 197e12
    assert device_peak("TPU v5p") == 459e12
    assert device_peak("cpu") is None


def test_lines_a_person_reads():
    assert format_duration(3723) == "1:02:03"
    row = {
        "step": 5,
        "loss": 1.25,
        "skipped": 2,
        "time": {"tokens_per_second": 12345.6, "eta": 65, "mfu": 0.4},
    }
    line = "step   5/100  loss 1.2500  skipped 2  12,346 tokens/s  MFU 40.0 %  ETA 1:05"
    assert format_row(row, 100) == line


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file is a file; choose another directory"):
        toy.run(tmp_path / "file")


def test_a_run_from_given_parameters_leaves_them_alone_and_equals_one_that_makes_them(tmp_path):
    made = jax.jit(lambda key: toy.init(jax.random.split(key)[0]))(jax.random.key(0))
    before = jax.device_get(made)
    common = {
        "objective": toy.objective,
        "optimizer_config": toy.OPTIMIZER,
        "train_config": TrainConfig(steps=4),
        "progress": False,
    }
    given = train(tmp_path / "a", initial_params=made, batches=toy.Stream(), **common)
    fresh = train(tmp_path / "b", model_init=toy.init, batches=toy.Stream(), **common)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(made), before)
    jax.tree.map(np.testing.assert_array_equal, *(r.state.params for r in (given, fresh)))


def test_a_run_needs_one_start(tmp_path):
    with pytest.raises(InputError, match="either model_init or initial_params"):
        train(
            tmp_path,
            objective=toy.objective,
            optimizer_config=toy.OPTIMIZER,
            train_config=TrainConfig(steps=4),
            batches=toy.Stream(),
        )
