"""`jaxreason preflight` with libtpu: tiny configs compiled for slices, verdicts, exit codes."""

import importlib.util
import json

import pytest

from jaxreason.cli.main import main
from jaxreason.errors import FailureError
from jaxreason.sharding import topologies

MODEL = "TransformerConfig(0, 2, 64, 4, 2, 16, 128, dtype='bfloat16', remat='full'{})"
IMPORTS = """
from jaxreason.data import BatchConfig, MazeData
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.experiment import MazeExperiment
"""
MAZE = f"""{IMPORTS}
experiment = MazeExperiment(
    data=MazeData(width=4, height=4, count=64),
    batch=BatchConfig(batch_size=32, length=128),
    model={MODEL.format("")},
    loss_chunk=64,
)
"""
DIFFUSION = f"""{IMPORTS}
experiment = MaskedDiffusionExperiment(
    world=MazeWorld(width=4, height=4, count=64),
    model={MODEL.format(", attention='bidirectional', tied=False")},
    rows={{"plan": 16, "draw_maze": 16}},
    mesh=MeshConfig(fsdp=-1, tensor=2),
    held_out=0,
)
"""

needs_libtpu = [
    pytest.mark.tpu_compile,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not here"),
]


def config(tmp_path, text):
    path = tmp_path / "tiny.py"
    path.write_text(text)
    return str(path)


def found(capsys, code, *arguments):
    """The JSON that the command printed, having ended with this code."""
    assert main(["preflight", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def sent(program, network):
    return sum(entry["bytes"] for entry in program["traffic"] if entry["network"] == network)


class TestCompiled:
    pytestmark = needs_libtpu

    @pytest.mark.parametrize(
        ("text", "name", "slices", "devices"),
        [
            (MAZE, "v5e-4", 2, 8),
            pytest.param(MAZE, "v5p-16", 1, 8, marks=pytest.mark.slow),
            pytest.param(DIFFUSION, "v5e-4", 1, 4, marks=pytest.mark.slow),
            (DIFFUSION, "v5p-16", 1, 8),
        ],
    )
    def test_tiny_configs_fit(self, tmp_path, capsys, text, name, slices, devices):
        several = ["--slices", str(slices), "--mesh.replica", str(slices)] if slices > 1 else []
        result = found(capsys, 0, config(tmp_path, text), "--topology", name, *several)
        (step,) = result["programs"]
        memory, estimate = step["memory"], step["estimate"]
        assert (result["fits"], result["topology"]["devices"]) == (True, devices)
        assert (step["name"], step["refusal"]) == ("training step", None)
        # Two moments to a parameter, every byte of the state written over in place.
        assert 2 * memory["parameters"] <= memory["optimizer"] < 2 * memory["parameters"] + 64
        assert step["undonated"] == 0
        assert sum(memory.values()) == step["needed"] < step["available"]
        assert {entry["kind"] for entry in step["traffic"]} >= {"all-gather"}
        assert (sent(step, "DCN") > 0) == (slices > 1)
        assert sent(step, "ICI") > sent(step, "DCN")
        assert estimate["seconds"] == max(estimate[x] for x in ("compute", "hbm", "ici", "dcn"))
        assert 0 < estimate["mfu"] < 1

    def test_what_does_not_fit_is_said_and_ends_with_1(self, tmp_path, capsys):
        huge = ["--batch.batch-size", "65536", "--batch.length", "8192", "--topology", "v5e-1"]
        result = found(capsys, 1, config(tmp_path, MAZE), *huge)
        (step,) = result["programs"]
        assert (result["fits"], step["fits"], step["estimate"]) == (False, False, None)
        assert "HBM" in step["refusal"]
        assert step["needed"] > step["available"] == result["topology"]["hbm_bytes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--topology is missing"),
        (["--topology", "v5p-17"], "topology 'v5p-17' is unknown"),
        (["--topology", "v5e-4", "--slices", "none"], "--slices is 'none'"),
    ],
)
def test_bad_input_is_told_before_any_work(tmp_path, capsys, arguments, message):
    assert main(["preflight", config(tmp_path, MAZE), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_libtpu_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(topologies.platform, "machine", lambda: "x86_64")
    with pytest.raises(FailureError, match=r"pip install 'jaxreason\[preflight\]'"):
        topologies.prepare_libtpu()
    monkeypatch.setattr(topologies.platform, "machine", lambda: "arm64")
    with pytest.raises(FailureError, match="Linux on x86-64"):
        topologies.prepare_libtpu()


def test_slices_and_mesh_must_agree(tmp_path, capsys):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not here")
    file = config(tmp_path, MAZE)
    assert main(["preflight", file, "--topology", "v5e-4", "--slices", "2"]) == 2
    assert "replica" in capsys.readouterr().err
