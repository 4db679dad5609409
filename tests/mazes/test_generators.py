"""The default generators: what every problem satisfies, purity, splits, and what is refused."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.mazes.generators import (
    GENERATORS,
    SPLITS,
    MazeConfig,
    generate,
    generate_solved,
    generate_solved_batch,
    split_of,
)


def floor_graph(floor):
    """The free cells (x, y) with an edge between neighbours."""
    graph = nx.grid_2d_graph(floor.shape[1], floor.shape[0])
    graph.remove_nodes_from([(x, y) for x, y in list(graph) if not floor[y, x]])
    return graph


generators = st.sampled_from(GENERATORS)
seeds = st.integers(0, 2**64 - 1)


@settings(max_examples=120, deadline=None)
@given(generators, st.integers(3, 24), st.integers(3, 24), seeds, st.integers(0, 10**9))
def test_start_and_goal_are_distinct_and_connected_by_a_long_enough_path(
    generator, width, height, seed, index
):
    if generator == "searchformer" and min(width, height) < 6:
        width, height = max(width, 6), max(height, 6)
    config = MazeConfig(generator, width, height)
    problem = generate(config, seed, index)
    assert problem.floor.shape == (height, width)
    assert problem.generator == generator
    assert problem.start != problem.goal
    graph = floor_graph(problem.floor)
    steps = nx.shortest_path_length(graph, problem.start, problem.goal)
    assert steps + 1 >= config.shortest_path_cells


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["wilson", "kruskal", "dfs"]), st.integers(3, 30), st.integers(3, 30), seeds)
def test_perfect_mazes_are_spanning_trees_of_the_room_lattice(generator, width, height, seed):
    problem = generate(MazeConfig(generator, width, height), seed, 0)
    assert nx.is_tree(floor_graph(problem.floor))
    fits = [
        2 * len(range(offset, width, 2)) * len(range(offset, height, 2)) - 1
        for offset in (0, 1)
        if problem.floor[offset::2, offset::2].all()
    ]
    assert problem.floor.sum() in fits


@pytest.mark.parametrize("generator", ["wilson", "kruskal", "dfs"])
def test_perfect_mazes_of_30x30_always_have_449_free_cells_under_both_offsets(generator):
    floors = generate_solved_batch(MazeConfig(generator), 3, range(200)).floors
    assert (floors.sum((1, 2)) == 449).all()
    last_row_is_wall = ~floors[:, -1].any(1)
    first_row_is_wall = ~floors[:, 0].any(1)
    assert (last_row_is_wall ^ first_row_is_wall).all()
    assert 60 < last_row_is_wall.sum() < 140


@pytest.mark.parametrize("coverage", [0.25, 0.5, 1.0])
def test_drunkards_walk_opens_its_share_as_one_component(coverage):
    config = MazeConfig("drunkards_walk", coverage=coverage)
    for index in range(20):
        floor = generate(config, 0, index).floor
        assert floor.sum() == int(900 * coverage)
        assert nx.is_connected(floor_graph(floor))


def test_searchformer_wall_counts_fill_their_range_and_paths_are_never_short():
    batch = generate_solved_batch(MazeConfig("searchformer"), 0, range(2000))
    walls = 900 - batch.floors.sum((1, 2))
    assert 270 <= walls.min() < 290
    assert 430 < walls.max() <= 450
    assert np.diff(batch.plan_offsets).min() >= 30


@pytest.mark.parametrize("generator", GENERATORS)
def test_minimum_path_cells_is_enforced_for_every_generator(generator):
    config = MazeConfig(generator, 15, 15, minimum_path_cells=17)
    batch = generate_solved_batch(config, 1, range(100), "validation")
    assert np.diff(batch.plan_offsets).min() >= 17


def test_free_space_has_no_walls():
    assert generate(MazeConfig("free_space", 7, 4), 0, 0).floor.all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_problem_depends_only_on_its_arguments_and_not_on_the_order_of_calls(generator):
    config = MazeConfig(generator, 12, 9)
    forwards = [generate(config, 5, index).digest() for index in range(20)]
    backwards = [generate(config, 5, index).digest() for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 20
    assert forwards != [generate(config, 6, index).digest() for index in range(20)]


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_batched_path_equals_one_call_each(generator):
    config = MazeConfig(generator, 13, 10)
    indices = [7, 3, 10**9, 0]
    for tie_break in ("paper", "searchformer_random"):
        batch = generate_solved_batch(config, 2, indices, "test", tie_break)
        for place, index in enumerate(indices):
            problem, trace = batch[place]
            other, other_trace = generate_solved(config, 2, index, "test", tie_break)
            assert problem.digest() == other.digest() == generate(config, 2, index, "test").digest()
            np.testing.assert_array_equal(trace.events, other_trace.events)
            np.testing.assert_array_equal(trace.plan, other_trace.plan)


def test_a_batch_longer_than_its_first_buffers_is_still_right():
    config = MazeConfig("dfs", 31, 31, minimum_path_cells=300)
    batch = generate_solved_batch(config, 0, range(40))
    assert batch.event_offsets[-1] == len(batch.events) > 40 * 512
    for place in (0, 17, 39):
        events = generate_solved(config, 0, place)[1].events
        np.testing.assert_array_equal(batch[place][1].events, events)


@pytest.mark.parametrize("generator", GENERATORS)
def test_splits_are_disjoint_by_content(generator):
    """On a grid so small that splits drawn independently would share nearly all problems."""
    config = MazeConfig(generator, 4, 4, minimum_path_cells=2)
    contents = {
        split: {generate(config, seed, index, split).digest() for index in range(400)}
        for seed, split in enumerate(SPLITS)
    }
    assert not contents["train"] & contents["test"]
    assert not contents["train"] & contents["validation"]
    assert not contents["validation"] & contents["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_problem_belongs_to_the_split_it_was_asked_for(split):
    for index in range(30):
        assert split_of(generate(MazeConfig(), 0, index, split)) == split


def test_splits_are_8_to_1_to_1_of_all_contents():
    """All ordered pairs of cells of an empty 30x6 grid, split by their hash."""
    from jaxreason.mazes.kernels.drawing import content_split

    floor = np.ones((6, 30), np.bool_)
    codes = [content_split(floor, start, goal) for start in range(180) for goal in range(180)]
    shares = np.bincount(codes, minlength=3) / len(codes)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"generator": "prim"}, "generator 'prim' is unknown; expected one of wilson"),
        ({"width": 0}, "width is 0"),
        ({"height": 2.5}, "height is 2.5"),
        ({"width": 5000, "height": 5000}, "at most 1048576 cells"),
        ({"width": 2, "height": 2}, "2x2, too small for wilson"),
        ({"generator": "free_space", "width": 1, "height": 1}, "1x1, too small"),
        ({"coverage": 0.0}, r"coverage is 0.0; expected a share in \(0, 1\]"),
        ({"coverage": 1.5}, "coverage is 1.5"),
        ({"coverage": float("nan")}, "coverage is nan"),
        ({"generator": "drunkards_walk", "coverage": 0.001}, "coverage is 0.001: on 30x30"),
        ({"wall_fraction": (0.5, 0.3)}, "wall_fraction is"),
        ({"wall_fraction": (0.3, 1.0)}, "wall_fraction is"),
        ({"minimum_path_cells": 1}, "minimum_path_cells is 1"),
        ({"minimum_path_cells": 500}, "minimum_path_cells is 500, but a 30x30 wilson"),
    ],
)
def test_impossible_configurations_are_refused_by_name(fields, message):
    with pytest.raises(InputError, match=message):
        MazeConfig(**fields)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, "dev"), "split 'dev' is unknown; expected one of train, validation, test"),
        ((-1, 0), "seed is -1"),
        ((0, -1), "index is -1"),
    ],
)
def test_arguments_outside_their_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        generate(MazeConfig(), *arguments)


def test_a_path_length_that_no_maze_reaches_is_an_error_and_no_endless_loop():
    config = MazeConfig("free_space", 6, 6, minimum_path_cells=12)
    with pytest.raises(InputError, match="minimum_path_cells is 12: no 6x6 free_space maze"):
        generate(config, 0, 0)


def test_a_split_without_any_problem_is_an_error_and_no_endless_loop():
    """A 3x1 corridor has six problems at most; not every split has one of them."""
    config = MazeConfig("free_space", 2, 1)
    failures = 0
    for split in SPLITS:
        try:
            generate(config, 0, 0, split)
        except InputError as error:
            assert "2x1: too few distinct free_space problems" in str(error)  # noqa: PT017
            failures += 1
    assert failures >= 1
