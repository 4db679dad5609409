"""Maze problems with A* trace per second, on one core, warm-up excluded.

    python experiments/benchmarks/maze_generation.py [--count 4000] [--out FILE.json]

Every generator of `jaxreason.mazes` at 30x30 next to a plain Python Wilson with A* (lists, dicts,
`random`, `heapq`), measured in the same run on the same core. Takes about ten seconds, the first
time half a minute for compiling.
"""

import heapq
import json
import os
import platform
import random
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from suite import Contestant, Peer, Row, against, contestant, take_turns

from jaxreason.mazes import GENERATORS, MazeConfig, generate_solved_batch

SIZE = 30
REPEATS = 3


def python_wilson(draw: random.Random) -> tuple[list[list[bool]], tuple[int, int], tuple[int, int]]:
    """A Wilson maze in plain Python, with the loop-erased path kept as a list."""
    offset = draw.randrange(2)
    floor = [[False] * SIZE for _ in range(SIZE)]
    rooms = [(x, y) for y in range(offset, SIZE, 2) for x in range(offset, SIZE, 2)]
    in_maze = {draw.choice(rooms)}
    while len(in_maze) < len(rooms):
        root = draw.choice(rooms)
        if root in in_maze:
            continue
        path, places = [root], {root: 0}
        while path[-1] not in in_maze:
            x, y = path[-1]
            dx, dy = draw.choice(((2, 0), (-2, 0), (0, 2), (0, -2)))
            step = (x + dx, y + dy)
            if not (0 <= step[0] < SIZE and 0 <= step[1] < SIZE):
                continue
            if step in places:
                for erased in path[places[step] + 1 :]:
                    del places[erased]
                del path[places[step] + 1 :]
            else:
                places[step] = len(path)
                path.append(step)
        for (x, y), (next_x, next_y) in pairwise(path):
            floor[y][x] = floor[next_y][next_x] = True
            floor[(y + next_y) // 2][(x + next_x) // 2] = True
        in_maze.update(path)
    free = [(x, y) for y in range(SIZE) for x in range(SIZE) if floor[y][x]]
    start, goal = draw.sample(free, 2)
    return floor, start, goal


def python_search(
    floor: list[list[bool]], start: tuple[int, int], goal: tuple[int, int]
) -> tuple[list[tuple[int, int, int, int, int]], list[tuple[int, int]]]:
    """A* in plain Python, oldest insertion first among equals; events and plan."""

    def heuristic(x: int, y: int) -> int:
        return abs(x - goal[0]) + abs(y - goal[1])

    costs, parents, orders, closed = {start: 0}, {}, {start: 0}, set()
    events = []
    opened = [(heuristic(*start), 0, start)]
    while opened:
        cell = heapq.heappop(opened)[2]
        if cell in closed:
            continue
        x, y = cell
        cost = costs[cell]
        events.append((1, x, y, cost, heuristic(x, y)))
        if cell == goal:
            break
        closed.add(cell)
        for dx, dy in ((0, -1), (1, 0), (0, 1), (-1, 0)):
            step = next_x, next_y = x + dx, y + dy
            if not (0 <= next_x < SIZE and 0 <= next_y < SIZE and floor[next_y][next_x]):
                continue
            if step in closed or cost + 1 >= costs.get(step, 10**9):
                continue
            costs[step], parents[step] = cost + 1, cell
            order = orders.setdefault(step, len(orders))
            h = heuristic(next_x, next_y)
            events.append((0, next_x, next_y, cost + 1, h))
            heapq.heappush(opened, (cost + 1 + h, order, step))
    plan = [goal]
    while plan[-1] != start:
        plan.append(parents[plan[-1]])
    return events, plan[::-1]


def python_problems(count: int) -> float:
    """Generates and solves `count` problems in plain Python; mean number of events."""
    draw = random.Random(0)
    return sum(len(python_search(*python_wilson(draw))[0]) for _ in range(count)) / count


def compiled_problems(generator: str, count: int) -> float:
    """The same by the library, with arrays as the result; mean number of events."""
    batch = generate_solved_batch(MazeConfig(generator, SIZE, SIZE), 0, range(count))
    return len(batch.events) / count


def rate(work: Callable[[int], float], count: int) -> dict[str, float]:
    """Problems per second, best and median of a few repeats after one warm-up call."""
    work(2)
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        events = work(count)
        seconds.append(time.perf_counter() - begin)
    return {
        "per_second_median": count / float(np.median(seconds)),
        "per_second_best": count / min(seconds),
        "mean_events": events,
        "count": count,
    }


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite: every generator against plain Python Wilson, in turns on one core."""
    del peer  # plain Python is its own
    one_core()
    count = 400 if quick else 4000
    plain = "plain Python Wilson with A*"
    slow = contestant(lambda: python_problems(max(count // 20, 1)))
    contestants: dict[str, Contestant] = {plain: lambda times: 20 * slow(times)}
    for generator in GENERATORS:
        contestants[generator] = contestant(partial(compiled_problems, generator, count))
    seconds = take_turns(contestants, REPEATS if quick else 7)
    rows = []
    for generator in GENERATORS:
        case = f"{generator}, {SIZE}x{SIZE}, with A* trace, one core"
        goal = 3000.0 if generator == "wilson" else None
        rows += against(
            seconds,
            generator,
            [plain],
            count,
            benchmark="maze_generation",
            case=case,
            unit="problems/s",
            value_at_least=goal,
        )
    return rows


def one_core() -> None:
    """Stay on one core, for this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main(
    count: int = 4000,
    out: Path = Path(__file__).parent / "results" / "maze_generation.json",
) -> None:
    """Measures, prints the table, writes the JSON file.

    Args:
        count: problems per generator and repeat; plain Python does a twentieth.
        out: file to write.
    """
    one_core()
    rows = {"wilson, plain Python": rate(python_problems, max(count // 20, 1))}
    for generator in GENERATORS:
        rows[generator] = rate(partial(compiled_problems, generator), count)
    baseline = rows["wilson, plain Python"]["per_second_median"]
    table = Table(title=f"{SIZE}x{SIZE} problems with A* trace, one core ({platform.machine()})")
    for column in ("generator", "problems/s", "best", "mean events", "x plain Python Wilson"):
        table.add_column(column, justify="left" if column == "generator" else "right")
    for name, row in rows.items():
        found = row["per_second_median"]
        table.add_row(
            name,
            f"{found:,.0f}",
            f"{row['per_second_best']:,.0f}",
            f"{row['mean_events']:.1f}",
            f"{found / baseline:.1f}",
        )
    Console().print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    record = {"size": SIZE, "python": platform.python_version(), "machine": platform.machine()}
    out.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
