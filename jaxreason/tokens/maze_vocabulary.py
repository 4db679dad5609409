"""The word-level maze vocabulary of Stechly et al. 2025 (arXiv 2505.13775), for any grid size.

Order of the ids: `c0 .. c{W*H-1}`, `0 .. {max(W,H)-1}`, the ten words, then the four specials. A
30x30 grid has 944 words.
"""

from typing import Protocol

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.word_vocabulary import WordVocabulary

WORDS = (
    "start",
    "goal",
    "wall",
    "create",
    "close",
    "plan",
    "query",
    "reasoning",
    "solution",
    "end",
)


class MazeProblem(Protocol):
    """What the vocabulary needs of a problem: free cells [height, width] and two (x, y)."""

    @property
    def floor(self) -> np.ndarray: ...  # noqa: D102
    @property
    def start(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def goal(self) -> tuple[int, int]: ...  # noqa: D102


class MazeVocabulary(WordVocabulary):
    """Words and ids for grids of width x height cells.

    Attributes:
        width: columns.
        height: rows.
        words, size, pad, unk, bos, eos: see `WordVocabulary`.

    Raises:
        InputError: a side below 1.
    """

    def __init__(self, width: int, height: int) -> None:
        for name, value in (("width", width), ("height", height)):
            if value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")
        self.width, self.height = width, height
        self._first_number = width * height
        self._first_word = self._first_number + max(width, height)
        super().__init__(self._first_word + len(WORDS))

    @property
    def name(self) -> str:
        """`WIDTHxHEIGHT`."""
        return f"{self.width}x{self.height}"

    def _list_words(self) -> tuple[str, ...]:
        costs = (f"c{cost}" for cost in range(self.width * self.height))
        numbers = (str(number) for number in range(max(self.width, self.height)))
        return (*costs, *numbers, *WORDS)

    def __repr__(self) -> str:
        return f"MazeVocabulary({self.width}, {self.height})"

    def _word(self, word: str) -> int:
        return self._first_word + WORDS.index(word)

    def _check_inside(self, what: str, cells: np.ndarray) -> None:
        inside = (cells >= 0) & (cells < (self.width, self.height))
        if not inside.all():
            x, y = cells[~inside.all(1)][0].tolist()
            raise InputError(f"{what} ({x}, {y}) is outside the {self.width}x{self.height} grid")

    def encode_prompt(self, problem: MazeProblem) -> np.ndarray:
        """`bos query start X Y goal X Y {wall X Y}* reasoning` straight from the arrays.

        Returns:
            int32 [9 + 3 * walls].

        Raises:
            InputError: the problem is larger than the vocabulary's grid.
        """
        height, width = problem.floor.shape
        if width > self.width or height > self.height:
            raise InputError(
                f"the problem has {width}x{height} cells, the vocabulary only "
                f"{self.width}x{self.height}"
            )
        wall_y, wall_x = np.nonzero(~problem.floor)
        ids = np.empty(9 + 3 * wall_x.size, np.int32)
        ids[0], ids[1] = self.bos, self._word("query")
        ids[2], ids[5] = self._word("start"), self._word("goal")
        ids[3], ids[4] = problem.start
        ids[6], ids[7] = problem.goal
        ids[[3, 4, 6, 7]] += self._first_number
        walls = ids[8:-1].reshape(-1, 3)
        walls[:, 0] = self._word("wall")
        walls[:, 1] = wall_x
        walls[:, 2] = wall_y
        walls[:, 1:] += self._first_number
        ids[-1] = self._word("reasoning")
        return ids

    def encode_completion(self, events: np.ndarray | None, plan: np.ndarray) -> np.ndarray:
        """`{create|close X Y cG cH}* solution {plan X Y}* end eos` straight from the arrays.

        Args:
            events: int32 [events, 5], kind (0 create, 1 close), x, y, g, h; the two cost words are
                missing where g is -1. None: no trace.
            plan: int32 [cells, 2], (x, y).

        Returns:
            int32 [5 * events (less two per missing cost) + 3 * cells + 3].

        Raises:
            InputError: a cell or a cost outside the vocabulary's grid.
        """
        if events is None:
            events = np.empty((0, 5), np.int32)
        self._check_inside("event cell", events[:, 1:3])
        self._check_inside("plan cell", plan)
        if events.size and events[:, 3:].max() >= self.width * self.height:
            raise InputError(
                f"cost {events[:, 3:].max()} has no word; the {self.width}x{self.height} "
                f"vocabulary ends at c{self.width * self.height - 1}"
            )
        trace = events.astype(np.int32)
        trace[:, 0] += self._word("create")
        trace[:, 1:3] += self._first_number
        ids = np.empty(3 * len(plan) + 3, np.int32)
        ids[0], ids[-2], ids[-1] = self._word("solution"), self._word("end"), self.eos
        steps = ids[1:-2].reshape(-1, 3)
        steps[:, 0] = self._word("plan")
        steps[:, 1:] = plan
        steps[:, 1:] += self._first_number
        written = trace.reshape(-1)
        if events.size and events[:, 3].min() < 0:
            written = trace[trace >= 0]
        return np.concatenate([written, ids])
