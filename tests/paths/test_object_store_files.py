"""Masks, weights, arrays, rows and checkpoints in an object store come back as they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.report_folder import check_folder, put_in_place
from jaxreason.masks import load_mask, save_mask
from jaxreason.paths import as_path
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps
from jaxreason.training.metrics import MetricsFile, read_metrics
from jaxreason.training.state import TrainState
from jaxreason.training.stored_batches import read_arrays, write_arrays
from jaxreason.weights.folders import in_memory, open_weights, save_weights

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, np.float16)}


def state(step, scale=1.0):
    zero = jnp.zeros((), jnp.int32)
    params = {"layer": scale * jnp.arange(8.0), "other": jnp.ones((2, 2))}
    return TrainState(jnp.int32(step), params, (), jax.random.key(0), zero, zero)


def abstract():
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
    )


def test_a_mask(store):
    mask = {"a": np.array([True, False, True]), "b": np.zeros((2, 2), bool)}
    save_mask(f"{store}/masks/one.mask", mask)
    jax.tree.map(np.testing.assert_array_equal, load_mask(f"{store}/masks/one.mask"), mask)
    with pytest.raises(FailureError, match=r"nothing\.mask cannot be read"):
        load_mask(f"{store}/nothing.mask")


def test_weights_in_one_file_and_in_shards(store):
    for name, size in (("one", 10**6), ("shards", 20)):
        save_weights(
            f"{store}/{name}", in_memory(WEIGHTS), shard_bytes=size, documents={"x.json": "{}"}
        )
        opened = open_weights(f"{store}/{name}")
        assert set(opened) == set(WEIGHTS)
        for key, array in WEIGHTS.items():
            np.testing.assert_array_equal(opened[key], array)
        with pytest.raises(InputError, match="exists already"):
            save_weights(f"{store}/{name}", in_memory(WEIGHTS))


def test_an_export_that_breaks_off_leaves_nothing(store):
    tensors = in_memory(WEIGHTS)
    broken = {**tensors, "a": tensors["a"].__class__("a", (2, 3), np.dtype(np.float32), lambda: 1)}
    with pytest.raises(AttributeError):
        save_weights(f"{store}/weights", broken, documents={"x.json": "{}"})
    assert not as_path(f"{store}/weights").exists()


def test_arrays(store):
    path = as_path(f"{store}/samples.npz")
    write_arrays(path, {"tokens": np.arange(4)}, {"seed": 1})
    arrays, about = read_arrays(path)
    np.testing.assert_array_equal(arrays["tokens"], np.arange(4))
    assert about == {"seed": 1}


def test_rows_of_metrics_reach_the_store_when_they_must(store):
    run = as_path(f"{store}/run")
    file = MetricsFile(run, 0)
    file.write({"step": 1})
    file.write({"step": 2})
    file.sync()  # as before a checkpoint
    file.write({"step": 3})  # lost: the process is killed here
    assert read_metrics(run / "metrics.jsonl") == [{"step": 1}, {"step": 2}]
    again = MetricsFile(run, 1)
    again.write({"step": 2, "again": True})
    again.close()
    assert read_metrics(run / "metrics.jsonl") == [{"step": 1}, {"step": 2, "again": True}]
    with pytest.raises(InputError, match=r"train\.tensorboard=True writes local files"):
        MetricsFile(run, 0, tensorboard=True)


def test_a_report_replaces_the_one_before(store):
    folder = as_path(f"{store}/report")
    check_folder(folder)
    put_in_place(folder, "page.html", "old", {}, {"mazes_1": b"1", "curve": b"2"}, "mazes_*.png")
    page = put_in_place(folder, "page.html", "new", {"n.json": "{}"}, {}, "mazes_*.png")
    assert str(page) == f"{folder}/page.html"
    assert sorted(path.name for path in folder.iterdir()) == ["curve.png", "n.json", "page.html"]
    assert page.read_text() == "new"
    with pytest.raises(InputError, match="is a file"):
        check_folder(page)


def test_checkpoints_are_kept_completed_and_set_aside(store):
    run, said = as_path(f"{store}/run"), []
    # What a save that was killed has left: no checkpoint, and not in the way of the next save.
    (run / "checkpoints/3/params/left").write_bytes(b"over")
    assert checkpoint_steps(run) == []
    checkpoints = Checkpoints(run, keep_last=2, keep_every=2, warn=said.append)
    for step in (1, 2, 3, 4, 5):
        checkpoints.save(state(step, step), {"step": step}, None)
    checkpoints.close()
    assert checkpoint_steps(run) == [2, 4, 5]
    np.testing.assert_array_equal(
        open_checkpoint(f"{run}@4").read("layer"), np.asarray(state(4, 4).params["layer"])
    )

    largest = max((path for path in _files(run / "checkpoints/5")), key=lambda p: p.stat().st_size)
    for path in _files(run / "checkpoints/5"):
        if path.parent.name == "d" or path == largest:
            path.write_bytes(b"damage")
    checkpoints = Checkpoints(run, keep_last=2, warn=said.append)
    found, extra = checkpoints.restore(abstract())
    checkpoints.close()
    assert extra["step"] == 4
    np.testing.assert_array_equal(found.params["layer"], state(4, 4).params["layer"])
    assert "moved to" in said[0]
    assert (run / "damaged/5").is_dir()
    assert checkpoint_steps(run) == [2, 4]


def _files(folder):
    for path in folder.iterdir():
        yield from _files(path) if path.is_dir() else [path]


def test_several_processes_need_a_store_that_all_can_write_to(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match=r"2 processes cannot be written to memory://.*gs:// URL"):
        Checkpoints(as_path("memory://bucket/run"))
