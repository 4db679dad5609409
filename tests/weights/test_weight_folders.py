"""Folders of safetensors: what is written comes back, whole or not at all."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.weights.folders import in_memory, open_weights, save_weights
from jaxreason.weights.stored_tensor import StoredTensor

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "b.weight": RANDOM.normal(size=(5, 3)).astype(np.float32),
    "a.weight": RANDOM.normal(size=(4, 4)).astype(ml_dtypes.bfloat16),
    "a.bias": RANDOM.integers(0, 9, 7).astype(np.int64),
    "flag": np.asarray(True),
}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("shard_bytes", "files"), [(10**6, 1), (100, 2), (92, 2), (88, 3), (1, 4)])
def test_any_size_of_shards_comes_back_bit_by_bit(tmp_path, shard_bytes, files):
    """60, 32, 56 and 1 bytes: as many to a file as fit, at least one."""
    folder = tmp_path / "new" / "weights"
    save_weights(folder, in_memory(ARRAYS), shard_bytes=shard_bytes, metadata={"note": "x"})
    weights = open_weights(folder)
    assert list(weights) == list(ARRAYS) or files > 1
    assert set(weights) == set(ARRAYS)
    assert all(same(weights[name], array) for name, array in ARRAYS.items())
    assert weights.shapes["b.weight"] == (5, 3)
    assert weights.metadata == {"format": "pt", "note": "x"}
    assert len(list(folder.glob("*.safetensors"))) == files
    index = folder / "model.safetensors.index.json"
    assert index.is_file() == (files > 1)
    if files > 1:
        document = json.loads(index.read_text())
        assert document["metadata"]["total_size"] == sum(a.nbytes for a in ARRAYS.values())
        assert min(document["weight_map"].values()) == f"model-00001-of-{files:05}.safetensors"
        assert same(open_weights(index)["flag"], ARRAYS["flag"])
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]


def test_the_reference_implementation_reads_what_we_write(tmp_path):
    reference = pytest.importorskip("safetensors")
    save_weights(tmp_path / "w", in_memory(ARRAYS), metadata={"mask_mode": "full"})
    with reference.safe_open(tmp_path / "w" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt", "mask_mode": "full"}
        assert all(same(np.asarray(file.get_tensor(name)), a) for name, a in ARRAYS.items())


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def broken():
        raise FailureError("gone")

    tensors = in_memory(ARRAYS)
    tensors["late"] = StoredTensor("late", (2,), np.dtype(np.float32), broken)
    with pytest.raises(FailureError, match="gone"):
        save_weights(tmp_path / "w", tensors, shard_bytes=64)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "w.partial").mkdir()  # a killed process leaves this
    (tmp_path / "w.partial" / "model.safetensors").write_text("half")
    save_weights(tmp_path / "w", in_memory(ARRAYS))
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_full_disk_is_noticed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(FailureError, match="needs 149 bytes and 10 are free"):
        save_weights(tmp_path / "w", in_memory(ARRAYS))
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(InputError, match="shard_bytes is 0"):
        save_weights(tmp_path / "w", in_memory(ARRAYS), shard_bytes=0)
    with pytest.raises(InputError, match="no tensors"):
        save_weights(tmp_path / "w", {})
    with pytest.raises(InputError, match="complex64"):
        save_weights(tmp_path / "w", in_memory({"x": np.zeros(2, np.complex64)}))
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        save_weights(tmp_path, in_memory(ARRAYS))
    with pytest.raises(InputError, match="do not exist"):
        open_weights(tmp_path / "absent")
    with pytest.raises(InputError, match=r"holds no \.safetensors"):
        open_weights(tmp_path)
    with pytest.raises(InputError, match=r"are no \.safetensors"):
        open_weights(tmp_path / "mine.txt")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"pytorch_model\.bin .* refused"):
        open_weights(tmp_path)


def test_another_layout_beside_the_files_is_left_out(tmp_path):
    """Only beside others, and not what has any other name."""
    arrays = {"a": np.zeros(4, np.float32), "b": np.ones(4, np.float32)}
    save_weights(tmp_path / "w", in_memory(arrays), shard_bytes=16)
    (tmp_path / "w" / "model.safetensors.index.json").unlink()
    save_weights(tmp_path / "other", in_memory({"a": arrays["a"], "x": arrays["b"]}))
    other = tmp_path / "other" / "model.safetensors"
    shutil.copy(other, tmp_path / "w" / "consolidated.safetensors")
    shutil.copy(other, tmp_path / "w" / "adapter_model.safetensors")
    found = dict(open_weights(tmp_path / "w"))
    assert found.keys() == arrays.keys()
    assert all(same(found[name], array) for name, array in arrays.items())
    other.rename(tmp_path / "other" / "consolidated.safetensors")
    assert set(open_weights(tmp_path / "other")) == {"a", "x"}
    (tmp_path / "w" / "consolidated.safetensors").rename(tmp_path / "w" / "more.safetensors")
    with pytest.raises(FailureError, match="hold tensor a; name one file"):
        open_weights(tmp_path / "w")


def test_a_tensor_missing_from_the_index_is_not_passed_over(tmp_path):
    save_weights(tmp_path / "w", in_memory(ARRAYS), shard_bytes=100)
    index = tmp_path / "w" / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    del document["weight_map"]["flag"]
    index.write_text(json.dumps(document))
    with pytest.raises(FailureError, match="hold flag, which the index does not list"):
        open_weights(tmp_path / "w")
