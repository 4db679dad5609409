"""launch/skypilot: read by SkyPilot's own parser, and run under bash with its variables."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest
import yaml
from stand_ins import LAUNCH, ROOT, StandIns

from jaxreason.sharding.clusters import Layout, find_layout

FILES = ["gpu.yaml", "tpu.yaml"]

PARSE = """
import json, sys, sky
task = sky.Task.from_yaml(sys.argv[1])
(resources,) = task.resources
print(json.dumps({
    "nodes": task.num_nodes, "accelerators": resources.accelerators,
    "spot": resources.use_spot, "recovery": resources.job_recovery, "envs": task.envs,
}))
"""


def load(name):
    return yaml.safe_load((LAUNCH / "skypilot" / name).read_text())


@pytest.mark.skipif(
    importlib.util.find_spec("sky") is None, reason="SkyPilot is not installed (extra `launch`)"
)
@pytest.mark.parametrize(
    ("name", "accelerators"), [("gpu.yaml", {"H100": 8}), ("tpu.yaml", {"tpu-v5p-16": 1})]
)
def test_skypilot_reads_it(name, accelerators, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
    file = LAUNCH / "skypilot" / name
    done = subprocess.run(
        [sys.executable, "-c", PARSE, file], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout.splitlines()[-1])
    assert task["nodes"] == load(name)["num_nodes"]
    assert task["accelerators"] == accelerators
    assert task["spot"]
    recovery = load(name)["resources"]["job_recovery"]
    assert {key: task["recovery"][key] for key in recovery} == recovery
    assert {key: task["envs"][key] for key in load(name)["envs"]} == load(name)["envs"]


@pytest.mark.parametrize("name", FILES)
def test_it_recovers_from_what_may_end_differently_only(name):
    recovery = load(name)["resources"]["job_recovery"]
    codes = set(recovery["recover_on_exit_codes"])
    assert {42, 43} <= codes
    # 137 is what SkyPilot reports for the other nodes when one failed with 1.
    assert not {0, 1, 2, 137} & codes
    assert recovery["max_restarts_on_errors"] == 0  # which would count 1 and 2, too


@pytest.fixture
def node(tmp_path):
    """A node after the files were copied to it; its Python and jaxreason note what they do."""
    stand_ins = StandIns(tmp_path)
    shutil.copytree(LAUNCH, tmp_path / "launch")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return stand_ins


@pytest.mark.parametrize(("name", "extras"), [("gpu.yaml", "gcs,cuda12"), ("tpu.yaml", "gcs,tpu")])
def test_setup_makes_an_environment_once(node, name, extras):
    python = node.recorder("python-of-node")
    (node.folder / ".local" / "bin").mkdir(parents=True)
    uv = node.recorder("uv", f"mkdir -p .venv/bin; cp {python} .venv/bin/python")
    shutil.move(uv, node.folder / ".local" / "bin" / "uv")
    for _ in range(2):
        done = node.run("bash", "-c", load(name)["setup"])
        assert done.returncode == 0, done.stderr
    calls = node.calls()
    assert calls[0] == "uv venv --seed --python 3.12 .venv"
    installed = [call for call in calls if "install" in call]
    assert len(installed) == 1
    assert "--constraint launch/constraints.txt" in installed[0]
    assert extras in installed[0].replace("\\", "")


def run(node, name, **env):
    (node.folder / ".venv" / "bin").mkdir(parents=True)
    code = 'printf "%s\\n" "$@" "$JAX_COMPILATION_CACHE_DIR"; exit 43'
    shutil.move(node.add("stand-in", code), node.folder / ".venv" / "bin" / "jaxreason")
    done = node.run("bash", "-c", load(name)["run"], **load(name)["envs"] | env)
    assert done.returncode == 43, done.stderr  # SkyPilot sees the code of the run
    *arguments, compiled = done.stdout.splitlines()
    return arguments, compiled


def test_gpu_nodes_are_told_who_they_are(node):
    skypilot = {
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.9",
    }
    arguments, _ = run(node, "gpu.yaml", **skypilot)
    envs = load("gpu.yaml")["envs"]
    own = ["train", *envs["TRAIN"].split(), "--run", envs["RUN"]]
    assert arguments[: len(own)] == own
    rest = arguments[len(own) :]
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    layout = find_layout(given["--coordinator"], given["--processes"], given["--process"])
    assert layout == Layout("10.0.0.5:8476", 2, 1, "flags", None)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"RUN": "gs://own/runs/paper"}, "gs://own/runs/compiled"),
        ({"RUN": "gs://own/runs/paper/"}, "gs://own/runs/compiled"),
        ({"RUN": "gs://own/x", "JAX_COMPILATION_CACHE_DIR": "gs://other/y"}, "gs://other/y"),
    ],
)
def test_the_documented_command_leaves_no_placeholder(node, name, env, expected):
    nodes = {
        "SKYPILOT_NUM_NODES": "1",
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NODE_IPS": "10.0.0.5",
    }
    arguments, compiled = run(node, name, **nodes, **env)
    assert compiled == expected
    assert not [word for word in arguments if "MY_BUCKET" in word]


def test_tpu_hosts_are_numbered_by_the_tpu(node, monkeypatch):
    skypilot = {
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.9",
    }
    arguments, _ = run(node, "tpu.yaml", **skypilot)
    envs = load("tpu.yaml")["envs"]
    assert arguments == ["train", *envs["TRAIN"].split(), "--run", envs["RUN"]]

    from jax._src.clusters import cloud_tpu_cluster

    known = {
        "agent-worker-number": "0",
        "worker-network-endpoints": "a:b:10.0.0.9,a:b:10.0.0.5",
        "tpu-env": "",
    }
    for name in ("TPU_SKIP_MDS_QUERY", "TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in skypilot.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: (known[key], 200))
    assert find_layout()[1:4] == (2, 0, "Cloud TPU")
