"""What launch/README.md and the templates say can be done as it stands."""

import re
import shlex

import pytest
from kubernetes_stand_in import load as load_kubernetes
from kubernetes_stand_in import pod_spec, processes, train_container
from stand_ins import LAUNCH, ROOT, StandIns

from jaxreason.cli import launch
from jaxreason.cli.main import SUBCOMMANDS, main
from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import take_process_flags
from jaxreason.sharding.topologies import topology
from jaxreason.training.runs import load_experiment

README = (LAUNCH / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
TRAIN = "jaxreason train "


def shell_of(file, key):
    """What a template tells `jaxreason train`, as a line of README would."""
    found = re.search(rf"^  {key}: (.*)$", (LAUNCH / file).read_text(), re.MULTILINE)
    return f"{TRAIN}{found.group(1)} --run runs/x"


def readme_commands():
    """Every jaxreason command of README, those inside launchers' commands included."""
    lines = BLOCKS.splitlines() + re.findall(r"`(jaxreason \w+ [^`]+)`", README)
    for line in lines:
        if line.startswith("jaxreason "):
            yield line
        elif started := re.search(r"(?:train\.sh|train\.sbatch|run\.sh my-pod) (.*)", line):
            yield TRAIN + started.group(1).removesuffix(" ...")


COMMANDS = [*readme_commands(), shell_of("skypilot/gpu.yaml", "TRAIN")]


def experiment_of(words):
    """The experiment that `jaxreason train WORDS` would run."""
    file, *options = words
    take_process_flags(options)
    if "--run" in options:
        at = options.index("--run")
        del options[at : at + 2]
    default = load_experiment(ROOT / file)
    return parse_options(type(default), options, "train", default)


def test_there_are_commands_for_every_system():
    assert len(COMMANDS) >= 7
    for name in ("local", "slurm", "docker", "gke", "tpu_vm", "skypilot"):
        assert f"launch/{name}/" in BLOCKS


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_is_understood(line, monkeypatch):
    _, subcommand, *words = shlex.split(re.sub(r"\[.*\]", "", line))
    assert subcommand in SUBCOMMANDS
    words = ["experiments/maze/tiny.py" if word == "FILE" else word for word in words]
    if subcommand == "launch":
        seen = []
        monkeypatch.setattr(launch, "run_launch", lambda asked: seen.append(asked) or 0)
        assert main(["launch", *words]) == 0
        (asked,) = seen
        subcommand, *words = asked.command
        assert asked.processes == 4
    if subcommand == "preflight":
        at = words.index("--topology")
        topology(words[at + 1])
        del words[at : at + 2]
    experiment_of(words)


@pytest.mark.parametrize("path", re.findall(r"\blaunch/[\w/.]+\.\w+|`(?:\w+/)[\w*]+\.\w+`", README))
def test_a_file_it_names_exists(path):
    path = path.strip("`").removeprefix("launch/")
    assert list(LAUNCH.glob(path)), path


def fits(words, devices):
    experiment = experiment_of(words)
    replica, fsdp, *_ = experiment.mesh.shape(devices)
    return experiment.batch.batch_size % (replica * fsdp) == 0


@pytest.mark.parametrize("file", ["gpu.yaml", "tpu.yaml"])
def test_what_gke_runs_fits_the_devices_it_asks_for(file):
    (jobset,) = load_kubernetes(file)
    subcommand, *words = train_container(jobset)["args"]
    assert subcommand == "train"
    (of_a_host,) = train_container(jobset)["resources"]["limits"].values()
    devices = len(processes(jobset)) * of_a_host
    assert fits(words, devices)
    if file == "tpu.yaml":
        known = topology("v5p-16")
        assert devices == known.devices
        shape = pod_spec(jobset)["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
        assert known.libtpu_name == f"v5p:{shape}"


@pytest.mark.parametrize(
    ("line", "devices"),
    [
        (shell_of("skypilot/gpu.yaml", "TRAIN"), 16),
        (shell_of("skypilot/tpu.yaml", "TRAIN"), topology("v5p-16").devices),
    ],
)
def test_what_skypilot_runs_fits_the_devices_it_asks_for(line, devices):
    assert fits(shlex.split(line)[2:], devices)


LOCAL = [
    command.replace("\\\n", " ")
    for text in (README, (LAUNCH.parent / "README.md").read_text())
    for command in re.findall(r"^jaxreason launch (?:.*\\\n)*.*", text, re.MULTILINE)
]


@pytest.mark.parametrize("command", LOCAL)
def test_what_runs_on_this_machine_fits_its_devices(command):
    options, _, words = command.partition(" -- ")
    given = dict(re.findall(r"--([\w-]+) (\d+)", options))
    devices = int(given["processes"]) * int(given.get("devices-per-process", 1))
    subcommand, *rest = shlex.split(words)
    assert subcommand == "train"
    assert fits(rest, devices)


def test_there_are_examples_for_this_machine_in_both_pages():
    assert len(LOCAL) >= 2


def test_the_logs_of_all_hosts_are_followed_from_their_beginning():
    (command,) = re.findall(r"kubectl logs.*", BLOCKS.replace("\\\n", " "))
    words = shlex.split(command, comments=True)
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words[2:])
    label, name = options["selector"].split("=")
    assert label.endswith("jobset-name")
    # With a selector kubectl shows ten lines of each and refuses more than five.
    assert options["tail"] == "-1"
    for file in ("gpu.yaml", "tpu.yaml"):
        (jobset,) = load_kubernetes(file)
        assert jobset["metadata"]["name"] == name
        assert int(options["max-log-requests"]) >= len(processes(jobset))
    assert int(options["max-log-requests"]) > 5


def test_what_slurm_is_shown_to_run_fits_its_gpus():
    text = (LAUNCH / "slurm" / "train.sbatch").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\d+)$", text, re.MULTILINE))
    devices = int(asked["nodes"]) * int(asked["gpus-per-node"])
    (command,) = [c for c in COMMANDS if "/shared/runs/paper" in c]
    assert fits(shlex.split(command)[2:], devices)


def test_the_local_script_asks_for_what_the_launcher_knows(tmp_path, monkeypatch):
    stand_ins = StandIns(tmp_path)
    own = stand_ins.recorder("jaxreason")
    script = LAUNCH / "local" / "train.sh"
    file = "experiments/maze/tiny.py"
    stand_ins.run(script, file, "--run", "a run", JAXREASON=str(own), PROCESSES="3", DEVICES="2")
    (call,) = stand_ins.calls()
    seen = []
    monkeypatch.setattr(launch, "run_launch", lambda asked: seen.append(asked) or 0)
    assert main(shlex.split(call)[1:]) == 0
    (asked,) = seen
    assert asked.command == ("train", file, "--run", "a run")
    assert (asked.processes, asked.devices, asked.restarts) == (3, 2, 100)
