"""Real processes on this machine, joined over its loopback, for tests of what several hosts do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

CODE = Path(__file__).parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(count=1, index=0, devices=2, coordinator=None, env=None):
    """Variables of one process: its place among `count`, and how many CPU devices it has.

    With a single process nothing is joined, and it has `devices` devices.
    """
    flags = [
        flag
        for flag in os.environ.get("XLA_FLAGS", "").split()
        if "xla_force_host_platform_device_count" not in flag
    ]
    joined = {
        "JAXREASON_COORDINATOR": coordinator or f"127.0.0.1:{free_port()}",
        "JAXREASON_PROCESSES": str(count),
        "JAXREASON_PROCESS": str(index),
    }
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "XLA_FLAGS": " ".join(flags),
        "PYTHONPATH": os.pathsep.join([str(CODE), str(CODE / "tests/training")]),
        **(joined if count > 1 else {}),
        **(env or {}),
    }


def command(script_or_args):
    """`jaxreason ARGS` for a list, a Python script (which joins by itself) for a path."""
    if isinstance(script_or_args, str | Path):
        return [sys.executable, str(script_or_args)]
    first, *rest = map(str, script_or_args)
    if first.endswith(".py"):
        return [sys.executable, first, *rest]
    return [sys.executable, "-m", "jaxreason.cli.main", first, *rest]


def start_all(count, script_or_args, devices=2, env=None):
    """`count` processes as `subprocess.Popen`, with pipes of text."""
    coordinator = f"127.0.0.1:{free_port()}"
    return [
        subprocess.Popen(
            command(script_or_args),
            env=environment(count, index, devices, coordinator, env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def wait_all(processes, script_or_args, timeout=180):
    """Every process's CompletedProcess, in order; whatever still runs after `timeout` is killed."""
    from concurrent.futures import ThreadPoolExecutor

    def finish(process):
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\nkilled by the test after {timeout} s"
        return subprocess.CompletedProcess(command(script_or_args), process.returncode, out, err)

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(finish, processes))


def run_processes(count, script_or_args, devices=2, env=None, timeout=180):
    """Run `count` processes with `devices` CPU devices each and wait for all.

    Args:
        count: 1 runs a single process without joining anything.
        script_or_args: arguments of the `jaxreason` command; or a Python script, or one and its
            arguments, that calls `jaxreason.sharding.start.start_processes()` itself.
        devices: CPU devices of each process.
        env: further variables.
        timeout: seconds after which what still runs is killed.

    Returns:
        A CompletedProcess of each, in order.
    """
    return wait_all(start_all(count, script_or_args, devices, env), script_or_args, timeout)
