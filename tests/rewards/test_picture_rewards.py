"""Rewards of pictures: exact for mazes, weighted sums for scorers of picture and text."""

import numpy as np
import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.mazes import search
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.raster_judges import MAZE_PICTURE_CODES, SOLUTION_PICTURE_CODES
from jaxreason.mazes.rasters import (
    CELL_CLASSES,
    COLOURS,
    FREE,
    PLAN,
    WALL,
    cell_classes,
    paint,
    rasterise,
)
from jaxreason.rewards.image_text import colour_words_scorer, image_text_reward
from jaxreason.rewards.pictures import maze_picture_reward

FLOOR = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
PROBLEM = Problem(FLOOR, (0, 0), (2, 1), "given")
PLAN_CELLS = search(PROBLEM).plan


def painted(*changes, plan=None):
    """The picture with some cells (x, y, class) painted over."""
    cells = cell_classes(PROBLEM, plan)
    for x, y, kind in changes:
        cells[y, x] = kind
    return paint(cells, 2)


def test_a_maze_earns_all_or_nothing():
    pictures = np.stack([painted(), painted((1, 1, FREE)), painted((0, 0, WALL), (0, 2, 6))])
    reward = maze_picture_reward("draw_maze")([PROBLEM] * 3, pictures)
    assert reward.values.tolist() == [1, 0, 0]
    assert reward.values.dtype == np.float32
    np.testing.assert_allclose(reward.breakdown["share"], [1, 8 / 9, 7 / 9], rtol=1e-6)
    assert set(reward.breakdown) == {"correct", "share", *MAZE_PICTURE_CODES}
    assert reward.breakdown["missing_wall"].tolist() == [0, 1, 0]
    assert reward.breakdown["missing_start"].tolist() == [0, 0, 1]
    assert reward.breakdown["unknown_colour"].tolist() == [0, 0, 1]
    assert all(v.dtype == np.float32 and v.shape == (3,) for v in reward.breakdown.values())


def test_a_solution_earns_by_its_plan_and_its_maze():
    detour = np.array([(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1)])
    pictures = np.stack(
        [
            painted(plan=PLAN_CELLS),
            painted(plan=detour),
            painted(),
            painted((1, 1, PLAN), plan=PLAN_CELLS),
            painted((1, 2, WALL), plan=PLAN_CELLS),
        ]
    )
    reward = maze_picture_reward("draw_solution", exact=2, share=0.5)([PROBLEM] * 5, pictures)
    breakdown = reward.breakdown
    assert breakdown["correct"].tolist() == [1, 1, 0, 0, 0]
    assert breakdown["optimal"].tolist() == [1, 0, 0, 0, 0]
    assert breakdown["maze"].tolist() == [1, 1, 1, 1, 0]
    assert breakdown["goal_not_reached"].tolist() == [0, 0, 1, 0, 0]
    assert breakdown["plan_on_wall"].tolist() == [0, 0, 0, 1, 0]
    assert set(breakdown) == {"correct", "share", "optimal", "maze", *SOLUTION_PICTURE_CODES}
    expected = 2 * breakdown["correct"] + 0.5 * breakdown["share"]
    np.testing.assert_allclose(reward.values, expected)
    assert reward.values[0] == 2.5
    assert 0 < reward.values[2] < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maze_picture_reward("draw"), "task is 'draw'; expected 'draw_maze'"),
        (lambda: maze_picture_reward("draw_maze", 0, 0), "exact is 0 and share 0"),
        (
            lambda: maze_picture_reward("draw_maze")([PROBLEM], np.zeros((2, 6, 6, 3), np.uint8)),
            "1 problems for 2 pictures",
        ),
        (
            lambda: maze_picture_reward("draw_maze")([PROBLEM], np.zeros((1, 6, 7, 3), np.uint8)),
            "image is 7x6 pixels; expected the same whole number of pixels for each cell of 3x3",
        ),
        (
            lambda: maze_picture_reward("draw_maze")([PROBLEM], np.zeros((1, 6, 6, 3))),
            "pictures are float64 .* expected RGB, uint8",
        ),
        (
            lambda: maze_picture_reward("draw_maze")([PROBLEM], np.zeros((1, 6, 6, 4), np.uint8)),
            r"of shape \(1, 6, 6, 4\); expected RGB",
        ),
    ],
)
def test_pictures_that_do_not_fit_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


PICTURES = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (0, 100, 200)])


def brightness(texts, pictures):
    assert texts == ["maze 7", "maze 8", "maze 9"]
    return pictures.mean(axis=(1, 2, 3)).astype(np.float32)


def constant(texts, pictures):
    return np.full(len(texts), 5.0)


def test_scorers_add_up_with_the_weights_of_the_paper_or_others():
    scorers = {"clip": brightness, "image_reward": constant}
    problems = [7, 8, 9]
    reward = image_text_reward(scorers, describe=lambda p: f"maze {p}")(problems, PICTURES)
    np.testing.assert_allclose(reward.values, [0.5, 10.5, 20.5])
    assert reward.breakdown["clip"].tolist() == [0, 100, 200]
    assert reward.breakdown["image_reward"].dtype == np.float32
    weights = {"image_reward": -1.0, "clip": 0.01}
    other = image_text_reward(scorers, weights, lambda p: f"maze {p}")(problems, PICTURES)
    np.testing.assert_allclose(other.values, [-5, -4, -3], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: image_text_reward({}), InputError, "there is no scorer"),
        (
            lambda: image_text_reward({"clip": constant, "image_reward": None}),
            InputError,
            "the reward model 'image_reward' is absent",
        ),
        (
            lambda: image_text_reward({"clip": constant}, {"image_reward": 0.1}),
            InputError,
            r"weights are for \['image_reward'\]; expected one for each of \['clip'\]",
        ),
        (
            lambda: image_text_reward({"clip": constant}, float("nan")),
            InputError,
            "weight of 'clip' is nan",
        ),
        (
            lambda: image_text_reward({"clip": lambda t, p: np.zeros(2)})("abc", PICTURES),
            FailureError,
            r"'clip' gave float64 of shape \(2,\); expected .* \(3,\)",
        ),
        (
            lambda: image_text_reward({"clip": lambda t, p: np.array([0, np.inf, 0])})(
                "abc", PICTURES
            ),
            FailureError,
            "'clip' gave inf for picture 1",
        ),
    ],
)
def test_absent_and_broken_scorers_are_told_apart(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_words_of_colours_prefer_the_picture_they_describe():
    score = colour_words_scorer(dict(zip(CELL_CLASSES, COLOURS[:5].tolist(), strict=True)))
    text = "wall free free free free free free start goal"
    picture = rasterise(PROBLEM)
    other = rasterise(Problem(np.eye(3, dtype=bool), (0, 0), (2, 2), "given"))
    scores = score([text, text, "nothing"], np.stack([picture, other, picture]))
    assert scores[0] == pytest.approx(100, abs=1e-3)
    assert scores[1] < 60
    assert scores[2] == 0
    with pytest.raises(InputError, match="expected two or more"):
        colour_words_scorer({"wall": (0, 0, 256), "free": (1, 2, 3)})
