"""How long a run may stand still."""

import subprocess
import sys

import pytest
import training_toy as toy

from jaxreason.errors import InputError
from jaxreason.sharding.lost import LOST_EXIT_CODE, is_lost
from jaxreason.training.clock import Clock
from jaxreason.training.loop import TrainConfig
from jaxreason.training.watchdog import LONG, PATIENCE, Watchdog


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


def watchdog_in_a_run(dispatched, finished):
    """One that has seen these steps; the clock is the run's."""
    clock = Clock()
    watchdog = Watchdog(10.0, clock)
    watchdog.begun(0)
    for step in range(1, dispatched + 1):
        watchdog.dispatched(step)
        watchdog.finished(min(step - 1, finished))
    watchdog.finished(finished)
    return watchdog, clock


@pytest.mark.parametrize("part", LONG)
def test_what_is_long_gives_patience_until_the_step_it_was_for_is_over(part):
    watchdog, clock = watchdog_in_a_run(dispatched=5, finished=4)
    with clock.measure(part):
        assert watchdog.count(clock.parts, 5.0) is None
    watchdog.dispatched(6)
    # The step before is fetched only now, while others may still be at the long part of step 6.
    watchdog.finished(5)
    assert watchdog.count(("step",), PATIENCE * 10.0 - 1.0) is None
    assert f"after step 5 and its {part}" in watchdog.count(("step",), 2.0)


@pytest.mark.parametrize("part", LONG)
def test_patience_ends_with_that_step(part):
    watchdog, clock = watchdog_in_a_run(dispatched=5, finished=4)
    with clock.measure(part):
        pass
    for step in (6, 7):
        watchdog.dispatched(step)
        watchdog.finished(step - 1)
    assert "in 10 s after step 6 (now" in watchdog.count(("step",), 11.0)


def test_other_parts_give_no_patience():
    watchdog, clock = watchdog_in_a_run(dispatched=5, finished=4)
    with clock.measure("step"), clock.measure("data"):
        assert watchdog.count(clock.parts, 11.0) is not None


@pytest.mark.parametrize("begun", [0, 8])
def test_the_start_is_long_until_the_first_step_of_this_start_is_over(begun):
    watchdog = Watchdog(10.0, Clock())
    watchdog.begun(begun)
    watchdog.dispatched(begun + 1)
    watchdog.finished(begun)
    assert watchdog.count((), PATIENCE * 10.0 - 1.0) is None
    late = watchdog.count((), 2.0)
    assert ("after step 8 and its start" if begun else "before the first step") in late
    watchdog.finished(begun + 1)
    assert watchdog.count((), 11.0) is not None


def test_a_run_tells_its_watchdog_of_every_step_and_of_what_is_long(tmp_path, monkeypatch):
    seen = []

    class Seen(Watchdog):
        def begun(self, step):
            super().begun(step)
            seen.append(("begun", step))

        def dispatched(self, step):
            super().dispatched(step)
            seen.append(("dispatched", step))

        def finished(self, step):
            super().finished(step)
            seen.append(("finished", step, self._long))

    monkeypatch.setattr("jaxreason.training.watchdog.Watchdog", Seen)
    toy.run(tmp_path, steps=6, save_every=0)
    # Steps 1 and 2 have shapes of their own, which are compiled, and are fetched one step late.
    long = ["compile", "compile", None, None, None, None]
    expected = [("begun", 0)] * 2
    for step in range(1, 7):
        expected += [("dispatched", step), ("finished", step - 1, long[step - 1])]
    assert seen == expected


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
        (
            "INTERNAL: NCCL operation ncclGroupEnd() failed: remote process exited or there was a "
            "network error. Last NCCL warning(error) log entry: Connection closed by remote peer",
            True,
        ),
        ("INTERNAL: NCCL operation failed: unhandled system error (NCCL_DEBUG=INFO)", True),
        ("ABORTED: NCCL operation failed: invalid usage. Duplicate GPU detected", False),
        ("INTERNAL: NCCL operation failed: unhandled cuda error. 'out of memory'", False),
        ("ABORTED: another task failed", True),
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
