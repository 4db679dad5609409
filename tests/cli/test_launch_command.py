"""`jaxreason launch`: what is started, with which variables, and when it is started again."""

import signal
import socket
import sys

import pytest

from jaxreason.cli import launch as module
from jaxreason.cli.launch import Launch, run_launch
from jaxreason.cli.launched import check_gpus, held_port
from jaxreason.cli.main import main
from jaxreason.errors import InputError

PROCESS = """
import ctypes, os, signal, sys, time
from pathlib import Path
folder, plan = Path(sys.argv[1]), sys.argv[2].split(";")
me = int(os.environ["JAXREASON_PROCESS"])
starts = len(list(folder.glob(f"{me}-[0-9]")))
(folder / f"{me}-{starts}").write_text(str(dict(os.environ)))
print("hello", flush=True)
print("trouble", file=sys.stderr, flush=True)
what = plan[min(starts, len(plan) - 1)].split(",")[me]
if what in ("wait", "deaf"):
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / f"{me}-is-deaf").touch()
    time.sleep(60)
if what == "orphan":
    signals = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(signals))
    print(signals.value, flush=True)
    what = 0
if what == "kill":
    os.kill(os.getpid(), 9)
sys.exit(int(what))
"""


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Runs `plan`: for each start (;) the exit code of each process (,), or kill, or wait."""

    class Stand(module._Group):
        def run_once(self):
            monkeypatch.setattr(module.sys, "executable", sys.executable)
            return super().run_once()

    real = module.subprocess.Popen

    def popen(arguments, **options):
        return real([sys.executable, "-c", PROCESS, *arguments[3:]], **options)

    monkeypatch.setattr(module, "_Group", Stand)
    monkeypatch.setattr(module.subprocess, "Popen", popen)

    def start(plan, **options):
        folder = tmp_path / "starts"
        folder.mkdir(exist_ok=True)
        count = len(plan.split(";")[0].split(","))
        code = run_launch(Launch((str(folder), plan), count, **options))
        return code, len(list(folder.glob("0-[0-9]"))), folder

    return start


@pytest.mark.parametrize(
    ("plan", "code", "starts"),
    [
        ("0,0", 0, 1),
        ("43,43;0,0", 0, 2),
        ("42,42;0,0", 0, 2),
        ("43,kill;0,0", 0, 2),
        ("kill,43;43,43;0,0", 0, 3),
        ("2,2;0,0", 2, 1),
        ("1,43;0,0", 1, 1),
        ("43,2;0,0", 2, 1),
        ("43,43", 43, 4),
    ],
)
def test_all_are_started_again_unless_it_would_only_repeat(started, plan, code, starts):
    assert started(plan, restarts=3)[:2] == (code, starts)


def test_no_restarts_are_none(started):
    assert started("42,42;0,0", restarts=0)[:2] == (42, 1)


def test_processes_that_do_not_end_with_the_others_are_killed(started):
    code, starts, _ = started("43,wait", restarts=0, grace=0.2)
    assert (code, starts) == (43, 1)


def test_every_process_gets_its_place_its_devices_and_its_prefix(started, monkeypatch, capfd):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_other=1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    _, _, folder = started("0,0", devices=2)
    first, second = (eval((folder / f"{i}-0").read_text()) for i in range(2))
    assert (first["JAXREASON_PROCESS"], second["JAXREASON_PROCESS"]) == ("0", "1")
    assert first["JAXREASON_COORDINATOR"] == second["JAXREASON_COORDINATOR"]
    assert first["JAXREASON_COORDINATOR"].startswith("127.0.0.1:")
    assert first["JAXREASON_PROCESSES"] == "2"
    assert first["JAX_NUM_CPU_DEVICES"] == "2"
    assert first["XLA_FLAGS"] == "--xla_other=1"
    assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("4,5", "6,7")
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] hello", "[1] hello"]
    assert sorted(err.splitlines()) == ["[0] trouble", "[1] trouble"]


def test_sigterm_goes_to_all_and_nothing_is_started_again(started, monkeypatch):
    wait = module._Group._wait

    def signalled(group):
        signal.raise_signal(signal.SIGTERM)
        wait(group)

    monkeypatch.setattr(module._Group, "_wait", signalled)
    code, starts, _ = started("wait,wait", restarts=3)
    assert starts <= 1
    assert code == 43, "these processes do not save; a signal ended them"


def test_a_signal_while_they_are_started_reaches_all_that_were(started, monkeypatch):
    begin, count = module._Group._started, 0

    def signalled(group, *arguments):
        nonlocal count
        count += 1
        process = begin(group, *arguments)
        if count == 2:
            # Nobody knows this process yet.
            signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr(module._Group, "_started", signalled)
    code, _, _ = started("wait,wait,wait", restarts=3, grace=30)
    assert (code, count) == (43, 2), "the third is not started, and nothing is started again"


def test_processes_that_do_not_hear_sigterm_are_killed_in_the_end(started, monkeypatch, tmp_path):
    wait = module._Group._wait

    def signalled(group):
        while not (tmp_path / "starts" / "0-is-deaf").exists():
            assert group.running[0].poll() is None
        signal.raise_signal(signal.SIGTERM)
        wait(group)

    monkeypatch.setattr(module._Group, "_wait", signalled)
    code, _, _ = started("deaf", restarts=3, stop_grace=0.2)
    assert code == 43, "killed, with nothing saved"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has this")
def test_processes_get_sigterm_when_their_launcher_is_killed(started, capfd):
    assert started("orphan", restarts=0)[0] == 0
    assert f"[0] {int(signal.SIGTERM)}" in capfd.readouterr().out.splitlines()


def test_fewer_gpus_than_the_processes_need_are_refused(started, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with pytest.raises(InputError, match=r"needs 6 GPUs, but CUDA_VISIBLE_DEVICES=0,1,2,3 names 4"):
        started("0,0,0", devices=2)
    for visible, platforms in (("", ""), ("-1", ""), ("0", "cpu")):
        check_gpus({"CUDA_VISIBLE_DEVICES": visible, "JAX_PLATFORMS": platforms}, 3, 2)
    check_gpus({}, 3, 2)


def test_the_port_is_nobody_elses_but_process_0_can_listen_at_it():
    with held_port() as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.socket() as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(("", port))
            first.listen()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "2"], "expects -- and a subcommand"),
        (["--processes", "2", "--"], "no command"),
        (["--", "train"], "needs --processes N"),
        (["--processes", "0", "--", "train"], "--processes is 0"),
        (["--processes", "two", "--", "train"], "--processes is 'two'"),
        (["--processes", "2", "--devices-per-process", "0", "--", "x"], "--devices-per-process"),
        (["--processes", "2", "--gpus", "1", "--", "train"], "unknown argument '--gpus'"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_code_2(arguments, message, capsys):
    assert main(["launch", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_bad_flags_of_train_are_refused_before_any_wait(capsys):
    file = "experiments/maze/tiny.py"
    assert main(["train", file, "--processes", "two"]) == 2
    assert "--processes is 'two'; expected a whole number" in capsys.readouterr().err
