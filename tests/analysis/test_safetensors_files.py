import json

import ml_dtypes
import numpy as np
import pytest
from written_checkpoints import CODES, RANDOM, normal, safetensors_bytes, same

from jaxreason.analysis import open_checkpoint
from jaxreason.errors import FailureError


class TestSafetensors:
    @pytest.mark.parametrize("dtype", list(CODES), ids=lambda dtype: str(dtype))
    def test_every_dtype_comes_back_bit_by_bit(self, tmp_path, dtype):
        words = RANDOM.integers(0, 256, 6 * dtype.itemsize, dtype=np.uint8)
        array = (words % 2 if dtype.kind == "b" else words).view(dtype).reshape(2, 3)
        path = tmp_path / "a.safetensors"
        path.write_bytes(safetensors_bytes({"x": array, "empty": array[:0], "one": array[0, 0]}))
        opened = open_checkpoint(path)
        assert opened.kind == "safetensors"
        assert opened.names() == ["x", "empty", "one"]
        assert opened.shape("one") == ()
        assert opened.dtype("x") == dtype
        assert same(opened.read("x"), array)
        assert opened.read("empty").shape == (0, 3)

    def test_files_of_the_reference_implementation_can_be_read(self, tmp_path):
        numpy_files = pytest.importorskip("safetensors.numpy")
        tensors = {"a": normal(3, 5), "b": normal(4, dtype=ml_dtypes.bfloat16)}
        path = tmp_path / "a.safetensors"
        numpy_files.save_file(tensors, path)
        opened = open_checkpoint(path)
        assert all(same(opened.read(name), array) for name, array in tensors.items())

    def test_a_sharded_folder_equals_the_whole_file(self, tmp_path):
        tensors = {f"t{i}": normal(3, i + 1) for i in range(5)}
        (tmp_path / "whole.safetensors").write_bytes(safetensors_bytes(tensors))
        folder = tmp_path / "sharded"
        folder.mkdir()
        places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
        for file in set(places.values()):
            part = {name: array for name, array in tensors.items() if places[name] == file}
            (folder / file).write_bytes(safetensors_bytes({**part, "unlisted" + file: normal(1)}))
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": places}))
        whole, sharded = open_checkpoint(tmp_path / "whole.safetensors"), open_checkpoint(folder)
        assert set(sharded.left_out) == {f"unlisted{file}" for file in places.values()}
        assert set(whole.names()) == set(sharded.names())
        assert all(same(whole.read(name), sharded.read(name)) for name in tensors)
        assert open_checkpoint(index).names() == sharded.names()

    @pytest.mark.parametrize(
        ("places", "said"),
        [
            ({"x": "absent.safetensors"}, "absent.safetensors', which is missing"),
            ({"y": "a.safetensors"}, "lacks tensor y"),
            ({"x": "../a.safetensors"}, "expected one beside it"),
            ({"x": 3}, "expected one beside it"),
            ([], "cannot be read as an index"),
        ],
    )
    def test_an_index_that_does_not_fit_its_files_is_named(self, tmp_path, places, said):
        (tmp_path / "a.safetensors").write_bytes(safetensors_bytes({"x": normal(2)}))
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": places}))
        with pytest.raises(FailureError, match=said):
            open_checkpoint(tmp_path)

    def test_two_files_with_the_same_tensor_and_no_index_are_refused(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / f"{name}.safetensors").write_bytes(safetensors_bytes({"x": normal(2)}))
        with pytest.raises(FailureError, match="hold tensor x"):
            open_checkpoint(tmp_path)


class TestDamage:
    def test_a_file_cut_off_anywhere_is_refused(self, tmp_path):
        whole = safetensors_bytes({"weight": normal(2, 3), "b": normal(2)})
        path = tmp_path / "cut.safetensors"
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(FailureError, match=r"cut\.safetensors"):
                open_checkpoint(path)
        path.write_bytes(whole + b"\0")
        with pytest.raises(FailureError, match="but 33 follow the header"):
            open_checkpoint(path)

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "needs 8 bytes"),
            ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, "starts at byte 4"),
            ({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}, "needs 8 bytes"),
            ({"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}, "shape"),
            ({"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}, "shape"),
            ({"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}, "shape"),
            ({"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}, "shape"),
            ({"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}, "'F31'; readable are"),
            ({"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}, "readable are"),
            ({"dtype": "F32", "shape": [2]}, "damaged entry"),
            ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}, "damaged entry"),
            (7, "damaged entry"),
            ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "needs? 4 bytes, but 8"),
        ],
    )
    def test_a_header_that_contradicts_itself_names_the_tensor(self, tmp_path, entry, said):
        text = json.dumps({"weight": entry}).encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(FailureError, match=said):
            open_checkpoint(path)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 1}', "twice"),
            ("[]", "expected an object"),
            ("{", "damaged header"),
            ("\xff", "damaged header"),
            ("{}", "holds no tensors"),
        ],
    )
    def test_a_header_that_is_no_table_of_tensors_is_refused(self, tmp_path, text, said):
        path = tmp_path / "a.safetensors"
        body = text.encode("latin-1")
        path.write_bytes(len(body).to_bytes(8, "little") + body)
        with pytest.raises(FailureError, match=said):
            open_checkpoint(path)

    def test_overlapping_tensors_are_refused(self, tmp_path):
        entry = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
        text = json.dumps({"a": entry, "b": entry}).encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
        with pytest.raises(FailureError, match="the one before ends at 4"):
            open_checkpoint(path)

    def test_an_immense_header_length_is_refused_unread(self, tmp_path):
        path = tmp_path / "a.safetensors"
        path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
        with pytest.raises(FailureError, match="header of 9223372036854775808 bytes"):
            open_checkpoint(path)
