"""The A* loop in numba, for one problem and for many.

The open list is a binary heap of packed int64 priorities, f << 40 | tie, where `tie` (below 2^40)
is unique per entry except under random ties. Improved cells are pushed again and the stale entry
is skipped when it surfaces: the Manhattan heuristic is consistent, so no closed cell reopens.
"""

from typing import NamedTuple

import numpy as np

from jaxreason.mazes.kernels.compilation import kernel
from jaxreason.mazes.kernels.random_numbers import draw, key, shuffle

CREATE, CLOSE = 0, 1
OLDEST, LOW_G, HIGH_G, LOWEST_CELL, RANDOM = range(5)

_TIE_BITS = 40
_CELL_BITS = 20
_UNREACHED = 2**31 - 1


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


class _Search(NamedTuple):
    """State of one search; per cell unless said otherwise.

    `counts` holds the entries of the open list, the cells ever inserted, and the events written.
    """

    costs: np.ndarray
    parents: np.ndarray
    orders: np.ndarray
    closed: np.ndarray
    priorities: np.ndarray
    cells: np.ndarray
    counts: np.ndarray
    stream: np.ndarray


_OPEN, _INSERTED, _EVENTS = range(3)


@kernel
def _new_search(size: int) -> _Search:
    # Each cell is pushed at most once per neighbour.
    return _Search(
        np.full(size, _UNREACHED, np.int32),
        np.full(size, -1, np.int32),
        np.full(size, -1, np.int32),
        np.zeros(size, np.bool_),
        np.empty(4 * size + 1, np.int64),
        np.empty(4 * size + 1, np.int32),
        np.zeros(3, np.int64),
        np.zeros(2, np.uint64),
    )


@kernel
def _open(state: _Search, cell: int, parent: int, g: int, h: int, rule: int) -> None:
    """Puts a new or improved cell on the open list; an improved one keeps its insertion order."""
    state.costs[cell] = g
    state.parents[cell] = parent
    if state.orders[cell] < 0:
        state.orders[cell] = state.counts[_INSERTED]
        state.counts[_INSERTED] += 1
    tie = _tie(rule, g, state.orders[cell], cell, state.stream)
    _push(state.priorities, state.cells, state.counts[_OPEN], ((g + h) << _TIE_BITS) | tie, cell)
    state.counts[_OPEN] += 1


@kernel
def _record(state: _Search, events: np.ndarray, kind: int, x: int, y: int, g: int, h: int) -> None:
    event = events[state.counts[_EVENTS]]
    event[0], event[1], event[2], event[3], event[4] = kind, x, y, g, h
    state.counts[_EVENTS] += 1


@kernel
def _trace_back(parents: np.ndarray, goal: int, width: int, plan: np.ndarray) -> None:
    """Fills the plan from its end."""
    cell = goal
    for place in range(plan.shape[0] - 1, -1, -1):
        plan[place, 0], plan[place, 1] = cell % width, cell // width
        cell = parents[cell]


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
    state = _new_search(floor.size)
    state.stream[0] = key(seed, start, goal)
    directions = np.arange(4)
    goal_x, goal_y = goal % width, goal // width
    h = abs(start % width - goal_x) + abs(start // width - goal_y)
    _open(state, start, -1, 0, h, rule)
    if creates_start:
        _record(state, events, CREATE, start % width, start // width, 0, h)
    while state.counts[_OPEN] > 0:
        cell = _pop(state.priorities, state.cells, state.counts[_OPEN])
        state.counts[_OPEN] -= 1
        if state.closed[cell]:
            continue
        x, y, g = cell % width, cell // width, state.costs[cell]
        _record(state, events, CLOSE, x, y, g, abs(x - goal_x) + abs(y - goal_y))
        if cell == goal:
            _trace_back(state.parents, goal, width, plan[: g + 1])
            return state.counts[_EVENTS], g + 1
        state.closed[cell] = True
        if rule == RANDOM:
            shuffle(state.stream, directions)
        for direction in directions:
            next_x, next_y = x + neighbours[direction, 0], y + neighbours[direction, 1]
            if not (0 <= next_x < width and 0 <= next_y < height and floor[next_y, next_x]):
                continue
            other = next_y * width + next_x
            if not state.closed[other] and g + 1 < state.costs[other]:
                h = abs(next_x - goal_x) + abs(next_y - goal_y)
                _open(state, other, cell, g + 1, h, rule)
                _record(state, events, CREATE, next_x, next_y, g + 1, h)
    return state.counts[_EVENTS], 0


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
