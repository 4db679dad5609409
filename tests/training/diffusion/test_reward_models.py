"""Scores of drawn mazes by models of picture and text."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxreason.data.multimodal.maze_world import MazeWorld, MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.training.diffusion import reward_models
from jaxreason.training.diffusion.reward_models import picture_scores

WORLD = MazeWorld(width=3, height=3, count=6, minimum_path_cells=None)
SOURCE = MazeWorldSource(WORLD)


def drawn(solved):
    problems = [SOURCE.problem(i) for i in range(6)]
    return problems, np.stack([SOURCE.codes(i, solved) for i in range(6)])


def test_the_true_picture_has_the_colours_that_were_asked_for():
    problems, codes = drawn(solved=False)
    score = picture_scores(SOURCE, "draw_maze", {"correct": 1.0, "colour_words": 0.1})
    np.testing.assert_allclose(score(problems, codes)["colour_words"], 100, atol=1e-3)
    # It knows nothing of places, but walls everywhere are another colour.
    np.testing.assert_allclose(score(problems, codes[:, ::-1])["colour_words"], 100, atol=1e-3)
    assert (score(problems, np.zeros_like(codes))["colour_words"] < 99).all()
    solution = picture_scores(SOURCE, "draw_solution", {"colour_words": 1.0})
    problems, codes = drawn(solved=True)
    np.testing.assert_allclose(solution(problems, codes)["colour_words"], 100, atol=1e-3)


def test_a_clip_is_trained_on_the_task_and_sees_its_questions(monkeypatch):
    asked = []

    def train(source, config):
        asked.append((source, config.task, config.batch))
        return SimpleNamespace(
            scorer=lambda: lambda texts, pictures: np.arange(len(texts), dtype=np.float32),
            describe=lambda problem: "a maze",
        )

    monkeypatch.setattr(reward_models, "train_maze_clip", train)
    score = picture_scores(SOURCE, "draw_maze", {"clip": 0.1, "colour_words": 0.1})
    assert asked == [(SOURCE, "draw_maze", 6)]
    found = score(*drawn(solved=False))
    assert found["clip"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["colour_words"].shape == (6,)


def test_without_a_weight_there_is_no_score():
    assert picture_scores(SOURCE, "plan", {"correct": 1.0}) is None


def test_what_is_absent_is_named(tmp_path):
    listed = MazeWorldSource(MazeWorld(width=3, height=3, count=6, description="list"))
    for source, task, weights, folder, message in (
        (SOURCE, "draw_maze", {"image_reward": 1.0}, "", "expected image_reward_folder to name"),
        (SOURCE, "plan", {"colour_words": 1.0}, "", "task 'plan' is answered in words"),
        (SOURCE, "draw_maze", {"correct": 1.0}, "x", "clip_folder is 'x'"),
        (SOURCE, "draw_maze", {"clip": 1.0}, str(tmp_path / "no"), "the reward model is absent"),
        (listed, "draw_maze", {"clip": 1.0}, "", "description 'list'"),
    ):
        with pytest.raises(InputError, match=message):
            picture_scores(source, task, weights, folder)
