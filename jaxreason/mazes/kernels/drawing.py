"""Drawing whole problems in numba: walls, endpoints, split; alone or solved in batches."""

import numpy as np

from jaxreason.mazes.kernels.carving import (
    DFS,
    DRUNKARDS_WALK,
    FREE_SPACE,
    KRUSKAL,
    SEARCHFORMER,
    WILSON,
    carve_dfs,
    carve_drunkards_walk,
    carve_kruskal,
    carve_random_walls,
    carve_wilson,
    distance_in_steps,
    free_cells,
)
from jaxreason.mazes.kernels.compilation import kernel
from jaxreason.mazes.kernels.random_numbers import SPLITMIX, draw, key, mix
from jaxreason.mazes.kernels.searching import search_into

FILLED, NO_PATH, NO_SPLIT = 0, 1, 2
TRAIN, VALIDATION, TEST = 0, 1, 2

# A request is called impossible when none of a thousand layouts holds a path that long, or when
# none of a thousand suitable problems belongs to the split (chance 1e-46 if they are distinct).
_MAXIMUM_ATTEMPTS = 20_000
_MAXIMUM_FRUITLESS = 1_000
_ENDPOINTS_PER_LAYOUT = 100


@kernel
def content_split(floor: np.ndarray, start: int, goal: int) -> int:
    """TRAIN (8 of 10), VALIDATION or TEST (1 of 10 each), by a hash of walls, start and goal."""
    height, width = floor.shape
    state = mix(np.uint64(width) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(height))
    state = mix(state ^ (np.uint64(start) << np.uint64(32)) ^ np.uint64(goal))
    word = np.uint64(0)
    bits = 0
    for y in range(height):
        for x in range(width):
            word = (word << np.uint64(1)) | np.uint64(floor[y, x])
            bits += 1
            if bits == 64:
                state = mix(state ^ word) + np.uint64(0x9E3779B97F4A7C15)
                word = np.uint64(0)
                bits = 0
    remainder = mix(state ^ word) % np.uint64(10)
    if remainder == np.uint64(0):
        return TEST
    if remainder == np.uint64(1):
        return VALIDATION
    return TRAIN


@kernel
def _lattice_offset(floor: np.ndarray, stream: np.ndarray) -> int:
    """0 or 1 at random, but 0 where an offset of 1 would leave fewer than two rooms."""
    rooms = (floor.shape[1] // 2) * (floor.shape[0] // 2)
    return draw(stream, 2) if rooms >= 2 else 0


@kernel
def _carve(generator: int, floor: np.ndarray, low: int, high: int, stream: np.ndarray) -> None:
    """Draws the walls; `low`, `high`: cells to open (Drunkard) or range of wall counts."""
    if generator == WILSON:
        carve_wilson(floor, _lattice_offset(floor, stream), stream)
    elif generator == KRUSKAL:
        carve_kruskal(floor, _lattice_offset(floor, stream), stream)
    elif generator == DFS:
        offset = _lattice_offset(floor, stream)
        rooms = ((floor.shape[1] - offset + 1) // 2) * ((floor.shape[0] - offset + 1) // 2)
        carve_dfs(floor, offset, draw(stream, rooms), stream)
    elif generator == DRUNKARDS_WALK:
        carve_drunkards_walk(floor, low, stream)
    elif generator == SEARCHFORMER:
        carve_random_walls(floor, low + draw(stream, high - low + 1), stream)
    elif generator == FREE_SPACE:
        floor[:] = True


@kernel
def draw_problem(
    generator: int,
    low: int,
    high: int,
    minimum_cells: int,
    seed: np.uint64,
    index: np.uint64,
    split: int,
    floor: np.ndarray,
) -> tuple[int, np.int64, np.int64]:
    """Fills `floor` with the problem that belongs to (seed, index, split).

    Attempt after attempt, each with a key of its own, until a layout admits distinct endpoints
    whose shortest path has `minimum_cells` cells and whose content falls into `split`.

    Returns:
        status (FILLED, NO_PATH or NO_SPLIT), start and goal as y * width + x.
    """
    stream = np.zeros(2, np.uint64)
    stream[1] = np.uint64(SPLITMIX)
    cells = np.empty(floor.size, np.int32)
    # Two distinct cells of one connected component always have a path of two cells or more.
    measured = generator == SEARCHFORMER or minimum_cells > 2
    reachable, attempt = 0, 0
    start, goal = np.int64(0), np.int64(0)
    while attempt < _MAXIMUM_ATTEMPTS:
        stream[0] = key(seed, index, attempt)
        attempt += 1
        _carve(generator, floor, low, high, stream)
        count = free_cells(floor, cells)
        accepted = False
        for _ in range(_ENDPOINTS_PER_LAYOUT):
            first = draw(stream, count)
            second = draw(stream, count - 1)
            second += second >= first
            start, goal = np.int64(cells[first]), np.int64(cells[second])
            if not measured or distance_in_steps(floor, start, goal) + 1 >= minimum_cells:
                accepted = True
                break
        if accepted:
            reachable += 1
            if content_split(floor, start, goal) == split:
                return FILLED, start, goal
        if attempt >= _MAXIMUM_FRUITLESS and reachable == 0:
            return NO_PATH, start, goal
        if reachable >= _MAXIMUM_FRUITLESS:
            return NO_SPLIT, start, goal
    return (NO_PATH if reachable < _MAXIMUM_FRUITLESS else NO_SPLIT), start, goal


@kernel
def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    """A copy with room for at least `rows` rows."""
    larger = np.empty((max(rows, 2 * array.shape[0]), array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@kernel
def draw_solved(
    generator: int,
    low: int,
    high: int,
    minimum_cells: int,
    seed: np.uint64,
    indices: np.ndarray,
    split: int,
    rule: int,
    neighbours: np.ndarray,
    creates_start: bool,
    floors: np.ndarray,
    endpoints: np.ndarray,
    event_offsets: np.ndarray,
    plan_offsets: np.ndarray,
) -> tuple[int, np.ndarray, np.ndarray]:
    """`draw_problem` and A* for many indices; arrays as in `generators.SolvedBatch`.

    Returns:
        status of the first problem that could not be drawn (FILLED if none), events, plans.
    """
    height, width = floors.shape[1], floors.shape[2]
    most_events, most_cells = 5 * width * height + 1, width * height
    events = np.empty((most_events + 512 * indices.size, 5), np.int32)
    plans = np.empty((most_cells + 64 * indices.size, 2), np.int32)
    event_offsets[0], plan_offsets[0] = 0, 0
    for place in range(indices.size):
        floor = floors[place]
        status, start, goal = draw_problem(
            generator, low, high, minimum_cells, seed, indices[place], split, floor
        )
        if status != FILLED:
            return status, events[:0], plans[:0]
        first_event, first_cell = event_offsets[place], plan_offsets[place]
        if first_event + most_events > events.shape[0]:
            events = _grown(events, first_event + most_events)
        if first_cell + most_cells > plans.shape[0]:
            plans = _grown(plans, first_cell + most_cells)
        events_count, plan_cells = search_into(
            floor,
            start,
            goal,
            rule,
            neighbours,
            creates_start,
            mix(seed ^ np.uint64(indices[place])),
            events[first_event:],
            plans[first_cell:],
        )
        endpoints[place, 0], endpoints[place, 1] = start % width, start // width
        endpoints[place, 2], endpoints[place, 3] = goal % width, goal // width
        event_offsets[place + 1] = first_event + events_count
        plan_offsets[place + 1] = first_cell + plan_cells
    return FILLED, events[: event_offsets[-1]].copy(), plans[: plan_offsets[-1]].copy()
