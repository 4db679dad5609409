"""How long a run may stand still."""

import subprocess
import sys

import pytest

from jaxreason.errors import InputError
from jaxreason.sharding.lost import LOST_EXIT_CODE, is_lost
from jaxreason.training.clock import Clock
from jaxreason.training.loop import TrainConfig
from jaxreason.training.watchdog import PATIENCE, Watchdog


def test_a_step_may_take_the_timeout_and_no_longer():
    watchdog = Watchdog(10.0, Clock())
    watchdog.finished(1)
    assert watchdog.count(("step",), 6.0) is None
    assert watchdog.count(("data",), 3.9) is None
    late = watchdog.count(("step",), 0.2)
    assert "no step was finished in 10 s after step 1 (now in step" in late


def test_a_finished_step_starts_anew_and_the_same_step_does_not():
    watchdog = Watchdog(10.0, Clock())
    watchdog.finished(1)
    assert watchdog.count(("step",), 9.0) is None
    watchdog.finished(2)
    assert watchdog.count(("step",), 9.0) is None
    watchdog.finished(2)
    assert watchdog.count(("step",), 9.0) is not None


@pytest.mark.parametrize("part", ["compile", "evaluation", "checkpoint"])
def test_what_is_long_gives_patience_until_the_next_step_is_over(part):
    watchdog = Watchdog(10.0, Clock())
    watchdog.finished(1)
    assert watchdog.count((part, "sampling"), 5.0) is None
    # The step that follows waits for processes that are still at it.
    assert watchdog.count(("step",), PATIENCE * 10.0 - 6.0) is None
    assert f"after step 1 and its {part}" in watchdog.count(("step",), 2.0)
    watchdog = Watchdog(10.0, Clock())
    watchdog.finished(1)
    watchdog.count((part,), 5.0)
    watchdog.finished(2)
    assert watchdog.count(("step",), 11.0) is not None


def test_the_start_is_long():
    watchdog = Watchdog(10.0, Clock())
    assert watchdog.count((), PATIENCE * 10.0 - 1.0) is None
    assert "before the first step" in watchdog.count((), 2.0)


def test_the_clock_knows_what_is_under_way():
    clock = Clock()
    with clock.measure("compile"), clock.measure("sampling"):
        assert clock.parts == ("compile", "sampling")
    assert clock.parts == ()


def test_the_timeout_is_a_field_that_may_be_left_open():
    assert TrainConfig().step_timeout is None
    assert TrainConfig(step_timeout=0).step_timeout == 0
    with pytest.raises(InputError, match=r"train\.step_timeout is -1"):
        TrainConfig(step_timeout=-1)


class JaxRuntimeError(Exception):
    """Stands for JAX's, which is told by its name."""


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("UNKNOWN: Gloo all-reduce failed: Read error: Connection reset by peer", True),
        ("UNAVAILABLE: Socket closed", True),
        ("RESOURCE_EXHAUSTED: Out of memory", False),
        ("INTERNAL: during compilation", False),
    ],
)
def test_errors_that_mean_another_process_is_gone(text, lost):
    assert is_lost(JaxRuntimeError(text)) == lost
    outer = RuntimeError("the checkpoint")
    outer.__cause__ = JaxRuntimeError(text)
    assert is_lost(outer) == lost
    assert not is_lost(ValueError(text))


STUCK = """
import sys, time
from pathlib import Path
from jaxreason.sharding.lost import end_on_abort
from jaxreason.training.clock import Clock
from jaxreason.training.watchdog import watching
if sys.argv[2] == "abort":
    end_on_abort(0, "another process died")
with watching(0.05, Path(sys.argv[1]), Clock()) as watchdog:
    if sys.argv[2] == "abort":
        watchdog.close()
        import os
        os.abort()
    def hang_here():
        time.sleep(60)
    hang_here()
"""


@pytest.mark.parametrize(("how", "where"), [("hang", "in hang_here"), ("abort", "in <module>")])
def test_a_process_that_hangs_or_is_aborted_leaves_its_stacks_and_code_43(tmp_path, how, where):
    ended = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path), how],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == LOST_EXIT_CODE == 43, ended.stderr
    kept = (tmp_path / "stacks" / "process-0.txt").read_text()
    for text in (ended.stderr, kept):
        assert where in text
        assert ("no step was finished" if how == "hang" else "another process died") in text
