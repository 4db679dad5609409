"""The authors' five generators on their 32-bit LCG, with the quirks of where start and goal fall.

The order of all draws follows github.com/kstechly/beyond-semantics-maze-visualizer.
"""

import numpy as np

from jaxreason.mazes.kernels.carving import (
    DFS,
    DRUNKARDS_WALK,
    KRUSKAL,
    WILSON,
    carve_dfs,
    carve_drunkards_walk,
    carve_kruskal,
    carve_wilson,
    distance_in_steps,
    free_cells,
)
from jaxreason.mazes.kernels.compilation import kernel
from jaxreason.mazes.kernels.random_numbers import draw, shuffle


@kernel
def _free_cell_by_rejection(floor: np.ndarray, stream: np.ndarray) -> int:
    """Draws x, then y, until the cell is free."""
    height, width = floor.shape
    while True:
        x = draw(stream, width)
        y = draw(stream, height)
        if floor[y, x]:
            return y * width + x


@kernel
def _searchformer_style(floor: np.ndarray, stream: np.ndarray) -> tuple[int, int]:
    """Random walls; the hundredth pair of endpoints is taken if a path merely exists."""
    height, width = floor.shape
    tenth = floor.size // 10
    cells = np.arange(floor.size)
    while True:
        shuffle(stream, cells)
        walls = 3 * tenth + draw(stream, 2 * tenth + 1)
        floor[:] = True
        for cell in cells[:walls]:
            floor[cell // width, cell % width] = False
        free = cells[walls:].copy()
        shuffle(stream, free)
        start, goal, steps = free[0], free[1], -1
        for _ in range(100):
            start, goal = free[0], free[1]
            steps = distance_in_steps(floor, start, goal)
            if steps + 1 >= max(width, height):
                break
            shuffle(stream, free)
        if steps >= 0:
            return start, goal


@kernel
def next_paper_problem(generator: int, floor: np.ndarray, stream: np.ndarray) -> tuple[int, int]:
    """Fills `floor` with the stream's next maze; returns start and goal as y * width + x."""
    if generator == WILSON:
        carve_wilson(floor, draw(stream, 2), stream)
    elif generator == KRUSKAL:
        carve_kruskal(floor, draw(stream, 2), stream)
    elif generator == DFS:
        carve_dfs(floor, 0, 0, stream)
    elif generator == DRUNKARDS_WALK:
        carve_drunkards_walk(floor, max(2, floor.size // 2), stream)
    else:
        return _searchformer_style(floor, stream)
    if generator in (KRUSKAL, DFS):
        start = _free_cell_by_rejection(floor, stream)
        goal = _free_cell_by_rejection(floor, stream)
        if start == goal:
            goal = _free_cell_by_rejection(floor, stream)
        while generator == DFS and start == goal:
            goal = _free_cell_by_rejection(floor, stream)
        return start, goal
    cells = np.empty(floor.size, np.int64)
    count = free_cells(floor, cells)
    start = cells[draw(stream, count)]
    goal = cells[draw(stream, count)]
    if start == goal:
        goal = cells[draw(stream, count)]
    while generator == DRUNKARDS_WALK and start == goal:
        goal = cells[draw(stream, count)]
    return start, goal
