import shutil
import tracemalloc

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as orbax_v0
import pytest
from orbax.checkpoint import v1 as ocp
from written_checkpoints import normal, safetensors_bytes, same

from jaxreason.analysis import align, open_checkpoint, pairs, sparsity
from jaxreason.analysis.comparison import CompareSettings, compare
from jaxreason.errors import FailureError, InputError
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.stored_params import leaf_number


def layered(layers=3, dtype=np.float32):
    """A small model of ours: {name: array} with stacked layers."""
    return {
        "embedding": normal(7, 4, dtype=dtype),
        "final_norm": normal(4, dtype=dtype),
        "layers/query": normal(layers, 4, 2, 2, dtype=dtype),
        "layers/down": normal(layers, 6, 4, dtype=dtype),
        "layers/mlp_norm": normal(layers, 4, dtype=dtype),
    }


def unstacked(tensors):
    found = {}
    for name, array in tensors.items():
        if name.startswith("layers/"):
            for layer, part in enumerate(array):
                found[f"layers.{layer}.{name.removeprefix('layers/')}"] = part
        else:
            found[name] = array
    return found


def as_tree(tensors):
    tree = {}
    for name, array in tensors.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = jnp.asarray(array)
    return tree


def save_run(folder, tensors, step):
    """A checkpoint with the layout of a run's."""
    from jaxreason.training.checkpoint import Checkpoints
    from jaxreason.training.state import TrainState

    state = TrainState(
        step=jnp.int32(step),
        params=as_tree(tensors),
        optimizer_state={"moment": jnp.ones(3)},
        key=jax.random.key(0),
        skipped=jnp.int32(0),
        consecutive_skipped=jnp.int32(0),
    )
    checkpoints = Checkpoints(folder)
    checkpoints.save(state, {}, {})
    checkpoints.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    first, second = layered(), layered()
    save_run(folder, first, 1)
    save_run(folder, second, 2)
    return folder, first, second


class TestRefused:
    @pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth", "model.ckpt"])
    def test_pickle_based_files_are_refused(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
        for path in (tmp_path / name, tmp_path):
            with pytest.raises(InputError, match="pickle-based"):
                open_checkpoint(path)

    def test_a_pickle_by_another_name_is_refused(self, tmp_path):
        path = tmp_path / "model.weights"
        path.write_bytes(b"\x80\x04N.")
        with pytest.raises(InputError, match="pickle-based"):
            open_checkpoint(path)

    @pytest.mark.parametrize("name", ["absent", "absent@3"])
    def test_what_does_not_exist_is_named(self, tmp_path, name):
        with pytest.raises(InputError, match=f"{name} does not exist"):
            open_checkpoint(tmp_path / name)

    def test_an_empty_folder_is_no_checkpoint(self, tmp_path):
        with pytest.raises(InputError, match="holds no checkpoint"):
            open_checkpoint(tmp_path)


class TestRuns:
    def test_the_newest_step_or_the_one_asked_for(self, run):
        folder, first, second = run
        for path, step, tensors in (
            (folder, 2, second),
            (f"{folder}@1", 1, first),
            (folder / "checkpoints" / "1", 1, first),
        ):
            opened = open_checkpoint(path)
            assert (opened.kind, opened.step) == ("run", step)
            assert set(opened.names()) == set(tensors)
            assert all(same(opened.read(name), array) for name, array in tensors.items())

    def test_an_unknown_step_is_named(self, run):
        with pytest.raises(FailureError, match=r"no checkpoint of step 7.*\[1, 2\]"):
            open_checkpoint(f"{run[0]}@7")
        with pytest.raises(InputError, match="expected a step after the @"):
            open_checkpoint(f"{run[0]}@last")

    def test_parameters_that_are_not_what_was_saved_are_noticed(self, run, tmp_path):
        folder = tmp_path / "copy"
        shutil.copytree(run[0], folder)
        for item in ("params", "training"):
            shutil.rmtree(folder / "checkpoints" / "2" / item)
            shutil.copytree(
                folder / "checkpoints" / "1" / item, folder / "checkpoints" / "2" / item
            )
        opened = open_checkpoint(f"{folder}@2")
        with pytest.raises(FailureError, match=r"embedding .* values that were saved"):
            opened.read("embedding")

    @pytest.mark.parametrize("file", ["_CHECKPOINT_METADATA", "params/_METADATA"])
    def test_damaged_metadata_are_named(self, run, tmp_path, file):
        folder = tmp_path / "copy"
        shutil.copytree(run[0], folder)
        path = folder / "checkpoints" / "2" / file
        for text in ("{", "{}", path.read_text()[:-30]):
            path.write_text(text)
            with pytest.raises(FailureError, match="METADATA"):
                open_checkpoint(folder)

    def test_a_run_without_checkpoints_says_so(self, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        with pytest.raises(FailureError, match="no checkpoint in"):
            open_checkpoint(tmp_path)

    def test_the_number_of_a_leaf_is_that_of_the_fingerprint(self):
        for array in (
            normal(5, 7),
            normal(9, dtype=ml_dtypes.bfloat16),
            np.arange(12, dtype=np.int32).reshape(3, 4),
            np.array([True, False, True]),
            np.float32(3.0),
        ):
            assert [leaf_number(np.asarray(array))] == fingerprint([jnp.asarray(array)])

    def test_the_number_of_a_leaf_does_not_depend_on_pieces(self, monkeypatch):
        array = normal(1000)
        whole = leaf_number(array)
        monkeypatch.setattr("jaxreason.training.stored_params._CHUNK", 7)
        assert leaf_number(array) == whole


class TestOrbax:
    TREE = (("a/kernel", ml_dtypes.bfloat16, (4, 3)), ("a/b.c", np.float32, (5,)))

    def save(self, path, how):
        tensors = {name: normal(*shape, dtype=dtype) for name, dtype, shape in self.TREE}
        tree = {"a": {"kernel": tensors["a/kernel"], "b.c": tensors["a/b.c"]}}
        tree = jax.tree.map(jnp.asarray, tree)
        if how == "v1":
            ocp.save_pytree(path, tree)
        elif how == "standard":
            with orbax_v0.StandardCheckpointer() as saver:
                saver.save(path, tree)
        elif how == "manager":
            with orbax_v0.CheckpointManager(path) as manager:
                manager.save(7, args=orbax_v0.args.StandardSave(tree))
        else:
            options = {"zarr": {"use_ocdbt": False}, "zarr3": {"use_zarr3": True}}[how]
            orbax_v0.Checkpointer(orbax_v0.PyTreeCheckpointHandler(**options)).save(path, tree)
        return tensors

    @pytest.mark.parametrize("how", ["v1", "standard", "manager", "zarr", "zarr3"])
    def test_every_layout_is_read(self, tmp_path, how):
        path = tmp_path / "saved"
        tensors = self.save(path, how)
        opened = open_checkpoint(path)
        assert (opened.kind, opened.step) == ("orbax", 7 if how == "manager" else None)
        assert set(opened.names()) == set(tensors)
        assert all(same(opened.read(name), array) for name, array in tensors.items())

    def test_parameters_beside_other_things_are_taken_alone(self, tmp_path):
        tree = {"params": {"w": jnp.ones((2, 3))}, "opt_state": {"m": jnp.zeros(4)}, "step": 3}
        with orbax_v0.StandardCheckpointer() as saver:
            saver.save(tmp_path / "saved", tree)
        opened = open_checkpoint(tmp_path / "saved")
        assert opened.names() == ["w"]
        assert set(opened.left_out) == {"opt_state/m", "step"}

    def test_a_damaged_tensor_is_named(self, tmp_path):
        self.save(tmp_path / "saved", "zarr")
        opened = open_checkpoint(tmp_path / "saved")
        chunk = tmp_path / "saved" / "a.kernel" / "0.0"
        chunk.write_bytes(chunk.read_bytes()[:3])
        with pytest.raises(FailureError, match=r"tensor a/kernel in .* cannot be read"):
            opened.read("a/kernel")


class TestTogether:
    def write(self, path, tensors):
        path.write_bytes(safetensors_bytes(tensors))
        return open_checkpoint(path)

    def test_stacked_layers_are_tensors_of_their_own(self, run):
        folder, first, second = run
        found = dict(pairs(open_checkpoint(f"{folder}@1"), open_checkpoint(folder)))
        assert len(found) == 2 + 3 * 3
        for layer in range(3):
            before, after = found[f"layers/{layer}/query"]
            assert same(before, first["layers/query"][layer])
            assert same(after, second["layers/query"][layer])

    @pytest.mark.parametrize("order", [1, -1])
    def test_stacked_and_unstacked_checkpoints_are_the_same(self, tmp_path, run, order):
        folder, first, _ = run
        flat = self.write(tmp_path / "a.safetensors", unstacked(first))
        sides = [open_checkpoint(f"{folder}@1"), flat][::order]
        together = pairs(*sides)
        assert [*together.missing, *together.extra, *together.reshaped] == []
        assert len(together) == 2 + 3 * 3
        assert all(same(a, b) for _, (a, b) in together)

    def test_each_stored_tensor_is_read_once(self, tmp_path, run):
        folder, first, _ = run
        flat = self.write(tmp_path / "a.safetensors", unstacked(first))
        stacked = open_checkpoint(f"{folder}@1")
        read = []
        for checkpoint in (flat, stacked):
            for name, tensor in list(checkpoint.tensors.items()):

                def counted(name=name, tensor=tensor):
                    read.append(name)
                    return tensor.read()

                checkpoint.tensors[name] = type(tensor)(
                    tensor.name, tensor.shape, tensor.dtype, counted
                )
        for _ in align(flat, stacked):
            pass
        assert sorted(read) == sorted([*flat.names(), *stacked.names()])

    def test_what_is_not_in_common_is_listed(self, tmp_path):
        before = self.write(
            tmp_path / "a.safetensors", {"x": normal(2), "gone": normal(3), "grown": normal(4, 2)}
        )
        after = self.write(
            tmp_path / "b.safetensors", {"x": normal(2), "new": normal(5), "grown": normal(6, 2)}
        )
        together = pairs(before, after)
        assert together.common == ("x",)
        assert together.missing == {"gone": (3,)}
        assert together.extra == {"new": (5,)}
        assert together.reshaped == (("grown", (4, 2), (6, 2)),)
        assert [name for name, _ in together] == ["x"]

    def test_another_model_is_refused(self, tmp_path):
        before = self.write(tmp_path / "a.safetensors", {"x": normal(2)})
        after = self.write(tmp_path / "b.safetensors", {"y": normal(2)})
        with pytest.raises(InputError, match="different models"):
            pairs(before, after)

    def test_three_are_walked_through_together(self, tmp_path):
        shapes = {"x": (2, 3), "y": (4,)}
        sides = [
            self.write(tmp_path / f"{i}.safetensors", {n: normal(*s) for n, s in shapes.items()})
            for i in range(3)
        ]
        for name, arrays in align(*sides):
            assert all(same(a, side.read(name)) for a, side in zip(arrays, sides, strict=True))

    @pytest.mark.parametrize(
        "tensors",
        [
            {"layers/kernel": (784, 512), "layers/bias": (512,)},
            {"layers/kernel": (5, 5), "layers/bias": (5,)},
            {"layers/0/query": (4, 4), "layers/1/query": (4, 4)},
            {"layers/query": (3, 4, 4), "layers/key": (2, 4, 4)},
        ],
    )
    def test_a_module_called_layers_is_not_taken_for_a_stack(self, tmp_path, tensors):
        path = tmp_path / "a.safetensors"
        opened = self.write(path, {name: normal(*shape) for name, shape in tensors.items()})
        assert set(align(opened, opened).common) == set(tensors)


def test_memory_stays_within_a_few_tensors_however_many_there_are(tmp_path, monkeypatch):
    size = 1 << 18  # bytes of a tensor
    monkeypatch.setattr(sparsity, "_CHUNK", 1 << 13)
    tensors = {f"t{i}": np.full(size // 4, i, np.float32) for i in range(16)}
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(safetensors_bytes(tensors))
    del tensors
    sides = [open_checkpoint(tmp_path / f"{name}.safetensors") for name in ("a", "b")]
    tracemalloc.start()
    try:
        compare(sides[0], sides[1], CompareSettings(rank=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * size
