"""SIGTERM with several processes: JAX's service counts the steps, and nobody else may."""

import subprocess
import sys
from pathlib import Path

import training_toy as toy
from jax.experimental import multihost_utils

from jaxreason.errors import FailureError, InputError, Preempted, describe
from jaxreason.training.preemption import Termination


def test_saving_a_checkpoint_asks_the_service_nothing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        multihost_utils, "reached_preemption_sync_point", lambda step: bool(asked.append(step))
    )
    toy.run(tmp_path, steps=4, save_every=2)
    assert asked == []
    # The loop of several processes asks it, through this name.
    monkeypatch.setattr("jax.process_count", lambda: 2)
    assert not Termination().requested(7)
    assert asked == [7]


COUNTING = """
import os, signal, sys, time
from pathlib import Path
import jax
jax.distributed.initialize(sys.argv[1], 1, 0)
from jax.experimental.multihost_utils import reached_preemption_sync_point as reached
import training_toy as toy
from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.state import init_state

state = init_state(toy.init, make_optimizer(toy.OPTIMIZER), jax.random.key(0))
checkpoints = Checkpoints(Path(sys.argv[2]))
checkpoints.save(state._replace(step=state.step + 8), {"step": 8, "sums": None}, {"index": 8})
reached(10)
checkpoints.wait()
checkpoints.close()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(3)  # until the service has settled the step at which all stop
print([step for step in range(11, 15) if reached(step)])
"""


def test_a_save_that_ends_while_the_loop_is_further_on_does_not_lose_the_signal(tmp_path):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    ended = subprocess.run(
        [sys.executable, "-c", COUNTING, coordinator, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(toy.__file__).parent,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[11]"


class Exit(Exception):
    """Of another package, which gives its exceptions such a code, too."""

    exit_code = None


def test_what_ends_a_command_has_an_exit_code_and_a_sentence():
    assert describe(Preempted("stopped by SIGTERM")) == (42, "stopped by SIGTERM")
    assert describe(InputError("bad")) == (2, "bad")
    assert describe(FailureError("full")) == (1, "full")
    assert describe(FileNotFoundError(2, "No such file", "x")) == (1, "x: No such file")
    code, sentence = describe(Exit("gone"))
    assert (code, sentence) == (1, "internal error, Exit: gone (--debug shows where)")
