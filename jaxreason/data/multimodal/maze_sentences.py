"""What is said about a maze, as token ids: descriptions, questions, reasoning and answers."""

from functools import cached_property

import numpy as np

from jaxreason.mazes.astar import Trace
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.rasters import cell_classes
from jaxreason.tokens.maze_vocabulary import MazeVocabulary
from jaxreason.tokens.maze_world_vocabulary import TEMPLATE, MazeWorldVocabulary

QUESTIONS = {
    "draw_maze": "draw",
    "draw_solution": "solve",
    "read_plan": "solve",
    "read_maze": "read",
    "plan": "solve",
    "text": "solve",
}
"""The word that says what to do, per task."""

DESCRIPTIONS = ("map", "list")


class MazeSentences:
    """The sentences of one world; all of them are int32 ids without bos and eos.

    Args:
        vocabulary: the words.
        description: "map", one word per cell, row by row, or "list", the words of Stechly et al.
            2025 (arXiv 2505.13775): `start X Y goal X Y {wall X Y}*`.
    """

    def __init__(self, vocabulary: MazeWorldVocabulary, description: str) -> None:
        self.vocabulary = vocabulary
        self.description = description
        # Its words are the first of the world's, with the same ids.
        self._maze = MazeVocabulary(vocabulary.width, vocabulary.height)
        self._cells = vocabulary.cell_ids
        self._think = vocabulary.encode("<think>")
        self._end_think = vocabulary.encode("</think>")

    @cached_property
    def _turns(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per question word, what comes before and after the words that follow it."""
        encode, turns = self.vocabulary.encode, {}
        for word in sorted(set(QUESTIONS.values())):
            text = TEMPLATE.render([("user", word)], prompt=True)
            before, after = text.split(f" {word} ")
            turns[word] = encode(f"{before} {word}"), encode(after)
        return turns

    @property
    def chat_words(self) -> int:
        """Words a question costs: the headers of both turns and the question word."""
        before, after = self._turns["solve"]
        return len(before) + len(after)

    def describe(self, problem: Problem, other: bool = False) -> np.ndarray:
        """The maze in the world's form of description, or in the other one."""
        if (self.description == "map") != other:
            return self._cells[cell_classes(problem).ravel()]
        return self._maze.encode_prompt(problem)[2:-1]

    def question(self, task: str, problem: Problem | None, chat: bool) -> np.ndarray:
        """What to do and, if given, the description of the maze.

        Args:
            task: a key of `QUESTIONS`.
            problem: None where the maze is shown as a picture.
            chat: as the user's turn, followed by the header of the answer.
        """
        word = QUESTIONS[task]
        nothing = np.empty(0, np.int32)
        told = nothing if problem is None else self.describe(problem)
        if chat:
            before, after = self._turns[word]
            return np.concatenate([before, told, after])
        return np.concatenate([self.vocabulary.encode(word), told])

    def plan(self, plan: np.ndarray) -> np.ndarray:
        """`{plan X Y}* end`."""
        return self._maze.encode_completion(None, plan)[1:-1]

    def trace(self, trace: Trace) -> np.ndarray:
        """`{create|close X Y cG cH}*`."""
        return self._maze.encode_completion(trace.events, trace.plan[:0])[:-3]

    def thought(self, reasoning: np.ndarray) -> np.ndarray:
        """`<think> REASONING </think>`."""
        return np.concatenate([self._think, reasoning, self._end_think])
