"""train.sbatch under bash, with stand-ins for srun and scontrol and Slurm's own variables."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from stand_ins import LAUNCH, StandIns

from jaxreason.sharding.clusters import find_layout

SCRIPT = LAUNCH / "slurm" / "train.sbatch"

# What `man srun` says: every task in a session of its own, signals go to all of them, and the
# code is the highest of all tasks', 128 + the signal's number if a signal ended it.
SRUN = """# python
import os, signal, subprocess, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    words.pop(0)
tasks = int(os.environ["SLURM_NTASKS"])
per_node = int(os.environ["SLURM_NTASKS_PER_NODE"])
given = {"SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_STEP_NUM_NODES": "2"}
processes = []
with open(os.environ["HOME"] + "/srun.pid", "w") as file:
    file.write(str(os.getpid()))
for i in range(tasks):
    own = {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i % per_node)}
    processes.append(
        subprocess.Popen(words, env=os.environ | given | own, start_new_session=True)
    )
def forward(number, frame):
    for process in processes:
        os.killpg(process.pid, number)
signal.signal(signal.SIGTERM, forward)
codes = [process.wait() for process in processes]
sys.exit(max(128 - code if code < 0 else code for code in codes))
"""

# Ends with the code that CODES has for this process; "wait" saves on SIGTERM, a little later.
JAXREASON = """# python
import json, os, signal, sys, time
rank = int(os.environ["SLURM_PROCID"])
code = os.environ["CODES"].split()[rank]
keep = ("SLURM_", "JAX")
with open(f"{os.environ['HOME']}/process{rank}.json", "w") as file:
    variables = {k: v for k, v in os.environ.items() if k.startswith(keep)}
    json.dump({"arguments": sys.argv[1:], "env": variables}, file)
if code == "wait":
    def save(number, frame):
        time.sleep(0.2)
        open(f"{os.environ['HOME']}/saved{rank}", "w").close()
        os._exit(42)
    signal.signal(signal.SIGTERM, save)
    open(f"{os.environ['HOME']}/waiting{rank}", "w").close()
    time.sleep(30)
if code.startswith("signal"):
    os.kill(os.getpid(), int(code.removeprefix("signal")))
sys.exit(int(code))
"""


@pytest.fixture
def slurm(tmp_path):
    stand_ins = StandIns(tmp_path)
    stand_ins.add("srun", SRUN)
    stand_ins.recorder("scontrol")
    stand_ins.env |= {
        "JAXREASON": str(stand_ins.add("jaxreason", JAXREASON)),
        "SLURM_JOB_ID": "4711",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
    }
    return stand_ins


def started(slurm, rank):
    return json.loads((slurm.folder / f"process{rank}.json").read_text())


def requeued(slurm):
    return "scontrol requeue 4711" in slurm.calls()


def layouts(slurm, monkeypatch):
    """What each process takes the run for, in its own environment."""
    found = []
    for file in sorted(slurm.folder.glob("process*.json")):
        with monkeypatch.context() as patch:
            for name, value in json.loads(file.read_text())["env"].items():
                patch.setenv(name, value)
            found.append(find_layout())
    return found


def test_every_process_runs_the_command_and_finds_the_others(slurm, monkeypatch):
    arguments = ["experiments/maze/tiny.py", "--run", "/shared/a run", "--train.steps", "3"]
    done = slurm.run("bash", SCRIPT, *arguments, CODES="0 0 0 0")
    assert done.returncode == 0, done.stderr
    assert not requeued(slurm)
    for rank in range(4):
        process = started(slurm, rank)
        assert process["arguments"] == ["train", *arguments]
        assert process["env"]["JAX_COMPILATION_CACHE_DIR"] == f"{slurm.folder}/runs/compiled"
    found = layouts(slurm, monkeypatch)
    assert len({layout.coordinator for layout in found}) == 1
    assert found[0].coordinator.startswith("gpu07:")
    assert [layout[1:] for layout in found] == [(4, i, "Slurm", (i % 2,)) for i in range(4)]


def test_one_process_per_node_gets_all_of_its_gpus(slurm, monkeypatch):
    one = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    slurm.run("bash", SCRIPT, "file.py", CODES="0 0", **one)
    found = layouts(slurm, monkeypatch)
    assert [layout[1:] for layout in found] == [(2, i, "Slurm", None) for i in range(2)]


@pytest.mark.parametrize(
    ("codes", "code", "again"),
    [
        ("42 42 42 42", 42, True),
        ("43 43 0 43", 43, True),
        ("0 43 signal9 43", 137, True),
        ("43 signal6 43 43", 134, True),
        ("1 1 1 1", 1, False),
        ("2 2 2 2", 2, False),
        ("0 0 3 0", 3, False),
        # One process fails; that the others then hang or are killed does not hide it.
        ("43 1 43 43", 1, False),
        ("43 2 signal9 43", 2, False),
    ],
)
def test_only_what_may_end_differently_is_queued_again(slurm, codes, code, again):
    done = slurm.run("bash", SCRIPT, "file.py", CODES=codes)
    assert done.returncode == code, done.stdout + done.stderr
    assert requeued(slurm) == again


def test_restarts_are_bounded(slurm):
    for count, again in (("3", False), ("2", True)):
        slurm.run(
            "bash", SCRIPT, "f.py", CODES="43 43 43 43", JAXREASON_RESTARTS="3",
            SLURM_RESTART_COUNT=count,
        )  # fmt: skip
        assert requeued(slurm) == again


def start_waiting(slurm):
    process = subprocess.Popen(
        ["bash", SCRIPT, "file.py"],
        cwd=slurm.folder,
        env=slurm.env | {"CODES": "wait wait wait wait"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for _ in range(400):
        if len(list(slurm.folder.glob("waiting*"))) == 4:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[0])


def test_before_the_time_limit_all_save_and_the_job_is_queued_again(slurm):
    process = start_waiting(slurm)
    # --signal=TERM@120: to the tasks, shells included, and not to the script.
    os.kill(int((slurm.folder / "srun.pid").read_text()), signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert len(list(slurm.folder.glob("saved*"))) == 4
    assert process.returncode == 42, output
    assert requeued(slurm)


def test_term_to_the_script_is_passed_on_and_ends_the_job(slurm):
    process = start_waiting(slurm)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert len(list(slurm.folder.glob("saved*"))) == 4
    assert process.returncode == 42, output
    assert not requeued(slurm)


def test_what_slurm_is_asked_for_fits_together():
    lines = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.MULTILINE)
    asked = dict(lines)
    assert asked["gpus-per-node"] == asked["ntasks-per-node"]  # a process per GPU
    assert asked["signal"] == "TERM@120"  # without "B:", so the tasks get it
    assert asked["open-mode"] == "append"  # the log of a restarted job goes on
    assert "requeue" in asked
    assert not {"gpus-per-task", "gpu-bind"} & set(asked)
