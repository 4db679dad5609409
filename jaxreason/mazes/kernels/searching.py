"""The A* loop in numba, for one problem and for many.

The open list is a binary heap of packed int64 priorities, f << 40 | tie, where `tie` (below 2^40)
is unique per entry except under random ties. Improved cells are pushed again and the stale entry
is skipped when it surfaces: the Manhattan heuristic is consistent, so no closed cell reopens.
"""

import numpy as np

from jaxreason.mazes.kernels.compilation import kernel
from jaxreason.mazes.kernels.random_numbers import draw, key, shuffle

CREATE, CLOSE = 0, 1
OLDEST, LOW_G, HIGH_G, LOWEST_CELL, RANDOM = range(5)

_TIE_BITS = 40
_CELL_BITS = 20


@kernel
def _push(priorities: np.ndarray, cells: np.ndarray, size: int, priority: int, cell: int) -> None:
    """Adds an entry to a heap of `size` entries."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if priorities[above] <= priority:
            break
        priorities[place], cells[place] = priorities[above], cells[above]
        place = above
    priorities[place], cells[place] = priority, cell


@kernel
def _pop(priorities: np.ndarray, cells: np.ndarray, size: int) -> int:
    """Removes the entry of lowest priority from a heap of `size` entries; returns its cell."""
    cell = cells[0]
    last_priority, last_cell = priorities[size - 1], cells[size - 1]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size - 1:
            break
        if below + 1 < size - 1 and priorities[below + 1] < priorities[below]:
            below += 1
        if priorities[below] >= last_priority:
            break
        priorities[place], cells[place] = priorities[below], cells[below]
        place = below
    priorities[place], cells[place] = last_priority, last_cell
    return cell


@kernel
def _tie(rule: int, g: int, order: int, cell: int, stream: np.ndarray) -> int:
    """The low 40 bits of a priority: what decides among equal f."""
    if rule == LOW_G:
        return (g << _CELL_BITS) | order
    if rule == HIGH_G:
        return (((1 << _CELL_BITS) - 1 - g) << _CELL_BITS) | order
    if rule == LOWEST_CELL:
        return cell
    if rule == RANDOM:
        return draw(stream, 1 << 31)
    return order


@kernel
def _record(events: np.ndarray, count: int, kind: int, x: int, y: int, g: int, h: int) -> None:
    events[count, 0] = kind
    events[count, 1] = x
    events[count, 2] = y
    events[count, 3] = g
    events[count, 4] = h


@kernel
def search_into(
    floor: np.ndarray,
    start: int,
    goal: int,
    rule: int,
    neighbours: np.ndarray,
    creates_start: bool,
    seed: np.uint64,
    events: np.ndarray,
    plan: np.ndarray,
) -> tuple[int, int]:
    """Searches and writes the trace; cells are y * width + x.

    Args:
        floor: bool [height, width].
        start: start cell.
        goal: goal cell.
        rule: OLDEST, LOW_G, HIGH_G, LOWEST_CELL or RANDOM.
        neighbours: int32 [4, 2], (dx, dy) in the order of creation.
        creates_start: whether the trace begins with a create of the start.
        seed: for RANDOM: ties and the neighbours' order.
        events: int32 [at least 5 * cells + 1, 5], written from the front.
        plan: int32 [cells, 2], written from the front.

    Returns:
        Number of events and number of plan cells; 0 plan cells if there is no path.
    """
    height, width = floor.shape
    size = height * width
    costs = np.full(size, np.iinfo(np.int32).max, np.int32)
    closed = np.zeros(size, np.bool_)
    orders = np.full(size, -1, np.int32)
    parents = np.full(size, -1, np.int32)
    priorities = np.empty(4 * size + 1, np.int64)
    cells = np.empty(4 * size + 1, np.int32)
    stream = np.zeros(2, np.uint64)
    stream[0] = key(seed, start, goal)
    directions = np.arange(4)
    goal_x, goal_y = goal % width, goal // width
    events_count, open_count, inserted = 0, 0, 1
    costs[start] = 0
    orders[start] = 0
    h = abs(start % width - goal_x) + abs(start // width - goal_y)
    _push(priorities, cells, 0, h << _TIE_BITS, start)
    open_count = 1
    if creates_start:
        _record(events, 0, CREATE, start % width, start // width, 0, h)
        events_count = 1
    while open_count > 0:
        cell = _pop(priorities, cells, open_count)
        open_count -= 1
        if closed[cell]:
            continue
        x, y, g = cell % width, cell // width, costs[cell]
        _record(events, events_count, CLOSE, x, y, g, abs(x - goal_x) + abs(y - goal_y))
        events_count += 1
        if cell == goal:
            break
        closed[cell] = True
        if rule == RANDOM:
            shuffle(stream, directions)
        for direction in directions:
            next_x = x + neighbours[direction, 0]
            next_y = y + neighbours[direction, 1]
            if not (0 <= next_x < width and 0 <= next_y < height and floor[next_y, next_x]):
                continue
            other = next_y * width + next_x
            if closed[other] or g + 1 >= costs[other]:
                continue
            costs[other] = g + 1
            parents[other] = cell
            h = abs(next_x - goal_x) + abs(next_y - goal_y)
            _record(events, events_count, CREATE, next_x, next_y, g + 1, h)
            events_count += 1
            if orders[other] < 0:
                orders[other] = inserted
                inserted += 1
            tie = _tie(rule, g + 1, orders[other], other, stream)
            _push(priorities, cells, open_count, ((g + 1 + h) << _TIE_BITS) | tie, other)
            open_count += 1
    if costs[goal] == np.iinfo(np.int32).max:
        return events_count, 0
    plan_cells = costs[goal] + 1
    cell = goal
    for place in range(plan_cells - 1, -1, -1):
        plan[place, 0], plan[place, 1] = cell % width, cell // width
        cell = parents[cell]
    return events_count, plan_cells


@kernel
def solve(
    floor: np.ndarray,
    start: int,
    goal: int,
    rule: int,
    neighbours: np.ndarray,
    creates_start: bool,
    seed: np.uint64,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """`search_into` with arrays of its own: events [n, 5], plan [m, 2], whether a path exists."""
    events = np.empty((5 * floor.size + 1, 5), np.int32)
    plan = np.empty((floor.size, 2), np.int32)
    events_count, plan_cells = search_into(
        floor, start, goal, rule, neighbours, creates_start, seed, events, plan
    )
    return events[:events_count].copy(), plan[:plan_cells].copy(), plan_cells > 0
