"""The script for one GPU: the same code at tiny size, and what it refuses."""

import contextlib
import dataclasses
import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jaxreason.models import Transformer, preset

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"
NAMES = (
    *("peer_process", "suite", "table", "environment"),
    *("gpu_table", "gpu_profile", "gpu_cases", "gpu_peers", "gpu"),
)


@pytest.fixture(scope="module")
def scripts():
    """The modules of the folder, as they find each other when one of them is run."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        del sys.modules[name]


def figures(scripts, case):
    return scripts.gpu_cases.measure_case(dataclasses.asdict(scripts.gpu.tiny(case)))


@pytest.mark.slow
def test_every_kind_of_case_runs_at_tiny_size_and_gets_a_row(scripts):
    gpu = scripts.gpu
    packed = dataclasses.replace(gpu.SMALL, name="packed", segments=True, profile=False)
    found = [figures(scripts, case) for case in (gpu.SMALL, packed, gpu.LARGE, gpu.DECODING)]
    assert all(one["tokens_per_second"] > 0 for one in found[:3])
    assert found[0]["largest_costs"]
    assert not found[1]["largest_costs"]
    assert found[3]["bytes_per_step"] > 2 * found[3]["parameters"]  # bfloat16, and the cache
    assert [one["mfu"] for one in found[:3]] == [None] * 3  # a CPU's peak is not known
    # Parameters of two bytes with moments of twice four, as the library trains them.
    assert found[2]["state_bytes"] > 10 * found[2]["parameters"]
    # Causality by a mask of packed rows or without any: the same loss.
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-2)
    report = {
        "smoke": True,
        "commit": "c",
        "date": "d",
        "versions": {},
        "devices": ["CPU"],
        "processor": {"model": "m"},
        "goals": gpu.GOALS,
        "cases": [
            found[0] | {"peer_differs": ["one thing", "another"]},
            *found[1:],
            {"case": {"name": "huge"}, "failed": "does not fit the memory"},
        ],
    }
    text = scripts.gpu_table.markdown(report)
    assert text.count("| 0.5 B | ") == 1
    assert "- huge: does not fit the memory" in text
    assert "- 0.5 B: one thing; another" in text
    assert "no measurement" in text
    assert "met" not in text.replace("not met", "met").split("no measurement")[1]


def test_names_of_variants_are_their_own_and_each_changes_something(scripts):
    cases = scripts.gpu.cases(scripts.gpu.Gpu())
    assert len({case.name for case in cases}) == len(cases) == len(scripts.gpu.VARIANTS)
    unnamed = [dataclasses.astuple(dataclasses.replace(case, name="")) for case in cases]
    assert len({str(case) for case in unnamed}) == len(cases)
    for case in cases:
        preset(case.model, case.vocabulary, **case.changes)


def test_a_program_without_cudnn_is_refused(scripts):
    with pytest.raises(scripts.gpu_cases.NoCudnnError, match="no __cudnn"):
        scripts.gpu_cases.check_cudnn("ROOT dot = f32[2,2] dot(a, b)")
    call = 'custom-call(q), custom_call_target="__cudnn$fmhaSoftmax"'
    assert scripts.gpu_cases.check_cudnn(f"{call}\n{call}") == 2


def test_a_case_that_fails_says_why(scripts):
    case = dataclasses.replace(scripts.gpu.tiny(scripts.gpu.SMALL), cudnn=True)
    found = scripts.gpu.run_case(case, smoke=True)
    assert "__cudnn$fmha" in found["failed"]


def test_flags_of_xla_are_those_of_the_process_of_a_case(scripts, monkeypatch):
    gpu = scripts.gpu
    flagged = [case for case in gpu.cases(gpu.Gpu(smoke=True)) if case.xla_flags]
    assert ("--xla_gpu_enable_command_buffer=",) in [case.xla_flags for case in flagged]
    with pytest.raises(RuntimeError, match="XLA_FLAGS lacks --xla_gpu"):
        figures(scripts, flagged[0])
    seen = []

    def started(command, env, **_):
        seen.append(env["XLA_FLAGS"].split())
        return SimpleNamespace(returncode=0, stdout="{}\n")

    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")
    monkeypatch.setattr(gpu.subprocess, "run", started)
    for case in [*flagged, gpu.SMALL]:
        gpu.run_case(case, smoke=True)
    assert seen == [["--xla_of_the_user=1", *case.xla_flags] for case in [*flagged, gpu.SMALL]]


class Torch:
    """A peer whose every step takes half a second."""

    def __init__(self):
        self.asked, self.facts, self.has = [], {"device": "GPU"}, lambda *_: True

    def start(self, module, settings):
        assert module == "gpu_training"
        self.asked.append(settings)
        return contextlib.nullcontext(self)

    def contestants(self):
        return {"torch compiled": lambda times: 0.5 * times}


def test_torch_is_compared_like_for_like_or_what_differs_is_said(scripts):
    gpu = scripts.gpu
    found = [{"case": dataclasses.asdict(case)} for case in gpu.cases(gpu.Gpu())]
    torch = Torch()
    scripts.gpu_peers.run_peers(found, torch, smoke=False)
    named = {x["case"]["name"]: x for x in found if "peer_seconds_per_step" in x}
    assert set(named) == {"0.5 B", gpu.AS_TORCH, "8 B"}
    assert named[gpu.AS_TORCH]["peer_differs"] == []
    small, large = ("; ".join(named[name]["peer_differs"]) for name in ("0.5 B", "8 B"))
    assert "remat 'names'" in small
    assert "logits of 4,096" in small
    assert "moments" in large
    assert "corrupts" in large
    # The same step of torch, at 0.5 B, is timed once.
    assert [asked["bidirectional"] for asked in torch.asked] == [False, True]
    assert [asked["checkpointing"] for asked in torch.asked] == [False, True]


def test_peers_get_the_cores_this_process_may_use(scripts, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert scripts.peer_process.find_peer(None).threads == 3
    assert scripts.environment.processor()["cores"] == 3


def test_bytes_of_a_decoding_step(scripts):
    config = preset("maze_tiny", 64, tied=False, dtype="bfloat16")
    model = Transformer(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.bfloat16), shapes)
    count = sum(x.size for x in jax.tree.leaves(params)) - 64 * config.width
    case = dataclasses.replace(scripts.gpu.DECODING, batch=3)
    # 4 layers of 4 heads of 32, keys and values, two bytes each.
    cache = 3 * 10 * 2 * 4 * 4 * 32 * 2
    assert scripts.gpu_cases.bytes_per_step(case, model, params, 10) == 2 * count + cache


def test_costs_are_those_of_the_streams_of_the_device(scripts):
    def name(kind, number, thread, text):
        return {"ph": "M", "name": kind, "pid": number, "tid": thread, "args": {"name": text}}

    def event(number, thread, text, spent):
        return {"ph": "X", "name": text, "pid": number, "tid": thread, "dur": spent}

    events = [
        name("process_name", 1, 0, "/device:GPU:0"),
        name("process_name", 2, 0, "/host:CPU"),
        name("thread_name", 1, 7, "Stream #13(Compute)"),
        name("thread_name", 1, 8, "XLA Modules"),
        event(1, 7, "gemm", 600_000),
        event(1, 7, "fmha", 150_000),
        event(1, 7, "fmha", 250_000),
        event(1, 8, "jit_advance", 1_000_000),  # the same second again, as a whole
        event(2, 9, "waiting", 900_000),
    ]
    assert scripts.gpu_profile.summary(events, 5) == [
        {"name": "gemm", "seconds": 0.6, "share": 0.6},
        {"name": "fmha", "seconds": 0.4, "share": 0.4},
    ]
    assert [x["name"] for x in scripts.gpu_profile.summary(events, 1)] == ["gemm"]
