"""Carving rules of the generators as numba kernels, shared by both random streams.

A kernel fills `floor`, bool [height, width], from a stream of `random_numbers`. The perfect mazes
(Wilson, Kruskal, depth-first) put rooms on a lattice of spacing 2 that begins at `offset` in both
directions, and open the cell between two rooms. The order of the draws is that of the authors'
generator (github.com/kstechly/beyond-semantics-maze-visualizer), so that the same kernels serve
their stream too.
"""

import numpy as np

from jaxreason.mazes.kernels.compilation import kernel
from jaxreason.mazes.kernels.random_numbers import draw, shuffle

WILSON, KRUSKAL, DFS, DRUNKARDS_WALK, SEARCHFORMER, FREE_SPACE = range(6)


@kernel
def carve_wilson(floor: np.ndarray, offset: int, stream: np.ndarray) -> None:
    """A uniform spanning tree by loop-erased random walks (Wilson 1996).

    Only the last exit of each visited room is kept: following the exits from the root of the walk
    gives the loop-erased path. Steps out of the lattice are drawn again.
    """
    columns = (floor.shape[1] - offset + 1) // 2
    rows = (floor.shape[0] - offset + 1) // 2
    rooms = rows * columns
    floor[:] = False
    in_maze = np.zeros(rooms, np.bool_)
    exits = np.zeros(rooms, np.int8)
    step_x = (1, -1, 0, 0)
    step_y = (0, 0, 1, -1)
    first = draw(stream, rooms)
    in_maze[first] = True
    floor[offset + 2 * (first // columns), offset + 2 * (first % columns)] = True
    remaining = rooms - 1
    while remaining > 0:
        root = draw(stream, rooms)
        while in_maze[root]:
            root = draw(stream, rooms)
        x, y = root % columns, root // columns
        while not in_maze[y * columns + x]:
            direction = draw(stream, 4)
            next_x, next_y = x + step_x[direction], y + step_y[direction]
            if 0 <= next_x < columns and 0 <= next_y < rows:
                exits[y * columns + x] = direction
                x, y = next_x, next_y
        x, y = root % columns, root // columns
        while not in_maze[y * columns + x]:
            in_maze[y * columns + x] = True
            remaining -= 1
            direction = exits[y * columns + x]
            cell_x, cell_y = offset + 2 * x, offset + 2 * y
            floor[cell_y, cell_x] = True
            floor[cell_y + step_y[direction], cell_x + step_x[direction]] = True
            x, y = x + step_x[direction], y + step_y[direction]


@kernel
def _root_of(parent: np.ndarray, room: int) -> int:
    while parent[room] != room:
        parent[room] = parent[parent[room]]
        room = parent[room]
    return room


@kernel
def carve_kruskal(floor: np.ndarray, offset: int, stream: np.ndarray) -> None:
    """A minimum spanning tree under random edge order (Kruskal): not a uniform one."""
    columns = (floor.shape[1] - offset + 1) // 2
    rows = (floor.shape[0] - offset + 1) // 2
    floor[:] = False
    edges = np.empty(2 * rows * columns, np.int32)
    count = 0
    for room in range(rows * columns):
        floor[offset + 2 * (room // columns), offset + 2 * (room % columns)] = True
        if room % columns + 1 < columns:
            edges[count] = 2 * room
            count += 1
        if room // columns + 1 < rows:
            edges[count] = 2 * room + 1
            count += 1
    edges = edges[:count]
    shuffle(stream, edges)
    parent = np.arange(rows * columns)
    for edge in edges:
        room, down = edge // 2, edge % 2
        one = _root_of(parent, room)
        other = _root_of(parent, room + (columns if down else 1))
        if one != other:
            parent[one] = other
            floor[
                offset + 2 * (room // columns) + down,
                offset + 2 * (room % columns) + 1 - down,
            ] = True


@kernel
def carve_dfs(floor: np.ndarray, offset: int, first: int, stream: np.ndarray) -> None:
    """Randomised depth-first search (recursive backtracker) from room number `first`."""
    columns = (floor.shape[1] - offset + 1) // 2
    rows = (floor.shape[0] - offset + 1) // 2
    floor[:] = False
    stack = np.empty(rows * columns, np.int32)
    candidates = np.empty(4, np.int8)
    step_x = (0, 1, 0, -1)
    step_y = (-1, 0, 1, 0)
    stack[0] = first
    depth = 1
    floor[offset + 2 * (first // columns), offset + 2 * (first % columns)] = True
    while depth > 0:
        room = stack[depth - 1]
        x, y = room % columns, room // columns
        count = 0
        for direction in range(4):
            next_x, next_y = x + step_x[direction], y + step_y[direction]
            inside = 0 <= next_x < columns and 0 <= next_y < rows
            if inside and not floor[offset + 2 * next_y, offset + 2 * next_x]:
                candidates[count] = direction
                count += 1
        if count == 0:
            depth -= 1
            continue
        direction = candidates[draw(stream, count)]
        cell_x, cell_y = offset + 2 * x, offset + 2 * y
        floor[cell_y + step_y[direction], cell_x + step_x[direction]] = True
        floor[cell_y + 2 * step_y[direction], cell_x + 2 * step_x[direction]] = True
        stack[depth] = room + step_x[direction] + columns * step_y[direction]
        depth += 1


@kernel
def carve_drunkards_walk(floor: np.ndarray, target: int, stream: np.ndarray) -> None:
    """A random walk that opens cells, its first one included, until `target` are open."""
    height, width = floor.shape
    floor[:] = False
    candidates = np.empty(4, np.int8)
    step_x = (-1, 1, 0, 0)
    step_y = (0, 0, -1, 1)
    x = draw(stream, width)
    y = draw(stream, height)
    floor[y, x] = True
    carved = 1
    while carved < target:
        count = 0
        for direction in range(4):
            inside_x = 0 <= x + step_x[direction] < width
            if inside_x and 0 <= y + step_y[direction] < height:
                candidates[count] = direction
                count += 1
        direction = candidates[draw(stream, count)]
        x, y = x + step_x[direction], y + step_y[direction]
        if not floor[y, x]:
            floor[y, x] = True
            carved += 1


@kernel
def carve_random_walls(floor: np.ndarray, walls: int, stream: np.ndarray) -> None:
    """A uniform choice of `walls` wall cells, all others free (Lehnert et al. 2024)."""
    height, width = floor.shape
    floor[:] = True
    cells = np.arange(height * width)
    for chosen in range(walls):
        other = chosen + draw(stream, cells.size - chosen)
        cells[chosen], cells[other] = cells[other], cells[chosen]
        floor[cells[chosen] // width, cells[chosen] % width] = False


@kernel
def free_cells(floor: np.ndarray, cells: np.ndarray) -> int:
    """Writes the free cells as y * width + x, row-major, into `cells`; returns how many."""
    height, width = floor.shape
    count = 0
    for y in range(height):
        for x in range(width):
            if floor[y, x]:
                cells[count] = y * width + x
                count += 1
    return count


@kernel
def distance_in_steps(floor: np.ndarray, start: int, goal: int) -> int:
    """Breadth-first distance between two cells y * width + x; -1 if there is no path."""
    height, width = floor.shape
    steps = np.full(height * width, -1, np.int32)
    queue = np.empty(height * width, np.int32)
    queue[0] = start
    steps[start] = 0
    head, tail = 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        if cell == goal:
            return steps[cell]
        x, y = cell % width, cell // width
        for dx, dy in ((0, -1), (1, 0), (0, 1), (-1, 0)):
            next_x, next_y = x + dx, y + dy
            if 0 <= next_x < width and 0 <= next_y < height and floor[next_y, next_x]:
                neighbour = next_y * width + next_x
                if steps[neighbour] < 0:
                    steps[neighbour] = steps[cell] + 1
                    queue[tail] = neighbour
                    tail += 1
    return -1
