import json
import struct

import numpy as np
import pytest

from jaxreason.cli.main import main


def write(path, tensors):
    """A safetensors file of float32 tensors."""
    header, body = {}, b""
    for name, array in tensors.items():
        data = array.astype("<f4").tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return str(path)


def tensors(shift):
    random = np.random.default_rng(0)
    found = {"model.embed_tokens.weight": random.normal(0, 0.02, (12, 6))}
    for layer in range(2):
        for name, shape in (("self_attn.q_proj", (6, 6)), ("mlp.up_proj", (9, 6))):
            found[f"model.layers.{layer}.{name}.weight"] = random.normal(0, 0.02, shape)
        found[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(6)
    for array in found.values():
        array[0] += shift
    return found


@pytest.fixture
def sides(tmp_path):
    before, after = tensors(0.0), tensors(0.01)
    before["gone"], after["new"] = np.ones(2), np.ones(3)
    return write(tmp_path / "a.safetensors", before), write(tmp_path / "b.safetensors", after)


def test_tables_show_totals_layers_matrices_and_what_is_not_counted(sides, capsys):
    assert main(["compare", *sides]) == 0
    said = capsys.readouterr().out
    for words in ("Unchanged weights of 264", "same bits", "within the tolerance 1e-05"):
        assert words in said
    for words in ("By matrix type", "query", "Mean rank", "By layer", "1e-08"):
        assert words in said
    assert "only before (1): gone [2]" in said
    assert "only after (1): new [3]" in said


def test_json_holds_the_documented_keys_and_nothing_else_is_printed(sides, capsys):
    assert main(["compare", *sides, "--json", "--mode", "paper", "--tolerance", "0.02"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert list(found) == [
        *("schema", "before", "after", "settings", "missing", "extra", "reshaped", "total"),
        *("layers", "matrices", "places", "paper", "tensors"),
    ]
    assert found["settings"] == {"mode": "paper", "tolerance": 0.02, "rank": True}
    assert found["total"]["unchanged"]["exact"] == 264 - (6 + 2 * (6 + 6 + 1))
    assert found["total"]["unchanged"]["paper"] == 264
    up = next(row for row in found["tensors"] if row["matrix"] == "up")
    assert up["rank"]["matrix"] == 1


def test_paper_mode_prints_the_numbers_of_the_script(sides, capsys):
    assert main(["compare", *sides, "--mode", "paper"]) == 0
    said = capsys.readouterr().out
    assert "As Mukherjee et al. 2025 count" in said
    assert "layer 1, mean non-zero share" in said


def test_without_rank_no_rank_is_shown(sides, capsys):
    assert main(["compare", *sides, "--no-rank"]) == 0
    assert "Mean rank" not in capsys.readouterr().out


def test_the_report_is_one_page_with_pictures_and_numbers(sides, tmp_path, capsys):
    folder = tmp_path / "deep" / "report"
    assert main(["compare", *sides, "--report", str(folder), "--mode", "paper"]) == 0
    assert "compare.html" in capsys.readouterr().out
    names = {path.name for path in folder.iterdir()}
    assert names == {"compare.html", "compare.json", "sparsity.png", "sweep.png", "spectra.png"}
    page = (folder / "compare.html").read_text()
    for words in ("What the update changed", "Not counted", "gone", "prefers-color-scheme:dark"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    assert json.loads((folder / "compare.json").read_text())["schema"] == "26.1"


def test_names_cannot_break_the_page(tmp_path, capsys):
    shared = {"<script>x": np.ones((2, 2))}
    before = write(tmp_path / "a.safetensors", {**shared, "<b>gone": np.ones(1)})
    after = write(tmp_path / "b.safetensors", {"<script>x": np.zeros((2, 2))})
    assert main(["compare", before, after, "--no-rank", "--report", str(tmp_path / "r")]) == 0
    page = (tmp_path / "r" / "compare.html").read_text()
    assert "<script>x" not in page
    assert "<b>gone" not in page
    assert "&lt;script&gt;x" in page


@pytest.mark.parametrize("mode", ["absolute", "paper"])
@pytest.mark.parametrize(
    ("before", "after"),
    [(np.zeros((0, 3)), np.zeros((0, 3))), (np.zeros((4, 4)), np.full((4, 4), 3e38))],
    ids=["empty", "huge"],
)
def test_tensors_at_the_edge_are_tables_and_json(tmp_path, capsys, before, after, mode):
    """No weight at all, and singular values beyond float32."""
    sides = [
        write(tmp_path / f"{name}.safetensors", {"w": array.astype(np.float32)})
        for name, array in (("a", before), ("b", after))
    ]
    assert main(["compare", *sides, "--mode", mode]) == 0
    assert "nan" not in capsys.readouterr().out
    assert main(["compare", *sides, "--mode", mode, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"][0]["rank"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["A", "absent"], 2, "checkpoint absent does not exist"),
        (["A"], 2, "AFTER is missing"),
        (["A", "B", "--mode", "close"], 2, "mode"),
        (["A", "B", "--tolerance", "-1"], 2, "tolerance is -1.0"),
        (["A", "B", "--tolerance", "small"], 2, "expected a number"),
        (["A", "OTHER"], 2, "different models"),
        (["A", "CUT"], 1, "cut.safetensors"),
        (["A", "model.bin"], 2, "pickle-based"),
        (["A@3", "B"], 2, "@3 names nothing"),
        (["A", "B", "--report", "CUT"], 2, "is a file; name another folder"),
        (["A", "B", "--report", "CUT/below"], 2, "is a file; name another folder"),
    ],
)
def test_bad_input_is_one_sentence(sides, tmp_path, capsys, arguments, code, said):
    (tmp_path / "model.bin").write_bytes(b"\x80\x02N.")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    names = {
        "A": sides[0],
        "A@3": f"{sides[0]}@3",
        "B": sides[1],
        "OTHER": write(tmp_path / "other.safetensors", {"x": np.ones(2)}),
        "CUT": str(cut),
        "CUT/below": str(cut / "below"),
        "model.bin": str(tmp_path / "model.bin"),
    }
    assert main(["compare", *(names.get(word, word) for word in arguments)]) == code
    out, error = capsys.readouterr()
    assert error.count("\n") == 1
    assert said in error
    assert not out  # found before any work
