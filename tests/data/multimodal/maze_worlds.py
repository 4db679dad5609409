"""Small maze worlds, and the sentences they should say."""

import dataclasses

import numpy as np

from jaxreason.data.multimodal.maze_world import PICTURE_TASKS, MazeWorld, MazeWorldSource
from jaxreason.mazes import prompt_text, to_text
from jaxreason.mazes.rasters import cell_classes
from jaxreason.tokens.layouts import pad_prompts
from jaxreason.tokens.maze_world_vocabulary import CELL_WORDS

WORLD = MazeWorld(count=30, seed=5)
SOURCES = {
    (reasoning, description): MazeWorldSource(
        dataclasses.replace(WORLD, reasoning=reasoning, description=description)
    )
    for reasoning in ("none", "correct", "swapped")
    for description in ("map", "list")
}
PLAIN = SOURCES["none", "map"]
HEAD = "<|start_header_id|> user <|end_header_id|> <nl>"
TAIL = "<|eot_id|> <|start_header_id|> assistant <|end_header_id|> <nl>"


def words_of(source, index, task):
    """The words of a row without hidden padding, pictures as one word, eos at the end once."""
    row = source[index, task]
    words = source.vocabulary.decode(row.tokens[row.keys & ~row.image])
    while words.endswith("<|eos|> <|eos|>"):
        words = words.removesuffix(" <|eos|>")
    return words.replace(" <|eos|> <|soi|>", " <|soi|>") if "r2i" in words else words


def drawn_map(problem):
    return " ".join(CELL_WORDS[c] for c in cell_classes(problem).ravel())


def listed(problem):
    return prompt_text(problem, "searchformer")


def plan_words(source, index):
    text = to_text(source.problem(index), source.trace(index))
    return text.partition(" solution ")[2]


def trace_words(source, index):
    text = to_text(source.problem(index), source.trace(index))
    return text.partition(" reasoning ")[2].partition(" solution ")[0]


def answers_of(source, task, indices):
    if task in PICTURE_TASKS:
        return np.stack([source.codes(i, solved=task == "draw_solution") for i in indices])
    rows = [np.append(source.answer(i, task), source.vocabulary.eos) for i in indices]
    return pad_prompts(rows, source.vocabulary.eos)["tokens"]
