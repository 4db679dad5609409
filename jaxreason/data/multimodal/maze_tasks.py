"""The maze world: mazes as text and as pictures, and six tasks between the two.

    draw_maze      description -> picture                   t2i
    draw_solution  description -> picture with the plan     t2i
    read_plan      picture -> plan                          mmu
    read_maze      picture -> description                   mmu
    plan           description -> plan                      lm_chat
    text           description and plan as plain text       lm

With reasoning an answer is `<think> REASONING </think> ANSWER` (mixed long chain-of-thought of
Yang et al. 2025, arXiv 2505.15809, section 2.2) and pictures are drawn after it (r2i). The
reasoning is the A* trace of the problem, "correct" its own, "swapped" that of another problem of
the data set (Stechly et al. 2025, arXiv 2505.13775); about a maze without plan it is the
description in the other form.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from jaxreason.data.multimodal.maze_sentences import DESCRIPTIONS, QUESTIONS
from jaxreason.data.sources import MazeData
from jaxreason.errors import InputError

TASKS_OF_WORLD = tuple(QUESTIONS)

PICTURE_TASKS = ("draw_maze", "draw_solution")
"""Tasks whose answer is a picture."""

_LAYOUTS = {
    "draw_maze": "t2i",
    "draw_solution": "t2i",
    "read_plan": "mmu",
    "read_maze": "mmu",
    "plan": "lm_chat",
    "text": "lm",
}
_REGIMES = {"none": "solution_only", "correct": "correct", "swapped": "swapped"}


@dataclass(frozen=True)
class MazeWorld:
    """A data set of mazes and how they are talked about; with a codec it determines every token.

    The defaults make problems that a model of a million parameters learns in minutes.

    Attributes:
        generator, width, height, coverage, wall_fraction, minimum_path_cells: see `MazeConfig`.
        count: number of mazes.
        seed: of the problems and of the swap.
        split: "train", "validation" or "test"; disjoint by content.
        tie_break: which A* made the traces; see `mazes.astar.TIE_BREAKS`.
        reasoning: what comes before an answer: "none", "correct" or "swapped".
        description: "map" (one word per cell) or "list" (start, goal and walls by coordinates).
        text_length: places for text, see `LayoutConfig`; None makes room for the longest example
            that is possible, the same for all splits.

    Raises:
        InputError: a field outside its range.
    """

    generator: str = "drunkards_walk"
    width: int = 5
    height: int = 5
    coverage: float = 0.5
    wall_fraction: tuple[float, float] = (0.3, 0.5)
    minimum_path_cells: int | None = 4
    count: int = 20_000
    seed: int = 0
    split: str = "train"
    tie_break: str = "paper"
    reasoning: Literal["none", "correct", "swapped"] = "none"
    description: Literal["map", "list"] = "map"
    text_length: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (("reasoning", tuple(_REGIMES)), ("description", DESCRIPTIONS)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}"
                )
        if self.text_length is not None and self.text_length < 2:
            raise InputError(f"text_length is {self.text_length}; expected at least 2, or None")
        _ = self.data  # checks what describes the mazes

    @property
    def data(self) -> MazeData:
        """The same mazes as a data set of text alone."""
        return MazeData(
            generator=self.generator,
            width=self.width,
            height=self.height,
            coverage=self.coverage,
            wall_fraction=self.wall_fraction,
            minimum_path_cells=self.minimum_path_cells,
            count=self.count,
            seed=self.seed,
            split=self.split,
            regime=_REGIMES[self.reasoning],
            tie_break=self.tie_break,
        )

    @property
    def identity(self) -> dict[str, object]:
        """The fields, as JSON holds them."""
        return {**asdict(self), "wall_fraction": list(self.wall_fraction)}

    @property
    def reasons(self) -> bool:
        """Whether answers carry reasoning."""
        return self.reasoning != "none"

    def layout_task(self, task: str) -> str:
        """Which layout the rows of a task have.

        Raises:
            InputError: unknown task.
        """
        if task not in _LAYOUTS:
            raise InputError(f"task {task!r} is unknown; expected one of {', '.join(_LAYOUTS)}")
        layout = _LAYOUTS[task]
        return "r2i" if layout == "t2i" and self.reasons else layout

    def lengths_bound(self) -> dict[str, int]:
        """The most words that `walls`, `events` and `plan_cells` of one maze can come to."""
        cells, maze = self.width * self.height, self.data.maze
        walls = cells - maze.most_free_cells
        free = maze.most_free_cells
        if self.generator == "searchformer":
            free = cells - int(cells * self.wall_fraction[0] + 1e-9)
        # A* closes each cell at most once and creates over each edge of the grid at most once;
        # n cells have at most 2n - 2 sqrt(n) edges. One more create may be that of the start.
        events = 1 + free + int(2 * free - 2 * free**0.5)
        return {"walls": walls, "events": events, "plan_cells": free}
