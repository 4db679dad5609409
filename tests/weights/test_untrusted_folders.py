"""What a folder from elsewhere cannot do: run code, reach outside itself, or be a pickle."""

import json
import os
import pickle
import shutil

import golden_llada
import pytest
import tiny_models

from jaxreason.cli.main import main
from jaxreason.errors import FailureError, InputError
from jaxreason.training.runs import load_run
from jaxreason.weights.folders import INDEX, open_weights
from jaxreason.weights.llada import export_llada

CODE = "import pathlib\npathlib.Path(__file__).with_name('executed').write_text('')\n"


def tiny(folder, **options):
    tiny_models.write_tiny_model(
        folder, "llama", layers=1, tokenizer=False, vocabulary_size=64, **options
    )
    return folder


def rewritten(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_pickles_are_refused_with_the_way_out(tmp_path, capsys):
    folder = tiny(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": 1}))
    for action in (lambda: load_run(folder), lambda: open_weights(folder)):
        with pytest.raises(InputError, match=r"pytorch_model\.bin .* refused; convert it to safe"):
            action()
    assert main(["convert", str(folder), str(tmp_path / "run")]) == 2
    assert main(["compare", str(folder), str(folder)]) == 2
    assert capsys.readouterr().err.count("run any code, so it is refused") == 2
    assert not (tmp_path / "run").exists()


def test_code_beside_weights_is_never_executed(tmp_path):
    """Where the layout is LLaDA's it is not needed; a family that has none is refused by name."""
    folder = tmp_path / "llada"
    export_llada(golden_llada.golden_params(), folder, golden_llada.golden_config())
    code = {"AutoModel": "modeling_llada.LLaDAModelLM"}
    rewritten(folder / "config.json", auto_map=code, mask_token_id=59, eos_token_id=58)
    (folder / "modeling_llada.py").write_text(CODE)
    assert load_run(folder).experiment.settings["auto_map"] == code
    assert not (folder / "executed").exists()
    other = tiny(tmp_path / "llama")
    rewritten(other / "config.json", auto_map=code, trust_remote_code=True)
    with pytest.raises(InputError, match=r"auto_map is .*never executed"):
        load_run(other)


@pytest.mark.parametrize(
    "name",
    [
        *("../model.safetensors", "/etc/passwd", "..", ".", "", "sub/model.safetensors"),
        *("model.bin", "config.json", "x\0.safetensors", "\ud800.safetensors"),
        "x" * 5000 + ".safetensors",
    ],
)
def test_an_index_names_files_beside_it_and_no_others(tmp_path, name):
    folder = tiny(tmp_path / "a", shard_bytes=5000)
    shutil.copy(min(folder.glob("*.safetensors")), tmp_path / "model.safetensors")
    index = json.loads((folder / INDEX).read_text())
    first = min(index["weight_map"])
    index["weight_map"][first] = name
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(FailureError, match="names the file") as error:
        open_weights(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_links_lead_where_they_lead_as_in_the_cache_of_the_hub(tmp_path):
    """Names decide: a link is put there by whoever owns the folder, not by what is in a file."""
    folder = tiny(tmp_path / "a")
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert len(open_weights(folder)) == 12


def test_a_pipe_is_no_file(tmp_path):
    """Opening one would wait for ever."""
    folder = tiny(tmp_path / "a")
    for name, action in (("model.safetensors", open_weights), ("config.json", load_run)):
        (folder / name).rename(tmp_path / name)
        os.mkfifo(folder / name)
        with pytest.raises(FailureError, match=name):
            action(folder)
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)
    assert load_run(folder).step == 0


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"shape": [2**62, 2**62, 0]}, "which no array has"),
        ({"shape": [1] * 100}, "which no array has"),
        ({"shape": [float("nan")]}, "which no array has"),
        ({"shape": [-1]}, "which no array has"),
        ({"data_offsets": [0, 2**70]}, "needs"),
        ({"data_offsets": [8, 16]}, "starts at byte"),
        ({"dtype": "x" * 10**6}, "readable are"),
        ({"shape": "y" * 10**6}, "which no array has"),
    ],
)
def test_impossible_headers_are_refused_in_a_short_sentence(tmp_path, entry, said):
    whole = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | entry}
    header = json.dumps(whole).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(FailureError, match=said) as error:
        open_weights(file)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b'{"a": ' * 100_000, "nested too deeply|damaged header"),
        (b'{"a": {}, "a": {}}', "'a' stands in it twice"),
        (b'{"a": {"shape": [' + b"9" * 5000 + b"]}}", "damaged header"),
    ],
)
def test_headers_made_to_break_a_parser_are_damaged(tmp_path, header, said):
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(FailureError, match=said):
        open_weights(file)
    file.write_bytes((2**63).to_bytes(8, "little") + header)
    with pytest.raises(FailureError, match="header of 9223372036854775808 bytes"):
        open_weights(file)
