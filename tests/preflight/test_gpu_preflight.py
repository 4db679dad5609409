"""Preflight for machines with GPUs: names, what is exact, what is an estimate, and what is said."""

import importlib.util
import io
import json
import types

import jax
import pytest

from jaxreason.cli.main import main
from jaxreason.errors import InputError
from jaxreason.sharding import gpus
from jaxreason.sharding.gpus import any_topology, gpu_topology, gpus_here, stand_in
from jaxreason.sharding.topologies import GIB
from jaxreason.training.preflight.analysis import Report
from jaxreason.training.preflight.gpu import Compiler, analyse_for_gpus
from jaxreason.training.preflight.programs import Planned
from jaxreason.training.preflight.run import Preflight
from jaxreason.training.preflight.tables import show

CONFIG = """
from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.experiment import MazeExperiment

experiment = MazeExperiment(
    data=MazeData(width=4, height=4, count=64),
    batch=BatchConfig(batch_size=8, length=128),
    model=TransformerConfig(0, 2, 64, 4, 2, 16, 128, dtype='bfloat16', remat='full'),
    loss_chunk=64,
)
"""


def test_machines_are_found_by_name():
    machine = gpu_topology("H200x8")
    assert (machine.name, machine.devices, machine.chip.kind) == ("h200x8", 8, "H200")
    # 143,771 MiB as the driver reports them, of which JAX is told to take 95 %.
    assert 133 < machine.chip.hbm_bytes / GIB < 134
    assert any_topology("a100-80gb").devices == 1
    assert any_topology("v5p-16").devices == 8
    for name in ("h200x3", "h200x16", "h200x"):
        with pytest.raises(InputError, match=f"topology '{name}' is unknown; expected one of"):
            any_topology(name)
    with pytest.raises(InputError, match="or of GPUs: a100-80gb, h100, h200, b200"):
        any_topology("h300")


def test_the_stand_in_has_as_many_devices():
    assert stand_in(gpu_topology("h200")).name == "v5p-2"
    for name, hosts, devices in (("h200x2", 1, 2), ("h100x8", 1, 8), ("b200x8", 4, 32)):
        assert stand_in(gpu_topology(name), hosts).devices == devices
    with pytest.raises(InputError, match="no TPU slice has 24 devices"):
        stand_in(gpu_topology("h200x8"), 3)


@pytest.mark.parametrize(
    ("platforms", "names", "here"),
    [
        ("", "NVIDIA H200\nNVIDIA H200\n", True),
        ("cuda,cpu", "NVIDIA H200\nNVIDIA H200\n", True),
        ("cpu", "NVIDIA H200\nNVIDIA H200\n", False),
        ("", "NVIDIA H200\n", False),
        ("", "NVIDIA H100 80GB HBM3\nNVIDIA H100 80GB HBM3\n", False),
        ("", None, False),
    ],
)
def test_gpus_are_looked_for_before_jax_is_imported(monkeypatch, platforms, names, here):
    def run(command, **options):
        if names is None:
            raise FileNotFoundError(command[0])
        return types.SimpleNamespace(returncode=0, stdout=names)

    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(gpus.subprocess, "run", run)
    assert gpus_here(gpu_topology("h200x2")) == here


def planned(error):
    def lower():
        raise jax.errors.JaxRuntimeError(error)

    return Planned(
        "training step", lower, {"parameters": 40 * GIB}, {"base": 10 * GIB}, None, 1.0, 0,
        gradients=20 * GIB,
    )  # fmt: skip


def test_more_than_the_stand_in_holds_may_still_fit_the_gpu():
    error = "RESOURCE_EXHAUSTED: Ran out of memory. Used 110.00G of 95.74G hbm."
    machine = gpu_topology("h200")
    report = analyse_for_gpus(planned(error), Compiler(machine, 1, stand_in(machine)))
    assert report.fits
    assert report.needed == 120 * GIB  # the base lies there besides
    assert report.memory["gradients"] == 20 * GIB
    assert report.memory["activations and temporaries"] == 50 * GIB
    assert "more than the 95.74 GiB of the stand-in" in report.note
    small = gpu_topology("h100")
    assert not analyse_for_gpus(planned(error), Compiler(small, 1, stand_in(small))).fits
    # On the GPU itself a refusal is one.
    refused: Report = analyse_for_gpus(planned(error), Compiler(machine, 1, None))
    assert not refused.fits
    assert "Used 110.00G" in refused.refusal


def test_what_was_compiled_is_said():
    machine = gpu_topology("h200")
    compiler = Compiler(machine, 1, stand_in(machine))
    error = "RESOURCE_EXHAUSTED: Ran out of memory. Used 110.00G of 95.74G hbm."
    report = analyse_for_gpus(planned(error), compiler)
    text = io.StringIO()
    show(Preflight(machine, 1, {"fsdp": 1}, [report], compiler.description()), text)
    said = " ".join(text.getvalue().split())
    for words in (
        "h200: 1 GPUs, 1 hosts, 1 devices of 133.38 GiB; mesh of one device",
        "XLA_PYTHON_CLIENT_MEM_FRACTION=0.95",
        "an estimate: no H200 is here",
        "compiled for as many TPUs (v5p-2)",
        "needed: fits 133.38 GiB",
        "more than the 95.74 GiB of the stand-in",
    ):
        assert words in said
    assert "those of programs compiled for these GPUs" in Compiler(machine, 1, None).description()


@pytest.mark.tpu_compile
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not here")
def test_a_run_is_judged_without_a_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    file = tmp_path / "tiny.py"
    file.write_text(CONFIG)
    asked = ["preflight", str(file), "--topology", "h200", "--optimizer.moments-dtype", "bfloat16"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (program,) = found["programs"]
    memory = program["memory"]
    # Parameters float32, two moments in bfloat16, a few counters.
    assert 0 <= memory["optimizer"] - memory["parameters"] < 64
    assert 0 < memory["gradients"] <= memory["parameters"]
    assert memory["activations and temporaries"] > 0
    assert program["needed"] == sum(memory.values())
    assert found["fits"]
    assert "an estimate: no H200 is here" in found["compiled_for"]
    assert "TPUs (v5p-2)" in found["compiled_for"]
    assert program["traffic"] == []
