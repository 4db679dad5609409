"""Single answers from the command line: words, pictures, and parts of them again."""

import numpy as np
import pytest
from PIL import Image

from jaxreason.cli.main import main
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.evaluation.diffusion import answering
from jaxreason.evaluation.diffusion.measuring import judge_of
from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.runs import load_run

TINY = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, minimum_path_cells=None, count=16),
    model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="bidirectional"),
    rows={"draw_maze": 4, "plan": 4},
    decoding=DecodingConfig(block=8, tokens_per_step=4, image_steps=2),
    train=TrainConfig(steps=1),
    held_out=0,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run of one step."""
    made = tmp_path_factory.mktemp("sampled") / "one"
    TINY.run(made, progress=False)
    return made


@pytest.fixture(scope="module")
def judged(directory):
    """A judge of the run, and its parameters."""
    run = load_run(directory)
    return judge_of(run, mazes=2, batch=2), run.params


def test_words_are_printed_with_their_question_and_verdict(directory, capsys):
    assert main(["sample", str(directory), "--count", "1"]) == 0
    question, answer = capsys.readouterr().out.splitlines()
    assert question.startswith("[0] user")
    assert answer.endswith(("(right)", "(wrong)"))


def test_an_edit_keeps_every_word_that_is_not_blank(judged):
    text = "plan 0 _ plan _ 1 end"
    for shown in answering.edited_words(*judged, "plan", 2, text, 0):
        assert len(shown.answer) == len(text.split())
        for given, written in zip(text.split(), shown.answer, strict=True):
            assert given in (written, answering.BLANK)
            assert written != answering.BLANK
            assert not written.startswith("<|"), "special tokens and image codes are no words"


def test_the_true_answer_is_right_whatever_fills_the_place_after_it(judged):
    judge, params = judged
    words = judge.source.vocabulary.decode_words(judge.source.answer(0, "plan"))
    plan = [word for word in words if not word.startswith("<")]
    shown = answering.edited_words(judge, params, "plan", 1, " ".join([*plan, "_"]), 0)[0]
    assert shown.answer[:-1] == plan
    assert shown.right
    wrong = answering.edited_words(judge, params, "plan", 1, " ".join(["wall", *plan[1:], "_"]), 0)
    assert not wrong[0].right


def test_redrawing_changes_nothing_outside_the_part(judged):
    judge, params = judged
    truth = judge.source.codec.decode(np.stack([judge.source.codes(i) for i in range(2)]))
    for i, shown in enumerate(answering.redrawn(judge, params, "draw_maze", 2, (0, 0, 1, 3), 0)):
        rows = truth[i].shape[0] // 3
        np.testing.assert_array_equal(shown.picture[rows:], truth[i][rows:])


def test_pictures_and_animations_are_written(directory, tmp_path, capsys):
    out = tmp_path / "made"
    arguments = ["sample", str(directory), "--task", "draw_maze", "--count", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert "a picture" in capsys.readouterr().out
    with Image.open(out / "draw_maze_0.gif") as moving:
        assert moving.n_frames >= 2
    with Image.open(out / "draw_maze_0.png") as picture:
        assert picture.width == picture.height


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "read_plan"], "trained on draw_maze, plan"),
        (["--count", "0"], "count is 0"),
        (["--edit", "plan 0 0 end"], "has no '_'"),
        (["--edit", "plan 0 house _"], "'house'"),
        (["--edit", "_ " * 60], "has room for"),
        (["--task", "draw_maze", "--edit", "_"], "answered by a picture"),
        (["--redraw", "0", "0", "1", "1"], "answered in words"),
        (["--task", "draw_maze", "--redraw", "0", "0", "9", "1"], "leaves the grid"),
        (["--edit", "_", "--redraw", "0", "0", "1", "1"], "give one of them"),
    ],
)
def test_bad_input_is_one_sentence(directory, options, message, capsys):
    assert main(["sample", str(directory), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    assert main(["sample", str(tmp_path)]) == 1
    assert "is not a run directory" in capsys.readouterr().err
