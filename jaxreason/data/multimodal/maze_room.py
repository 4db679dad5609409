"""How long the sentences of a maze world get, and whether they fit into its rows."""

import math
from typing import NamedTuple

import numpy as np

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import InputError
from jaxreason.tokens.layouts import LayoutConfig

ROW_MULTIPLE = 8
"""Rows get a length that is a multiple of this where nobody asks for another."""


class Lengths(NamedTuple):
    """Words of each example, or of the longest that can be: integers or arrays [count].

    Attributes:
        prompt: before the answer, per task, without bos and picture.
        answer: the answer, per task, without eos; of a drawing, the reasoning.
    """

    prompt: dict[str, np.ndarray]
    answer: dict[str, np.ndarray]


def sentence_lengths(
    world: MazeWorld,
    chat: int,
    walls: np.ndarray | int,
    events: np.ndarray | int,
    plan_cells: np.ndarray | int,
) -> Lengths:
    """Lengths of the sentences of every task.

    Args:
        world: what is said.
        chat: words a question costs.
        walls: wall cells of the maze that is described.
        events: of the trace that is shown.
        plan_cells: of the plan.
    """
    cell_map, cell_list = np.asarray(world.width * world.height), 6 + 3 * np.asarray(walls)
    told, other = cell_map, cell_list
    if world.description == "list":
        told, other = cell_list, cell_map
    trace = 2 + 5 * np.asarray(events) if world.reasons else np.asarray(0)
    thought = 2 + other if world.reasons else np.asarray(0)
    plan = 3 * np.asarray(plan_cells) + 1
    drawing = chat + told if world.reasons else 1 + told
    nothing = np.asarray(0)
    return Lengths(
        {
            "draw_maze": drawing,
            "draw_solution": drawing,
            "read_plan": chat + nothing,
            "read_maze": chat + nothing,
            "plan": chat + told,
            "text": 1 + told,
        },
        {
            "draw_maze": thought,
            "draw_solution": trace,
            "read_plan": trace + plan,
            "read_maze": thought + told,
            "plan": trace + plan,
            "text": trace + plan,
        },
    )


def needed_text_length(world: MazeWorld, task: str, lengths: Lengths, image: int) -> np.ndarray:
    """The least `text_length` that holds the sentences of a task, bos and eos included."""
    words = lengths.prompt[task] + lengths.answer[task]
    ends = {"t2i": 2, "r2i": 2, "mmu": 2, "lm": 2 - image - 3, "lm_chat": 2 - image - 3}
    return np.maximum(2, words + ends[world.layout_task(task)])


def default_text_length(world: MazeWorld, chat: int, image: int, block: int = 1) -> int:
    """Room for the longest example there can be; rows are whole blocks, and a multiple of 8."""
    lengths = sentence_lengths(world, chat, **world.lengths_bound())
    # With the list of walls as the other form, the fewest walls make no sentence longer.
    least = max(int(needed_text_length(world, task, lengths, image)) for task in lengths.prompt)
    row = least + image + 3
    return least + -row % math.lcm(ROW_MULTIPLE, block)


def check_blocks(layout: LayoutConfig, block: int) -> None:
    """Refuses rows that are no whole number of blocks.

    Raises:
        InputError: names the two lengths next to the one that was asked for.
    """
    over = layout.length % block
    if over:
        below, above = layout.text_length - over, layout.text_length - over + block
        raise InputError(
            f"text_length is {layout.text_length}, which makes rows of {layout.length} tokens; "
            f"blocks of {block} need {below} or {above}, or None"
        )


def check_room(world: MazeWorld, layout: LayoutConfig, lengths: Lengths) -> None:
    """Refuses a layout that some example does not fit into, before any row is made.

    Raises:
        InputError: names the longest example, its task and the length that holds all of them.
    """
    needs = {
        task: needed_text_length(world, task, lengths, layout.image_tokens)
        for task in lengths.prompt
    }
    task = max(needs, key=lambda name: int(np.max(needs[name])))
    most = int(np.max(needs[task]))
    if most > layout.text_length:
        index = int(np.argmax(needs[task]))
        raise InputError(
            f"text_length is {layout.text_length}, but task {task!r} needs {most} for example "
            f"{index} of the {world.split} split; set it to at least {most}, or to None"
        )
