"""Scores of drawn mazes by models of picture and text, beside the exact verdicts on them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.mazes.astar import search
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.rasters import CELL_CLASSES, COLOURS, cell_classes
from jaxreason.rewards.image_text import Scorer, colour_words_scorer, image_text_reward
from jaxreason.training.diffusion.image_reward_scorer import load_image_reward_scorer
from jaxreason.training.diffusion.maze_clip import MazeClipConfig, train_maze_clip
from jaxreason.training.diffusion.picture_scorers import load_clip_scorer

PICTURE_SCORES = ("clip", "colour_words", "image_reward")
"""`clip`: 100 times the cosine of a CLIP, the maze world's own unless a folder of another is given.
`colour_words`: 100 times the cosine between the colours of the picture and of the true one, which
needs no weights and knows nothing of places.
`image_reward`: that of a folder with the published model, on its own scale."""

PictureScores = Callable[[Sequence[Any], Any], Mapping[str, np.ndarray]]
"""`(problems, codes [B, N]) -> name to [B] float32`."""


def picture_scores(
    source: MazeWorldSource,
    task: str,
    weights: Mapping[str, float],
    clip_folder: str = "",
    image_reward_folder: str = "",
) -> PictureScores | None:
    """The scores that have a weight; None if none has.

    A CLIP of the world is trained here (`train_maze_clip`), always to the same weights.

    Args:
        source: mazes that a CLIP is trained on, and the codec of the pictures.
        task: "draw_maze" or "draw_solution".
        weights: name to weight; names that are no scores are left to the judge.
        clip_folder: a published CLIP, see `load_clip_scorer`; "" trains one.
        image_reward_folder: the published ImageReward, see `load_image_reward_scorer`.

    Raises:
        InputError: a score that is absent or not of this task, a folder without its weight or
            without a CLIP, or a world for which none can be trained.
    """
    names = [name for name in PICTURE_SCORES if name in weights]
    if names and task not in PICTURE_TASKS:
        raise InputError(
            f"reward {names[0]} is {weights[names[0]]}, but task {task!r} is answered in words; "
            f"{', '.join(PICTURE_SCORES)} score pictures"
        )
    folders = {"clip": clip_folder, "image_reward": image_reward_folder}
    for name, folder in folders.items():
        if folder and name not in names:
            raise InputError(f"{name}_folder is {folder!r}, but reward has no weight for {name}")
    if "image_reward" in names and not image_reward_folder:
        raise InputError(
            f"reward image_reward is {weights['image_reward']}, but the reward model is absent; "
            "expected image_reward_folder to name the folder of its weights"
        )
    if not names:
        return None
    rewards = []
    for name in names:
        if name == "colour_words":
            scorer, describe = _colour_words(task)
        elif name == "clip":
            scorer, describe = _clip(source, task, clip_folder)
        else:
            scorer = load_image_reward_scorer(image_reward_folder)
            describe = _question(source, task)
        rewards.append(image_text_reward({name: scorer}, 1.0, describe))

    def score(problems: Sequence[Any], codes: Any) -> Mapping[str, np.ndarray]:
        pictures = source.codec.decode(np.asarray(codes))
        found: dict[str, np.ndarray] = {}
        for reward in rewards:
            found |= reward(problems, pictures).breakdown
        return found

    return score


def _colour_words(task: str) -> tuple[Scorer, Callable[[Problem], str]]:
    """One word per cell of the true picture, with a shortest path where a solution is drawn."""

    def describe(problem: Problem) -> str:
        plan = search(problem).plan if task == "draw_solution" else None
        return " ".join(CELL_CLASSES[kind] for kind in cell_classes(problem, plan).ravel())

    colours = COLOURS[: len(CELL_CLASSES)].tolist()
    return colour_words_scorer(dict(zip(CELL_CLASSES, colours, strict=True))), describe


def _clip(
    source: MazeWorldSource, task: Any, folder: str
) -> tuple[Scorer, Callable[[Problem], str]]:
    """A CLIP and the question of the task as its text."""
    if folder:
        return load_clip_scorer(folder), _question(source, task)
    if source.world.description == "list":
        raise InputError(
            "reward clip cannot be trained on a world with description 'list': held-out mazes may "
            "have longer texts than the ones it knows; use description 'map', or give a clip_folder"
        )
    default = MazeClipConfig()
    batch = min(default.batch, len(source))
    clip = train_maze_clip(source, MazeClipConfig(task=task, batch=batch))
    return clip.scorer(), clip.describe


def _question(source: MazeWorldSource, task: Any) -> Callable[[Problem], str]:
    def describe(problem: Problem) -> str:
        return source.vocabulary.decode(source.sentences.question(task, problem, chat=False))

    return describe
