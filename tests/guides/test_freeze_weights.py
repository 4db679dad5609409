"""The script for people who want masks only: what it prints is true."""

import ast
import re
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "guides" / "freeze_weights.py"


def test_the_script_shows_what_it_says(capsys):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    out = capsys.readouterr().out
    found = re.search(r"loss ([\d.]+) -> ([\d.]+)", out)
    assert float(found[2]) < float(found[1])
    assert "frozen weights that changed a bit: 0\n" in out
    assert "trained differently: 0\n" in out
    dense, small = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) bytes", out))
    assert small < 0.1 * dense
    unchanged = [float(share) for share in re.findall(r"([\d.]+)%", out)]
    fp32_last, fp32_ever, bf16_last, bf16_ever = unchanged
    assert fp32_ever <= fp32_last < bf16_last
    assert fp32_ever < bf16_ever < bf16_last


def test_the_script_needs_nothing_else_of_the_package():
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) < 90
    modules = {
        node.module
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.ImportFrom)
    }
    assert {name for name in modules if name.startswith("jaxreason")} == {"jaxreason"}
    assert "from jaxreason import masks" in lines
