"""An experiment is one value: it survives config.json, trains, resumes and is found by path."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxreason.data import BatchConfig, MazeData
from jaxreason.errors import FailureError, InputError
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training import experiment as module
from jaxreason.training.experiment import (
    MazeExperiment,
    run_batch,
    run_experiment,
    with_streams,
)
from jaxreason.training.files import settle_config
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import load_experiment, load_run, read_experiment

TINY = MazeExperiment(
    data=MazeData(width=4, height=4, count=32, regime="swapped"),
    batch=BatchConfig(batch_size=8, length=160),
    model=TransformerConfig(0, 1, 16, 2, 1, 8, 32),
    optimizer=OptimizerConfig(warmup_steps=2, total_steps=4),
    train=TrainConfig(steps=4, evaluate_every=2, save_every=2, log_every=1),
    validation_examples=8,
)


@pytest.mark.parametrize(
    "experiment",
    [
        TINY,
        MazeExperiment(),
        dataclasses.replace(
            TINY,
            data=dataclasses.replace(TINY.data, regime="dropped", drop_level=2),
            batch=BatchConfig(batch_size=8, length=160, packing="buckets", buckets=(80, 160)),
            prepared="somewhere",
        ),
    ],
)
def test_an_experiment_is_rebuilt_from_its_config_json(tmp_path, experiment):
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(experiment)))
    assert read_experiment(tmp_path) == experiment


def test_a_config_json_of_something_else_is_refused(tmp_path):
    with pytest.raises(FailureError, match=r"no config\.json"):
        read_experiment(tmp_path)
    (tmp_path / "config.json").write_text('{"optimiser": {}}')
    with pytest.raises(FailureError, match="optimiser is unknown"):
        read_experiment(tmp_path)
    (tmp_path / "config.json").write_text('{"data": 3}')
    with pytest.raises(FailureError, match="field data is 3"):
        read_experiment(tmp_path)
    (tmp_path / "config.json").write_text('{"model": {"layers": 2}}')
    with pytest.raises(FailureError, match=r"missing .* 'vocabulary_size'"):
        read_experiment(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define `experiment`"),
        ("1 / 0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
    ],
)
def test_an_experiment_file_that_defines_none_is_named(tmp_path, text, message):
    path = tmp_path / "file.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_experiment(path)


def test_a_missing_experiment_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.py does not exist"):
        load_experiment(tmp_path / "absent.py")


def test_a_vocabulary_that_is_not_that_of_the_grid_is_refused():
    model = dataclasses.replace(TINY.model, vocabulary_size=10)
    with pytest.raises(InputError, match=r"4x4 have 34 words; use 34 or 0"):
        dataclasses.replace(TINY, model=model).transformer()


def test_a_run_trains_stops_goes_on_and_is_found_by_its_path(tmp_path):
    straight = run_experiment(TINY, tmp_path / "straight", progress=False)
    half = dataclasses.replace(TINY, train=dataclasses.replace(TINY.train, steps=2))
    run_experiment(half, tmp_path / "resumed", progress=False)
    resumed = run_experiment(TINY, tmp_path / "resumed", progress=False)
    jax.tree.map(np.testing.assert_array_equal, straight.state.params, resumed.state.params)

    rows = [json.loads(line) for line in (tmp_path / "straight/metrics.jsonl").open()]
    measured = [row["evaluation"]["validation_loss"] for row in rows if "evaluation" in row]
    assert len(measured) == 2
    assert measured[1] < measured[0]

    run = load_run(tmp_path / "resumed")
    settled = dataclasses.replace(TINY, batch=dataclasses.replace(TINY.batch, streams=1))
    assert (run.step, run.experiment) == (4, settled)
    jax.tree.map(np.testing.assert_array_equal, run.params, straight.state.params)
    assert load_run(tmp_path / "resumed", step=2).step == 2


def test_a_run_goes_on_on_another_mesh(tmp_path):
    half = dataclasses.replace(TINY, train=dataclasses.replace(TINY.train, steps=2))
    run_experiment(half, tmp_path, progress=False)
    other = dataclasses.replace(TINY, mesh=MeshConfig(fsdp=4, tensor=2))
    result = run_experiment(other, tmp_path, progress=False)
    assert int(result.state.step) == 4
    assert result.state.params["layers"]["up"].sharding.mesh.shape["tensor"] == 2


@pytest.mark.parametrize(("accumulation", "fsdp"), [(1, 1), (2, 1), (4, 2), (2, 8)])
def test_every_bucket_splits_over_mesh_and_micro_batches(accumulation, fsdp):
    experiment = dataclasses.replace(
        TINY,
        batch=BatchConfig(batch_size=16, length=160, packing="buckets"),
        train=TrainConfig(accumulation=accumulation),
    )
    mesh = make_mesh(MeshConfig(fsdp=fsdp), jax.devices()[:fsdp])
    shapes = run_batch(experiment, mesh).shapes
    assert len(shapes) == 4
    assert all(rows % (accumulation * fsdp) == 0 for rows, _ in shapes)


@pytest.mark.parametrize(("field", "value"), [("validation_examples", 1), ("loss_chunk", -1)])
def test_bad_fields_are_named(field, value):
    with pytest.raises(InputError, match=f"{field} is {value}; it must be at least"):
        MazeExperiment(**{field: value})


@pytest.mark.parametrize("packing", ["packed", "buckets"])
def test_rows_that_cannot_be_split_are_named_by_their_fields(packing):
    experiment = dataclasses.replace(
        TINY,
        batch=BatchConfig(batch_size=6, length=160, packing=packing),
        train=TrainConfig(accumulation=2),
    )
    mesh = make_mesh(MeshConfig(fsdp=2), jax.devices()[:2])
    expected = r"batch_size is 6; .*accumulation \(2\) x mesh axes replica x fsdp \(2\)"
    with pytest.raises(InputError, match=expected):
        run_batch(experiment, mesh)


def test_an_experiment_file_may_define_dataclasses(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from jaxreason.training.experiment import MazeExperiment\n"
        "@dataclass\n"
        "class Own:\n"
        "    size: int = 3\n"
        "experiment = MazeExperiment(validation_examples=Own().size)\n"
    )
    assert load_experiment(path).validation_examples == 3


def test_a_run_keeps_the_number_of_streams_it_began_with(tmp_path):
    assert with_streams(TINY, tmp_path, shares=4).batch.streams == 4
    begun = with_streams(TINY, tmp_path, shares=4)
    (tmp_path / "config.json").write_text(json.dumps(begun.as_json()))
    assert with_streams(TINY, tmp_path, shares=2).batch.streams == 2, "nothing depends on it yet"
    (tmp_path / "damaged").mkdir()
    for shares in (1, 2, 4):
        assert with_streams(TINY, tmp_path, shares) == begun
    other = dataclasses.replace(TINY, batch=dataclasses.replace(TINY.batch, streams=2))
    assert with_streams(other, tmp_path, 4) == other
    with pytest.raises(InputError, match=r"batch\.streams \(4 then, 2 now\)"):
        settle_config(tmp_path, other.as_json(), begun=True)


def test_process_0_says_how_many_streams_a_run_has(tmp_path, monkeypatch):
    # This process does not see yet what another has written into the shared directory.
    monkeypatch.setattr(module, "agree", lambda streams: [4, streams])
    assert with_streams(TINY, tmp_path, shares=2).batch.streams == 4


def test_held_out_losses_are_laid_out_on_the_mesh(monkeypatch):
    mesh, seen = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2)), []

    def objective(params, batch, key):
        seen.append(dict(jax.sharding.get_abstract_mesh().shape))
        rows = jax.numpy.float32(batch["tokens"].shape[0])
        return rows, {"loss": (3 * rows, rows)}

    monkeypatch.setattr(module, "next_token", lambda *_: objective)
    assert module.validation_loss(TINY, mesh)({}, 0) == {"validation_loss": 3.0}
    assert seen == [dict(mesh.shape)]


def test_a_run_from_before_there_were_streams_had_one(tmp_path):
    config = json.loads(json.dumps(TINY.as_json()))
    del config["batch"]["streams"]
    config["batch"] |= {"process_index": 0, "process_count": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "damaged").mkdir()
    assert read_experiment(tmp_path) == TINY
    settled = with_streams(TINY, tmp_path, shares=4)
    assert settled.batch.streams == 1
    settle_config(tmp_path, settled.as_json(), begun=True)
    assert json.loads((tmp_path / "config.json").read_text())["batch"]["streams"] == 1
