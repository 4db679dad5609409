"""Online RL over processes learns what one process learns, and each judges its own rows."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from harness import CODE, run_processes

from jaxreason.data.multimodal.maze_world import MazeWorld
from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.runs import load_run

SCRIPT = Path(__file__).with_name("reinforcement_script.py")
DIFFUSION = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, count=32, minimum_path_cells=None),
    model=TransformerConfig(0, 1, 16, 2, 1, 8, 32, attention="bidirectional"),
    rows={"plan": 4, "draw_solution": 4},
    train=TrainConfig(steps=1),
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A next-token model and a diffusion model, both untrained."""
    import sys

    sys.path.insert(0, str(CODE / "tests/training"))
    import rl_base

    words, denoiser = (tmp_path_factory.mktemp(name) for name in ("words", "denoiser"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        rl_base.make_base(words)
        DIFFUSION.run(denoiser, progress=False)
    return str(words), str(denoiser)


def compare(bases, directory, method):
    """Run on two processes and on one; returns what each of the two printed, and the one."""
    printed = []
    for processes in (2, 1):
        run = directory / str(processes)
        command = [SCRIPT, method, bases[":" in method], run]
        done = run_processes(processes, command, devices=4 // processes, timeout=500)
        for process in done:
            assert process.returncode == 0, process.stderr
        printed += [json.loads(process.stdout.splitlines()[-1]) for process in done]
    rows = [
        [json.loads(line) for line in (directory / name / "metrics.jsonl").open()]
        for name in ("1", "2")
    ]
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        timed = {"time", "tokens_per_second", "mfu"}
        for name in one.keys() - timed:
            # None stands for a mean over nothing.
            same = None if one[name] is None else pytest.approx(one[name], rel=1e-5, abs=1e-6)
            assert other[name] == same, name
    alone, together = (load_run(directory / name).params for name in ("1", "2"))
    # Sums over processes may be taken in another order than over devices.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), alone, together
    )
    return printed


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_each_judges_half(bases, tmp_path):
    first, second, alone = compare(bases, tmp_path, "grpo")
    assert alone["judged"] == [16, 16]
    for part in (first, second):
        assert [2 * count for count in part["judged"]] == alone["judged"]
        # Five rows over two shares: the last is judged twice and told once.
        assert part["values"] == alone["values"] == [1, 2, 3, 4, 5]
    assert first["failed"].startswith("FailureError: judging failed on process 1: ZeroDivision")
    assert second["failed"] == "ZeroDivisionError: division by zero"


@pytest.mark.slow  # three processes each
@pytest.mark.parametrize(
    "method",
    ["ppo", "prime", "dapo", "unigrpo:plan", "unigrpo:draw_solution", "vrpo:plan"],
)
def test_every_kind_of_algorithm_learns_the_same_on_two_processes(bases, tmp_path, method):
    first, second, alone = compare(bases, tmp_path, method)
    # Rewards are tried on one row before anything is drawn.
    counts = [[n for n in part["judged"] if n > 1] for part in (first, second, alone)]
    assert counts[0] == counts[1]
    assert [2 * n for n in counts[0]] == counts[2]
