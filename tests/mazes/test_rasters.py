"""Maze pictures: painted and read without loss, and judged cell by cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes import Problem, palette
from jaxreason.mazes.generators import GENERATORS, MazeConfig, generate_solved
from jaxreason.mazes.raster_judges import (
    MAZE_PICTURE_CODES,
    SOLUTION_PICTURE_CODES,
    judge_maze_picture,
    judge_solution_picture,
)
from jaxreason.mazes.rasters import (
    FREE,
    GOAL,
    PLAN,
    START,
    WALL,
    cell_classes,
    paint,
    rasterise,
    read_raster,
)

# #S.
# ..#
# #.G
FLOOR = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 1]], np.bool_)
MAZE = Problem(FLOOR, (1, 0), (2, 2))
MAZE_PLAN = np.array([(1, 0), (1, 1), (1, 2), (2, 2)])


def drawn(problem, plan=None):
    return cell_classes(problem, plan).copy()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(GENERATORS), st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_reading_a_picture_gives_the_cells_it_was_painted_from(generator, seed, pixels, solved):
    config = MazeConfig(generator, 7, 6, minimum_path_cells=2)
    problem, trace = generate_solved(config, seed, 0)
    plan = trace.plan if solved else None
    image = rasterise(problem, plan, pixels)
    assert image.shape == (6 * pixels, 7 * pixels, 3)
    reading = read_raster(image, 7, 6)
    np.testing.assert_array_equal(reading.cells, cell_classes(problem, plan))
    np.testing.assert_array_equal(reading.distance, 0)
    maze, solution = (
        judge(problem, reading.cells) for judge in (judge_maze_picture, judge_solution_picture)
    )
    assert maze.valid == (not solved or len(trace.plan) == 2)
    assert solution.valid == (solved or len(trace.plan) == 2)
    if solved:
        np.testing.assert_array_equal(solution.plan, trace.plan)
        assert solution.optimal
        assert solution.share == 1


def test_a_picture_has_the_palette_s_colours_in_the_problem_s_places():
    image = rasterise(MAZE, MAZE_PLAN, 2)
    for (x, y), colour in (
        ((0, 0), palette.WALL),
        ((2, 0), palette.FREE),
        ((1, 0), palette.START),
        ((2, 2), palette.GOAL),
        ((1, 1), palette.PLAN),
    ):
        block = image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1, 3)
        assert set(map(tuple, block.tolist())) == {colour}


def test_many_pictures_are_read_at_once_and_meaningless_colours_survive():
    cells = np.arange(24).reshape(2, 3, 4) % 8
    np.testing.assert_array_equal(read_raster(paint(cells, 3), 4, 3).cells, cells)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_noise_moves_the_distance_and_not_the_cells(seed):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 5, (4, 4))
    image = paint(cells, 4).astype(int)
    noisy = np.clip(image + rng.integers(-40, 41, image.shape), 0, 255).astype(np.uint8)
    reading = read_raster(noisy, 4, 4)
    np.testing.assert_array_equal(reading.cells, cells)
    error = np.square(noisy - image.astype(float)).sum(-1).reshape(4, 4, 4, 4).mean((1, 3))
    np.testing.assert_allclose(reading.distance, np.sqrt(error), rtol=1e-5)


def expected_code(want, shown):
    if want in (START, GOAL):
        return {START: "missing_start", GOAL: "missing_goal"}[want]
    if shown > PLAN:
        return "unknown_colour"
    if want == WALL:
        return "missing_wall"
    return {WALL: "extra_wall", START: "extra_start", GOAL: "extra_goal", PLAN: "extra_plan"}[shown]


def test_every_wrong_cell_of_a_maze_picture_is_named():
    right = drawn(MAZE)
    assert judge_maze_picture(MAZE, right).valid
    seen = set()
    for (y, x), want in np.ndenumerate(right):
        for shown in range(8):
            if shown == want:
                continue
            cells = right.copy()
            cells[y, x] = shown
            verdict = judge_maze_picture(MAZE, cells)
            assert [(e.code, e.cell) for e in verdict.errors] == [
                (expected_code(want, shown), (x, y))
            ]
            assert not verdict.valid
            assert verdict.share == pytest.approx(8 / 9)
            seen.add(verdict.error)
    assert seen == set(MAZE_PICTURE_CODES)


def test_every_wrong_cell_of_a_solution_picture_is_named():
    right = drawn(MAZE, MAZE_PLAN)
    verdict = judge_solution_picture(MAZE, right)
    assert verdict.valid
    assert verdict.optimal
    assert verdict.plan.tolist() == MAZE_PLAN.tolist()
    for (y, x), want in np.ndenumerate(drawn(MAZE)):
        for shown in range(8):
            if shown in (want, right[y, x]) or (want == FREE and shown == PLAN):
                continue
            cells = right.copy()
            cells[y, x] = shown
            verdict = judge_solution_picture(MAZE, cells)
            code = expected_code(want, shown)
            if (want, shown) == (WALL, PLAN):
                code = "plan_on_wall"
            assert (verdict.errors[0].code, verdict.errors[0].cell) == (code, (x, y))
            assert not verdict.valid
            assert not verdict.optimal
            assert verdict.share < 1


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        # The plan is cut: from the start, in the middle of it, and before the goal.
        ({(1, 1): FREE}, [("plan_detached", (1, 2)), ("goal_not_reached", (1, 0))]),
        ({(1, 1): FREE, (1, 2): FREE}, [("goal_not_reached", (1, 0))]),
        ({(1, 2): FREE}, [("goal_not_reached", (1, 1))]),
        # A dead end beside it, at the start and on the way.
        ({(2, 0): PLAN}, [("plan_branches", (1, 0))]),
        ({(0, 1): PLAN}, [("plan_branches", (1, 1))]),
    ],
)
def test_every_broken_plan_is_named(changes, wanted):
    cells = drawn(MAZE, MAZE_PLAN)
    for (x, y), kind in changes.items():
        cells[y, x] = kind
    verdict = judge_solution_picture(MAZE, cells)
    assert [(e.code, e.cell) for e in verdict.errors] == wanted
    assert not verdict.valid


def test_a_loop_apart_a_blob_and_a_detour():
    room = Problem(np.ones((5, 5), np.bool_), (0, 0), (4, 0))
    straight = np.stack([np.arange(5), np.zeros(5, int)], 1)
    cells = drawn(room, straight)
    cells[2:5, 2:5] = PLAN
    cells[3, 3] = FREE
    loop = judge_solution_picture(room, cells)
    assert {e.code for e in loop.errors} == {"plan_detached"}
    assert len(loop.errors) == 8
    cells = drawn(room, straight)
    cells[1, 1:4] = PLAN
    assert judge_solution_picture(room, cells).error == "plan_branches"
    detour = [(0, 1), (0, 2), (1, 2), (2, 2), (3, 2), (4, 2), (4, 1)]
    cells = drawn(room, np.array(detour))
    verdict = judge_solution_picture(room, cells)
    assert verdict.valid
    assert not verdict.optimal
    assert verdict.plan.tolist() == [[0, 0], *map(list, detour), [4, 0]]


def test_a_ring_through_the_start_does_not_hang():
    room = Problem(np.ones((3, 4), np.bool_), (0, 0), (3, 2))
    cells = drawn(room)
    cells[0:3, 0:3] = PLAN
    cells[0, 0], cells[1, 1], cells[2, 2] = START, FREE, PLAN
    verdict = judge_solution_picture(room, cells)
    assert "plan_branches" in {e.code for e in verdict.errors}


def slow_is_solution(problem, cells):
    """Whether some walk from start to goal, drawn on the maze, gives exactly these cells and is
    the only walk through them: by searching all of them."""
    walks = []

    def extend(walk):
        if walk[-1] == problem.goal:
            walks.append(list(walk))
            return
        x, y = walk[-1]
        for a, b in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            inside = 0 <= a < problem.width and 0 <= b < problem.height
            if inside and (a, b) not in walk and cells[b, a] in (PLAN, GOAL):
                extend([*walk, (a, b)])

    if cells[problem.start[1], problem.start[0]] != START:
        return False
    extend([problem.start])
    if len(walks) != 1 or not all(problem.floor[y, x] for x, y in walks[0]):
        return False
    return np.array_equal(cells, cell_classes(problem, np.array(walks[0])))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 4))
def test_the_judge_agrees_with_an_exhaustive_search(seed, changes):
    rng = np.random.default_rng(seed)
    config = MazeConfig("free_space" if seed % 2 else "searchformer", 4, 4, minimum_path_cells=2)
    problem, trace = generate_solved(config, seed, 0)
    cells = drawn(problem, trace.plan)
    for _ in range(changes):
        y, x = rng.integers(0, 4, 2)
        cells[y, x] = rng.choice([FREE, PLAN, PLAN, WALL])
    verdict = judge_solution_picture(problem, cells)
    assert verdict.valid == slow_is_solution(problem, cells)
    assert {e.code for e in verdict.errors} <= set(SOLUTION_PICTURE_CODES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rasterise(MAZE, np.array([(3, 0)])), r"plan has the cell \(3, 0\), outside"),
        (lambda: rasterise(MAZE, np.array([1.0, 2.0])), "plan must be whole numbers"),
        (lambda: rasterise(MAZE, cell_pixels=0), "cell_pixels is 0"),
        (lambda: paint(np.full((2, 2), 8)), "cells has the value 8; expected 0..7"),
        (lambda: paint(np.zeros((2, 2))), "cells must be whole numbers"),
        (lambda: read_raster(np.zeros((8, 9, 3), np.uint8), 2, 2), "image is 9x8 pixels"),
        (lambda: read_raster(np.zeros((1, 1, 3), np.uint8), 2, 2), "image is 1x1 pixels"),
        (lambda: read_raster(np.zeros((8, 8), np.uint8), 2, 2), "image must be RGB"),
        (lambda: read_raster(np.zeros((8, 8, 4), np.uint8), 2, 2), "image must be RGB"),
        (lambda: read_raster(np.zeros((8, 8, 3)), 2, 2), "image must be RGB, uint8"),
        (lambda: judge_maze_picture(MAZE, np.zeros((3, 4), int)), "cells has shape"),
        (lambda: judge_solution_picture(MAZE, np.full((3, 3), -1)), "cells has the value -1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
