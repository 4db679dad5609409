"""`jaxreason delta` from the outside."""

import numpy as np
import pytest

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.cli.main import main
from jaxreason.weights.safetensors_writing import write_safetensors


@pytest.fixture
def pair(tmp_path):
    before = np.linspace(-1, 1, 5000, dtype=np.float32).reshape(50, 100)
    after = before.copy()
    after[::10] += np.float32(1e-3)
    paths = tmp_path / "base.safetensors", tmp_path / "new.safetensors"
    for path, array in zip(paths, (before, after), strict=True):
        write_safetensors(path, {"w": (array.dtype, array.shape)}, [array])
    return paths


def test_make_then_apply(pair, tmp_path, capsys):
    base, new = map(str, pair)
    file, out = str(tmp_path / "d"), str(tmp_path / "out.safetensors")
    assert main(["delta", "make", base, new, "--out", file]) == 0
    said = capsys.readouterr().out
    assert "500 of 5,000 weights differ (10 %)" in said
    assert "full 20 kB" in said
    assert "/s" in said
    assert main(["delta", "apply", base, file, "--out", out]) == 0
    assert open_checkpoint(out).read("w").tobytes() == open_checkpoint(new).read("w").tobytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["make", "BASE"], 2, "jaxreason delta make --help"),
        (["make", "BASE", "absent", "--out", "d"], 2, "absent does not exist"),
        (["make", "BASE", "NEW", "--out", "d", "--read-dtype", "int4"], 2, "int4"),
        (["apply", "BASE", "NEW", "--out", "o"], 2, "does not begin as a difference does"),
        (["apply", "BASE", "absent", "--out", "o"], 2, "difference absent does not exist"),
        (["aply"], 2, "did you mean 'apply'?"),
    ],
)
def test_errors_in_one_sentence(pair, tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    names = {"BASE": str(pair[0]), "NEW": str(pair[1])}
    assert main(["delta", *(names.get(word, word) for word in arguments)]) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_share_is_never_rounded_to_all(pair, tmp_path, capsys):
    before = open_checkpoint(pair[0]).read("w")
    after = before + np.float32(1)
    after[0, 0] = before[0, 0]
    most = tmp_path / "most.safetensors"
    write_safetensors(most, {"w": (after.dtype, after.shape)}, [after])
    assert main(["delta", "make", str(pair[0]), str(most), "--out", str(tmp_path / "d")]) == 0
    assert "4,999 of 5,000 weights differ (>99.9 %)" in capsys.readouterr().out


def test_usage(capsys):
    assert main(["delta"]) == 2
    assert main(["delta", "--help"]) == 0
    assert "jaxreason delta apply BASE FILE --out NEW" in capsys.readouterr().out
