"""A* against independent distances, and each tie-break against what it promises."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.astar import CLOSE, CREATE, TIE_BREAKS, NoPathError, search
from jaxreason.mazes.generators import GENERATORS, MazeConfig, generate
from jaxreason.mazes.problem import Problem

TIE_BREAK_NAMES = tuple(TIE_BREAKS)


def problem_of(rows, start, goal):
    return Problem(np.array([[cell == "." for cell in row] for row in rows]), start, goal)


def distances(problem):
    """Breadth-first distance from the start to each reachable cell, by networkx."""
    floor = problem.floor
    graph = nx.grid_2d_graph(problem.width, problem.height)
    graph.remove_nodes_from([(x, y) for x, y in list(graph) if not floor[y, x]])
    return nx.single_source_shortest_path_length(graph, problem.start)


def check_trace(problem, trace, tie_break):
    """Everything that holds for any A* with a consistent heuristic."""
    steps = distances(problem)
    events = [tuple(event) for event in trace.events.tolist()]
    plan = [tuple(cell) for cell in trace.plan.tolist()]
    optimum = steps[problem.goal]

    assert plan[0] == problem.start
    assert plan[-1] == problem.goal
    assert len(plan) == optimum + 1
    for (x, y), (next_x, next_y) in itertools.pairwise(plan):
        assert abs(x - next_x) + abs(y - next_y) == 1
        assert problem.floor[next_y, next_x]

    def heuristic(x, y):
        return abs(x - problem.goal[0]) + abs(y - problem.goal[1])

    assert all(h == heuristic(x, y) for _, x, y, _, h in events)
    closes = [event for event in events if event[0] == CLOSE]
    closed = {(x, y) for _, x, y, _, _ in closes}
    assert len(closed) == len(closes)
    assert all(g == steps[x, y] for _, x, y, g, _ in closes)
    bounds = {cell: steps[cell] + heuristic(*cell) for cell in steps}
    assert {cell for cell, f in bounds.items() if f < optimum} <= closed
    assert closed <= {cell for cell, f in bounds.items() if f <= optimum}
    totals = [g + h for _, _, _, g, h in closes]
    assert totals == sorted(totals)

    start = (*problem.start, 0, heuristic(*problem.start))
    opening = [(CREATE, *start)] if TIE_BREAKS[tie_break].creates_start else []
    assert events[: len(opening) + 1] == [*opening, (CLOSE, *start)]
    assert events[-1] == (CLOSE, *problem.goal, optimum, 0)
    check_expansions(problem, events[len(opening) :], tie_break)


def check_expansions(problem, events, tie_break):
    """After each close come exactly the improving neighbours, in the order of the tie-break."""
    best, order = {problem.start: 0}, TIE_BREAKS[tie_break].neighbours
    closed, place = set(), 0
    while place < len(events):
        kind, x, y, g, _ = events[place]
        assert kind == CLOSE
        assert best[x, y] == g
        closed.add((x, y))
        created = []
        while place + 1 < len(events) and events[place + 1][0] == CREATE:
            place += 1
            created.append(events[place][1:4])
        place += 1
        if (x, y) == problem.goal:
            assert created == []
            continue
        cells = [(x + dx, y + dy) for dx, dy in order]
        expected = [
            (*cell, g + 1)
            for cell in cells
            if 0 <= cell[0] < problem.width
            and 0 <= cell[1] < problem.height
            and problem.floor[cell[1], cell[0]]
            and cell not in closed
            and g + 1 < best.get(cell, 10**9)
        ]
        if tie_break == "searchformer_random":
            assert sorted(created) == sorted(expected)
        else:
            assert created == expected
        best.update({(next_x, next_y): cost for next_x, next_y, cost in created})


@pytest.mark.parametrize("tie_break", TIE_BREAK_NAMES)
@pytest.mark.parametrize("generator", GENERATORS)
def test_traces_agree_with_networkx_distances(generator, tie_break):
    for index in range(12):
        problem = generate(MazeConfig(generator, 20, 16), 11, index)
        check_trace(problem, search(problem, tie_break, seed=index), tie_break)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.sampled_from(TIE_BREAK_NAMES),
    st.integers(0, 2**32 - 1),
)
def test_traces_of_arbitrary_grids(width, height, tie_break, seed):
    random = np.random.default_rng(seed)
    floor = random.random((height, width)) < 0.7
    start, goal = ((int(random.integers(width)), int(random.integers(height))) for _ in range(2))
    floor[start[1], start[0]] = floor[goal[1], goal[0]] = True
    problem = Problem(floor, start, goal)
    if goal in distances(problem):
        check_trace(problem, search(problem, tie_break, seed), tie_break)
    else:
        with pytest.raises(NoPathError, match="no path leads from start"):
            search(problem, tie_break, seed)


@pytest.mark.parametrize("tie_break", TIE_BREAK_NAMES)
def test_a_perfect_30x30_maze_never_exceeds_897_events_and_creates_no_cell_twice(tie_break):
    for index in range(20):
        trace = search(generate(MazeConfig("dfs"), 0, index), tie_break)
        creates = trace.events[trace.events[:, 0] == CREATE]
        assert len(np.unique(creates[:, 1:3], axis=0)) == len(creates)
        assert len(trace.events) - TIE_BREAKS[tie_break].creates_start <= 897


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_cost_survives_reflection_and_exchange_of_start_and_goal(generator):
    for index in range(20):
        problem = generate(MazeConfig(generator, 17, 12), 4, index)
        mirrored = Problem(
            problem.floor[:, ::-1],
            (problem.width - 1 - problem.start[0], problem.start[1]),
            (problem.width - 1 - problem.goal[0], problem.goal[1]),
        )
        exchanged = Problem(problem.floor, problem.goal, problem.start)
        costs = {len(search(other).plan) for other in (problem, mirrored, exchanged)}
        assert len(costs) == 1


def reference_paper_search(problem):
    """The rule in its plainest form: a list, scanned for the first entry of lowest f."""
    heuristic = lambda x, y: abs(x - problem.goal[0]) + abs(y - problem.goal[1])  # noqa: E731
    costs, opened, closed, events = {problem.start: 0}, [problem.start], set(), []
    while True:
        cell = min(opened, key=lambda cell: costs[cell] + heuristic(*cell))
        opened.remove(cell)
        events.append([CLOSE, *cell, costs[cell], heuristic(*cell)])
        if cell == problem.goal:
            return events
        closed.add(cell)
        for dx, dy in ((0, -1), (1, 0), (0, 1), (-1, 0)):
            x, y = cell[0] + dx, cell[1] + dy
            inside = 0 <= x < problem.width and 0 <= y < problem.height
            if not inside or not problem.floor[y, x] or (x, y) in closed:
                continue
            if costs[cell] + 1 < costs.get((x, y), 10**9):
                costs[x, y] = costs[cell] + 1
                events.append([CREATE, x, y, costs[x, y], heuristic(x, y)])
                if (x, y) not in opened:
                    opened.append((x, y))


@pytest.mark.parametrize("generator", ["drunkards_walk", "searchformer", "free_space"])
def test_paper_order_is_the_first_lowest_entry_of_an_insertion_ordered_list(generator):
    for index in range(40):
        problem = generate(MazeConfig(generator, 18, 18), 8, index)
        assert search(problem).events.tolist() == reference_paper_search(problem)


def test_low_g_floods_and_high_g_dives_in_free_space():
    problem = generate(MazeConfig("free_space", 20, 20, minimum_path_cells=20), 0, 0)
    low, high = (len(search(problem, name).events) for name in ("low_g", "high_g"))
    assert high < low / 2
    closes = search(problem, "high_g").events
    assert (closes[:, 0] == CLOSE).sum() == len(search(problem).plan)


# Traces published with Searchformer (github.com/facebookresearch/searchformer, test/*.json).
SEARCHFORMER_TRACES = [
    (
        ["...", "...", "..."],
        (2, 2),
        "create 0 0 c0 c4 close 0 0 c0 c4 create 0 1 c1 c3 create 1 0 c1 c3 close 1 0 c1 c3 "
        "create 1 1 c2 c2 create 2 0 c2 c2 close 2 0 c2 c2 create 2 1 c3 c1 close 0 1 c1 c3 "
        "create 0 2 c2 c2 close 1 1 c2 c2 create 1 2 c3 c1 close 2 1 c3 c1 create 2 2 c4 c0 "
        "close 0 2 c2 c2 close 1 2 c3 c1 close 2 2 c4 c0",
        [[0, 0], [1, 0], [2, 0], [2, 1], [2, 2]],
    ),
    (
        ["...", "#..", "..."],
        (0, 2),
        "create 0 0 c0 c2 close 0 0 c0 c2 create 1 0 c1 c3 close 1 0 c1 c3 create 1 1 c2 c2 "
        "create 2 0 c2 c4 close 1 1 c2 c2 create 1 2 c3 c1 create 2 1 c3 c3 close 1 2 c3 c1 "
        "create 0 2 c4 c0 create 2 2 c4 c2 close 0 2 c4 c0",
        [[0, 0], [1, 0], [1, 1], [1, 2], [0, 2]],
    ),
    (
        ["...", "##.", "..."],
        (0, 2),
        "create 0 0 c0 c2 close 0 0 c0 c2 create 1 0 c1 c3 close 1 0 c1 c3 create 2 0 c2 c4 "
        "close 2 0 c2 c4 create 2 1 c3 c3 close 2 1 c3 c3 create 2 2 c4 c2 close 2 2 c4 c2 "
        "create 1 2 c5 c1 close 1 2 c5 c1 create 0 2 c6 c0 close 0 2 c6 c0",
        [[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [1, 2], [0, 2]],
    ),
]


@pytest.mark.parametrize(("rows", "goal", "text", "plan"), SEARCHFORMER_TRACES)
def test_searchformer_order_reproduces_its_published_traces(rows, goal, text, plan):
    trace = search(problem_of(rows, (0, 0), goal), "searchformer")
    written = " ".join(
        f"{('create', 'close')[kind]} {x} {y} c{g} c{h}" for kind, x, y, g, h in trace.events
    )
    assert written == text
    assert trace.plan.tolist() == plan


def test_the_random_tie_break_varies_with_its_seed_and_only_with_it():
    problem = generate(MazeConfig("free_space", 12, 12, minimum_path_cells=12), 0, 0)
    traces = [search(problem, "searchformer_random", seed).events.tolist() for seed in range(8)]
    assert len({str(trace) for trace in traces}) == 8
    assert search(problem, "searchformer_random", 3).events.tolist() == traces[3]
    assert search(problem, "paper", 1).events.tolist() == search(problem, "paper").events.tolist()


def test_start_equal_to_goal_is_one_close_and_a_plan_of_one_cell():
    trace = search(problem_of(["..", ".."], (1, 0), (1, 0)))
    assert trace.events.tolist() == [[CLOSE, 1, 0, 0, 0]]
    assert trace.plan.tolist() == [[1, 0]]


def test_an_unknown_tie_break_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="tie_break 'fifo' is unknown; expected one of paper"):
        search(generate(MazeConfig(), 0, 0), "fifo")
