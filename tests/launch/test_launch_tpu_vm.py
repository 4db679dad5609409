"""The scripts for TPU VMs, with stand-ins for gcloud on this side and docker on the hosts'."""

import subprocess
import time

import pytest
from stand_ins import LAUNCH, StandIns

FOLDER = LAUNCH / "tpu_vm"
QUEUED = "gcloud compute tpus queued-resources"
IMAGE = "us-docker.pkg.dev/project/images/jaxreason:tpu"

# `docker run` ends with the next code of the file `codes`; "wait" waits for `docker stop`, which
# knows no container before it has started, then goes on for as long as saving takes.
DOCKER = """
case "$1" in
  rm) if [ -e "$HOME/term_at_rm" ]; then kill -TERM "$(cat "$HOME/jaxreason.pid")"; fi ;;
  run)
    code="$(head -n 1 "$HOME/codes")"
    sed -i 1d "$HOME/codes"
    if [ "$code" = wait ]; then
      /bin/sleep 0.3
      touch "$HOME/container"
      for _ in {1..200}; do [ -e "$HOME/stop" ] && break; /bin/sleep 0.05; done
      /bin/sleep 0.3
      code=42
      [ -e "$HOME/stop" ] || code=77
    fi
    exit "$code" ;;
  stop)
    [ -e "$HOME/container" ] || { echo "No such container" >&2; exit 1; }
    touch "$HOME/stop" ;;
esac
"""


@pytest.fixture
def host(tmp_path):
    stand_ins = StandIns(tmp_path)
    stand_ins.recorder("gcloud", 'if [ "$4" = describe ]; then cat "$HOME/state"; fi')
    stand_ins.recorder("sleep", "cp $HOME/next_state $HOME/state")
    stand_ins.env |= {"ZONE": "us-east5-a", "IMAGE": IMAGE}
    return stand_ins


@pytest.fixture
def worker(tmp_path):
    stand_ins = StandIns(tmp_path)
    stand_ins.recorder("docker", DOCKER)
    stand_ins.recorder("gcloud")
    stand_ins.add("sudo", 'exec "$@"')
    stand_ins.add("sleep", "exec /bin/sleep 0.05")
    return stand_ins


def of_root(worker):
    """The environment of a worker whose containers belong to root: it may signal none."""
    refusing = worker.folder / "refusing.sh"
    refusing.write_text("kill() { echo 'Operation not permitted' >&2; return 1; }\n")
    return worker.env | {"BASH_ENV": str(refusing)}


def test_a_slice_is_asked_for_and_waited_for(host):
    (host.folder / "state").write_text("WAITING_FOR_RESOURCES\n")
    (host.folder / "next_state").write_text("ACTIVE\n")
    done = host.run(FOLDER / "create.sh", "pod", "v5p-16", SPOT="1")
    assert done.returncode == 0, done.stderr
    assert host.calls()[0] == (
        f"{QUEUED} create pod --zone=us-east5-a --accelerator-type=v5p-16 "
        "--runtime-version=v2-alpha-tpuv5 --scopes=cloud-platform --node-id=pod --spot"
    )
    assert [call for call in host.calls() if call.startswith("sleep")] == ["sleep 30"]


def test_several_slices_are_one_queued_resource(host):
    (host.folder / "state").write_text("ACTIVE\n")
    host.run(FOLDER / "create.sh", "pod", "v6e-64", "4")
    assert host.calls()[0].endswith("--node-count=4 --node-prefix=pod")
    assert "--runtime-version=v2-alpha-tpuv6e" in host.calls()[0]


def test_what_will_not_come_is_a_failure(host):
    (host.folder / "state").write_text("FAILED\n")
    assert host.run(FOLDER / "create.sh", "pod", "v5p-16").returncode == 1


def test_software_of_an_unknown_accelerator_has_to_be_named(host):
    done = host.run(FOLDER / "create.sh", "pod", "v9-16")
    assert done.returncode == 2
    assert "RUNTIME" in done.stderr
    assert host.calls() == []


def test_every_host_gets_the_worker_and_is_told_to_run_it(host):
    # The second gcloud runs, on this one host, what it was told to.
    host.recorder("gcloud", 'if [ "$4" = ssh ]; then cd; eval "${!#}"; wait; fi')
    (host.folder / "jaxreason-worker.sh").write_text('printf "<%s>" "$@"\n')
    run = host.run(FOLDER / "run.sh", "pod", "file.py", "--run", "gs://b/a run", "--x", "$(no)")
    assert run.returncode == 0, run.stderr
    copy, ssh = host.calls()
    for call in (copy, ssh):
        assert "--zone=us-east5-a --node=all --worker=all" in call
    assert copy.startswith(f"{QUEUED} scp ")
    assert "tpu_vm/worker.sh pod:jaxreason-worker.sh" in copy
    for _ in range(100):
        if (host.folder / "jaxreason.log").read_text().endswith("<$(no)>"):
            break
        time.sleep(0.05)
    assert (host.folder / "jaxreason.log").read_text() == (
        f"<{IMAGE}><><file.py><--run><gs://b/a run><--x><$(no)>"
    )


def test_stop_and_delete(host):
    host.run(FOLDER / "stop.sh", "pod")
    host.run(FOLDER / "delete.sh", "pod")
    stop, delete = host.calls()
    assert stop.startswith(f"{QUEUED} ssh pod --zone=us-east5-a --node=all --worker=all")
    assert delete == f"{QUEUED} delete pod --zone=us-east5-a --force --quiet"


def work(worker, codes, **env):
    (worker.folder / "codes").write_text("\n".join(codes) + "\n")
    script = FOLDER / "worker.sh"
    arguments = ("gs://b/compiled", "file.py", "--run", "gs://b/run")
    return worker.run("bash", script, IMAGE, *arguments, **env)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (["0"], 0),
        (["42", "43", "137", "143", "134", "0"], 0),
        (["43", "1"], 1),
        (["42", "2"], 2),
        (["125"], 125),  # docker itself failed
        (["127"], 127),
    ],
)
def test_a_host_starts_its_process_again_until_it_is_done_or_has_failed(worker, codes, code):
    done = work(worker, [*codes, "77"])
    assert done.returncode == code, done.stdout + done.stderr
    runs = [call for call in worker.calls() if call.startswith("docker run")]
    assert len(runs) == len(codes)
    for run in runs:
        assert run.endswith(f"{IMAGE} train file.py --run gs://b/run")
        assert "--env JAX_COMPILATION_CACHE_DIR=gs://b/compiled" in run
        assert "--network host" in run  # the metadata server and the other hosts
        assert "--privileged" in run


def test_restarts_of_a_host_are_bounded(worker):
    assert work(worker, ["43"] * 9, JAXREASON_RESTARTS="2").returncode == 43
    assert sum(call.startswith("docker run") for call in worker.calls()) == 3


def test_stopped_by_stop_sh_it_saves_and_is_not_started_again(worker):
    (worker.folder / "codes").write_text("wait\n0\n")
    command = ["bash", FOLDER / "worker.sh", IMAGE, "", "file.py"]
    with (worker.folder / "jaxreason.log").open("w") as log:
        process = subprocess.Popen(command, cwd=worker.folder, env=of_root(worker), stdout=log)
    for _ in range(200):
        if any(call.startswith("docker run") for call in worker.calls()):
            break
        time.sleep(0.05)
    assert "--env JAX_COMPILATION_CACHE_DIR=/cache" in worker.calls()[-1]
    # Started once more, it leaves the one that runs alone.
    assert "already running" in worker.run(*command).stdout
    # What stop.sh tells every host.
    worker.recorder("gcloud", 'cd; eval "${!#}"')
    stop = worker.run("bash", FOLDER / "stop.sh", "pod", ZONE="z")
    assert stop.stdout == "worker.sh: ended with 42 after 0 restarts\n", stop.stderr
    assert process.wait(timeout=60) == 42
    assert "docker stop -t 120 jaxreason" in worker.calls()
    assert (worker.folder / "codes").read_text() == "0\n"


def test_asked_to_stop_before_the_container_is_there_it_stops_it_later(worker):
    (worker.folder / "codes").write_text("wait\n0\n")
    (worker.folder / "term_at_rm").touch()
    done = worker.run("bash", FOLDER / "worker.sh", IMAGE, "", "file.py")
    assert done.returncode == 42, done.stdout + done.stderr
    assert done.stdout == "worker.sh: ended with 42 after 0 restarts\n"
    assert (worker.folder / "codes").read_text() == "0\n"


def test_where_no_worker_runs_the_number_it_left_is_nobody_to_stop(worker):
    worker.recorder("gcloud", 'cd; eval "${!#}"')
    (worker.folder / "jaxreason.log").write_text("worker.sh: ended with 0 after 3 restarts\n")
    (worker.folder / "jaxreason.lock").touch()
    other = subprocess.Popen(["/bin/sleep", "60"])
    (worker.folder / "jaxreason.pid").write_text(f"{other.pid}\n")
    try:
        stop = worker.run("bash", FOLDER / "stop.sh", "pod", ZONE="z")
        assert stop.stdout == "worker.sh: ended with 0 after 3 restarts\n", stop.stderr
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
