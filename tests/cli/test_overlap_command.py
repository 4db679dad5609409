"""`jaxreason overlap` from the outside."""

import json

import ml_dtypes
import numpy as np
import pytest

from jaxreason.cli.main import main
from jaxreason.weights.safetensors_writing import write_safetensors

NAME = "layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A base and three runs whose updates are dense, independent and rounded to bfloat16."""
    folder = tmp_path_factory.mktemp("checkpoints")
    random = np.random.default_rng(0)
    base = (0.02 * random.normal(size=(100, 100))).astype(ml_dtypes.bfloat16)
    found = []
    for name in ("base", "one", "two", "three"):
        update = 0 if name == "base" else 3e-5 * random.normal(size=base.shape)
        after = (base.astype(np.float64) + update).astype(base.dtype)
        path = folder / f"{name}.safetensors"
        write_safetensors(
            path, {"layers.0.mlp.up_proj.weight": (after.dtype, after.shape)}, [after]
        )
        found.append(str(path))
    return found


def test_two_runs_as_a_table_and_a_page(paths, tmp_path, capsys):
    assert main(["overlap", *paths[:3], "--report", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "random weights" in said
    assert "independent updates, rounded" in said
    assert "no evidence of a common subnetwork" in " ".join(said.split())
    html = (tmp_path / "r" / "overlap.html").read_text()
    assert "no evidence of a common subnetwork" in html
    assert NAME in html
    assert (tmp_path / "r" / "overlap.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / "r" / "overlap.json").read_text())
    assert main(["overlap", *paths[:3], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written


def test_more_runs_as_a_matrix(paths, tmp_path, capsys):
    assert main(["overlap", *paths, "--draws", "0", "--report", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "three" in said
    assert "observed" in said
    document = json.loads((tmp_path / "overlap.json").read_text())
    assert np.shape(document["total"]["observed"]["one_sided"]) == (3, 3)
    assert (tmp_path / "overlap.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["BASE", "ONE"], 2, "expected two or more"),
        (["BASE", "ONE", "absent"], 2, "absent does not exist"),
        (["BASE", "ONE", "ONE", "--mode", "nearly"], 2, "--mode"),
        (["BASE", "ONE", "ONE", "--mode", "exact", "--tolerance", "1"], 2, "takes no tolerance"),
        (["BASE", "ONE", "ONE", "--draws", "-1"], 2, "draws is -1"),
    ],
)
def test_errors_in_one_sentence(paths, capsys, arguments, code, words):
    names = {"BASE": paths[0], "ONE": paths[1]}
    assert main(["overlap", *(names.get(word, word) for word in arguments)]) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
