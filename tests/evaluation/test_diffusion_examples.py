"""A finished run is judged once and kept; its examples keep what was known."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import FailureError
from jaxreason.evaluation.diffusion import examples, measuring
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.runs import load_run

TINY = MaskedDiffusionExperiment(
    world=MazeWorld(width=4, height=3, minimum_path_cells=None, count=16),
    model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="bidirectional"),
    rows={"draw_maze": 4, "plan": 4},
    decoding=DecodingConfig(block=8, tokens_per_step=4, image_steps=2),
    train=TrainConfig(steps=1),
    mesh=MeshConfig(),
    held_out=0,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run of one step."""
    made = tmp_path_factory.mktemp("runs") / "one"
    TINY.run(made, progress=False)
    return made


@pytest.fixture(scope="module")
def judged(directory):
    """The run, and a judge of it."""
    run = load_run(directory)
    return run, measuring.judge_of(run, mazes=4, batch=4)


def test_a_run_is_judged_once(directory, monkeypatch):
    asked = []
    first = measuring.measure_run(directory, "a", ["draw_maze"], mazes=4, on_task=asked.append)
    assert asked == ["draw_maze"]
    assert first.steps == 1
    assert first.tasks["draw_maze"]["correct"].n == 4

    def refuse(*_, **__):
        raise AssertionError("judged again")

    monkeypatch.setattr(measuring, "judge_of", refuse)
    kept = measuring.measure_run(directory, "b", ["draw_maze"], mazes=4)
    assert (kept.name, kept.tasks) == ("b", first.tasks)
    with pytest.raises(AssertionError, match="judged again"):
        measuring.measure_run(directory, "a", ["draw_maze"], mazes=3)


def test_a_run_that_has_not_ended_is_not_judged(directory):
    summary = directory / "summary.json"
    kept = summary.read_text()
    summary.unlink()
    try:
        with pytest.raises(FailureError, match=r"no summary\.json"):
            measuring.measure_run(directory, "a", ["draw_maze"], mazes=2)
    finally:
        summary.write_text(kept)


def test_inpainting_and_extrapolation_keep_what_was_there(judged, monkeypatch):
    run, judge = judged
    filled = []
    fill = examples._fill

    def remember(*arguments):
        filled.append((arguments[3], fill(*arguments)))
        return filled[-1][1]

    monkeypatch.setattr(examples, "_fill", remember)
    inpainted = examples.inpainting_sheet(judge, run.params, 4, "t")
    continued = examples.extrapolation_sheet(judge, run.params, 4, "t")
    assert set(inpainted.images) == set(continued.images) == {"light", "dark"}
    assert len(filled) == 3
    for canvas, codes in filled:
        known = canvas.reshape(4, -1) >= 0
        assert known.any()
        assert not known.all()
        np.testing.assert_array_equal(codes[known], canvas.reshape(4, -1)[known])
        assert (codes >= 0).all()


def test_an_animation_ends_with_the_answer(judged):
    run, judge = judged
    answered = judge.answer(run.params, "draw_maze", mazes=4)
    chosen = int(np.argmax(answered.judgement.values))
    moving = examples.moving_picture(judge, run.params, "draw_maze", 4, "draw")
    frames = list(ImageSequence.Iterator(Image.open(io.BytesIO(moving.gif))))
    assert len(frames) == int(answered.pictures.order[chosen].max()) + 2
    assert moving.title == f"draw ({'right' if answered.judgement.values[chosen] else 'wrong'})"
