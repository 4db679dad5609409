"""Exact rewards for pictures of mazes."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.raster_judges import (
    MAZE_PICTURE_CODES,
    SOLUTION_PICTURE_CODES,
    judge_maze_picture,
    judge_solution_picture,
    summarise,
)
from jaxreason.mazes.rasters import read_raster
from jaxreason.rewards.reward import Reward

PictureReward = Callable[[Sequence[Any], np.ndarray], Reward]
"""`(problems, pictures) -> Reward`; pictures are uint8 [B, rows, columns, 3], picture i answers
problem i.
"""


def maze_picture_reward(
    task: Literal["draw_maze", "draw_solution"], exact: float = 1.0, share: float = 0.0
) -> PictureReward:
    """`exact` for a picture that is right in every cell, plus `share` times its right cells' share.

    With the default weights a picture earns all or nothing. The share alone (0, 1) rewards every
    cell, but a solution without any plan then earns nearly everything: most cells are walls.

    The breakdown holds `correct`, `share`, for draw_solution `optimal` (right and a shortest path)
    and `maze` (walls, start and goal are right, whatever the plan), and for every code of
    `jaxreason.mazes.raster_judges` whether some cell has that error.

    Args:
        task: draw the maze, or the maze with a walk from start to goal.
        exact: what a right picture earns.
        share: what each picture earns, times its share of right cells.

    Raises:
        InputError: an unknown task or a negative or zero reward; from the reward, not one picture
            per problem, or pictures that are not uint8 RGB or whose size is no multiple of the
            maze's.
    """
    if task not in ("draw_maze", "draw_solution"):
        raise InputError(f"task is {task!r}; expected 'draw_maze' or 'draw_solution'")
    if not (exact >= 0 and share >= 0 and 0 < exact + share < np.inf):
        raise InputError(f"exact is {exact} and share {share}; expected 0 or above, not both 0")
    solved = task == "draw_solution"
    codes = SOLUTION_PICTURE_CODES if solved else MAZE_PICTURE_CODES
    rule = judge_solution_picture if solved else judge_maze_picture

    def reward(problems: Sequence[Any], pictures: np.ndarray) -> Reward:
        pictures = check_pictures(problems, pictures)
        verdicts = [
            rule(problem, read_raster(picture, problem.width, problem.height).cells)
            for problem, picture in zip(problems, pictures, strict=True)
        ]
        shown = [{error.code for error in verdict.errors} for verdict in verdicts]
        of_codes = {code: np.array([code in e for e in shown], np.float32) for code in codes}
        breakdown = {**summarise(verdicts, solved), **of_codes}
        values = exact * breakdown["correct"] + share * breakdown["share"]
        return Reward(values.astype(np.float32), breakdown)

    return reward


def check_pictures(problems: Sequence[Any], pictures: np.ndarray) -> np.ndarray:
    """Pictures as an array.

    Raises:
        InputError: they are not uint8 [B, rows, columns, 3], B the number of problems.
    """
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
        raise InputError(
            f"pictures are {pictures.dtype} of shape {pictures.shape}; expected RGB, uint8 "
            "[B, rows, columns, 3]"
        )
    if len(problems) != len(pictures):
        raise InputError(
            f"there are {len(problems)} problems for {len(pictures)} pictures; expected one each"
        )
    return pictures
