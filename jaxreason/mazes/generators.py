"""Maze problems on demand: each a pure function of (configuration, seed, index, split).

Rules of the six generators are in `kernels.carving`; sources: Stechly et al. 2025 (arXiv
2505.13775) for the five of the paper, Lehnert et al. 2024 (arXiv 2402.14083) for the
Searchformer style, Palod et al. 2025 (arXiv 2509.07339) for free space. Unlike the authors' streams
(`paper_stream`), start never equals goal, minimum path lengths always hold, every room may be the
first of a depth-first maze, and the splits are disjoint by content.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.astar import MAXIMUM_CELLS, Trace, find_tie_break
from jaxreason.mazes.kernels import carving, drawing
from jaxreason.mazes.problem import Problem

GENERATORS = ("wilson", "kruskal", "dfs", "drunkards_walk", "searchformer", "free_space")
SPLITS = ("train", "validation", "test")

_CODES = {
    "wilson": carving.WILSON,
    "kruskal": carving.KRUSKAL,
    "dfs": carving.DFS,
    "drunkards_walk": carving.DRUNKARDS_WALK,
    "searchformer": carving.SEARCHFORMER,
    "free_space": carving.FREE_SPACE,
}
_LATTICE = ("wilson", "kruskal", "dfs")


@dataclass(frozen=True)
class MazeConfig:
    """What kind of problem to draw.

    Attributes:
        generator: one of `GENERATORS`.
        width: columns, walls included.
        height: rows, walls included.
        coverage: share of free cells of drunkards_walk, in (0, 1].
        wall_fraction: lowest and highest share of wall cells of searchformer, in [0, 1).
        minimum_path_cells: least number of cells of the shortest path, start and goal included;
            None: max(width, height) for searchformer, 2 for the others.

    Raises:
        InputError: a field outside its range, or a grid too small for a start and a goal.
    """

    generator: str = "wilson"
    width: int = 30
    height: int = 30
    coverage: float = 0.5
    wall_fraction: tuple[float, float] = (0.3, 0.5)
    minimum_path_cells: int | None = None

    def __post_init__(self) -> None:
        if self.generator not in GENERATORS:
            raise InputError(
                f"generator {self.generator!r} is unknown; expected one of {', '.join(GENERATORS)}"
            )
        for name, value in (("width", self.width), ("height", self.height)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} is {value!r}; expected a whole number of at least 1")
        if self.width * self.height > MAXIMUM_CELLS:
            raise InputError(
                f"width x height is {self.width}x{self.height}; at most {MAXIMUM_CELLS} cells"
            )
        if not 0 < self.coverage <= 1:
            raise InputError(f"coverage is {self.coverage}; expected a share in (0, 1]")
        if len(self.wall_fraction) != 2 or not (
            0 <= self.wall_fraction[0] <= self.wall_fraction[1] < 1
        ):
            raise InputError(
                f"wall_fraction is {self.wall_fraction}; expected (lowest, highest) with "
                "0 <= lowest <= highest < 1"
            )
        self._check_room_for_endpoints()

    def _check_room_for_endpoints(self) -> None:
        size = f"{self.width}x{self.height}"
        if self.generator in _LATTICE and max(self.width, self.height) < 3:
            raise InputError(
                f"width x height is {size}, too small for {self.generator}: its rooms lie two "
                "cells apart, so one side must be at least 3"
            )
        if self.width * self.height < 2:
            raise InputError(f"width x height is {size}, too small for a start and a goal")
        if self.most_free_cells < 2:
            field = "coverage" if self.generator == "drunkards_walk" else "wall_fraction"
            raise InputError(
                f"{field} is {getattr(self, field)}: on {size} cells that leaves "
                f"{self.most_free_cells} free, but start and goal need 2"
            )
        if self.shortest_path_cells < 2:
            raise InputError(
                f"minimum_path_cells is {self.minimum_path_cells}; expected at least 2, "
                "as start and goal differ"
            )
        if self.shortest_path_cells > self.most_free_cells:
            raise InputError(
                f"minimum_path_cells is {self.shortest_path_cells}, but a {size} "
                f"{self.generator} maze has at most {self.most_free_cells} free cells"
            )

    @property
    def shortest_path_cells(self) -> int:
        """The least number of path cells in force."""
        if self.minimum_path_cells is not None:
            return self.minimum_path_cells
        return max(self.width, self.height) if self.generator == "searchformer" else 2

    @property
    def most_free_cells(self) -> int:
        """An upper bound on the number of free cells of one maze."""
        if self.generator in _LATTICE:
            return 2 * ((self.width + 1) // 2) * ((self.height + 1) // 2) - 1
        low, high = self._counts
        if self.generator == "drunkards_walk":
            return low
        # The fullest layout must leave room too: every drawn wall count has to work.
        return self.width * self.height - high

    @property
    def _counts(self) -> tuple[int, int]:
        """Cells to open (drunkards_walk), or lowest and highest number of walls."""
        cells = self.width * self.height
        if self.generator == "drunkards_walk":
            target = int(cells * self.coverage + 1e-9)
            return target, target
        if self.generator == "searchformer":
            low, high = self.wall_fraction
            return int(cells * low + 1e-9), int(cells * high + 1e-9)
        return 0, 0

    @property
    def _kernel_arguments(self) -> tuple[int, int, int, int]:
        return _CODES[self.generator], *self._counts, self.shortest_path_cells


@dataclass(frozen=True, eq=False)
class SolvedBatch:
    """Problems with their traces, concatenated.

    Attributes:
        config: what they were drawn from.
        floors: bool [problems, height, width].
        endpoints: int32 [problems, 4], start x, start y, goal x, goal y.
        events: int32 [all events, 5], as in `Trace`.
        event_offsets: int64 [problems + 1]; events of i are offsets[i]:offsets[i + 1].
        plans: int32 [all cells, 2].
        plan_offsets: int64 [problems + 1].
    """

    config: MazeConfig
    floors: np.ndarray
    endpoints: np.ndarray
    events: np.ndarray
    event_offsets: np.ndarray
    plans: np.ndarray
    plan_offsets: np.ndarray

    def __len__(self) -> int:
        return self.floors.shape[0]

    def __getitem__(self, place: int) -> tuple[Problem, Trace]:
        if not 0 <= place < len(self):
            raise IndexError(place)
        start_x, start_y, goal_x, goal_y = self.endpoints[place].tolist()
        problem = Problem(
            self.floors[place], (start_x, start_y), (goal_x, goal_y), self.config.generator
        )
        events = self.events[self.event_offsets[place] : self.event_offsets[place + 1]]
        plan = self.plans[self.plan_offsets[place] : self.plan_offsets[place + 1]]
        return problem, Trace(events, plan)


def split_of(problem: Problem) -> str:
    """The split to which a problem's content (walls, start, goal) belongs."""
    width = problem.width
    start = problem.start[1] * width + problem.start[0]
    goal = problem.goal[1] * width + problem.goal[0]
    return SPLITS[drawing.content_split(np.ascontiguousarray(problem.floor), start, goal)]


def _checked(seed: int, split: str) -> tuple[np.uint64, int]:
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed}; expected a whole number in 0..2^64-1")
    return np.uint64(seed), SPLITS.index(split)


def _raise_unless_filled(status: int, config: MazeConfig, split: str) -> None:
    size = f"{config.width}x{config.height}"
    if status == drawing.NO_PATH:
        raise InputError(
            f"minimum_path_cells is {config.shortest_path_cells}: no {size} {config.generator} "
            "maze with such a path was found in a thousand; lower it or enlarge the grid"
        )
    if status == drawing.NO_SPLIT:
        raise InputError(
            f"width x height is {size}: too few distinct {config.generator} problems to find one "
            f"of the {split} split; enlarge the grid"
        )


def generate(config: MazeConfig, seed: int, index: int, split: str = "train") -> Problem:
    """Problem `index` of a data set: the same for the same arguments, in any order.

    The splits are disjoint by content: a hash of walls, start and goal decides to which split a
    problem belongs (8 : 1 : 1), and drawing goes on until it falls into the one asked for.

    Args:
        config: kind of maze.
        seed: data set, 0..2^64-1.
        index: example, at least 0.
        split: "train", "validation" or "test".

    Raises:
        InputError: arguments out of range, or a size that admits no such problem.
    """
    seed_word, split_code = _checked(seed, split)
    if not 0 <= index < 2**63:
        raise InputError(f"index is {index}; expected a whole number in 0..2^63-1")
    floor = np.empty((config.height, config.width), np.bool_)
    status, start, goal = drawing.draw_problem(
        *config._kernel_arguments, seed_word, np.uint64(index), split_code, floor
    )
    _raise_unless_filled(status, config, split)
    width = config.width
    return Problem(
        floor, (start % width, start // width), (goal % width, goal // width), config.generator
    )


def generate_solved(
    config: MazeConfig, seed: int, index: int, split: str = "train", tie_break: str = "paper"
) -> tuple[Problem, Trace]:
    """`generate` with the A* trace; the random tie-break is seeded by (seed, index)."""
    batch = generate_solved_batch(config, seed, [index], split, tie_break)
    return batch[0]


def generate_solved_batch(
    config: MazeConfig,
    seed: int,
    indices: np.ndarray | list[int] | range,
    split: str = "train",
    tie_break: str = "paper",
) -> SolvedBatch:
    """`generate_solved` for many indices in one compiled call, equal to one call each."""
    seed_word, split_code = _checked(seed, split)
    rule = find_tie_break(tie_break)
    wanted = np.asarray(indices, np.int64)
    if wanted.ndim != 1 or (wanted.size and wanted.min() < 0):
        raise InputError("indices must be a list of whole numbers of at least 0")
    batch = SolvedBatch(
        config,
        np.empty((wanted.size, config.height, config.width), np.bool_),
        np.empty((wanted.size, 4), np.int32),
        *(np.empty((0, 5), np.int32), np.zeros(wanted.size + 1, np.int64)),
        *(np.empty((0, 2), np.int32), np.zeros(wanted.size + 1, np.int64)),
    )
    status, events, plans = drawing.draw_solved(
        *config._kernel_arguments,
        seed_word,
        wanted.astype(np.uint64),
        split_code,
        rule.rule,
        np.array(rule.neighbours, np.int32),
        rule.creates_start,
        batch.floors,
        batch.endpoints,
        batch.event_offsets,
        batch.plan_offsets,
    )
    _raise_unless_filled(status, config, split)
    return replace(batch, events=events, plans=plans)
