"""Each default generator against the distribution it claims.

Expected degrees of a uniform spanning tree come from the transfer-current theorem (Burton and
Pemantle 1993); measured figures of the authors' program are means over 2,000 mazes of 30x30.
"""

from itertools import islice

import numpy as np
import pytest
from scipy import stats

from jaxreason.mazes.generators import MazeConfig, generate_solved_batch
from jaxreason.mazes.paper_stream import paper_problems


def batch_floors(generator, size, count, **fields):
    """Floors [count, size, size] of all splits in their proportions 8 : 1 : 1.

    A single split of a tiny grid holds a fixed random tenth of all contents, which biases it.
    """
    config = MazeConfig(generator, size, size, **fields)
    parts = [("train", count * 8 // 10), ("validation", count // 10), ("test", count // 10)]
    return np.concatenate(
        [generate_solved_batch(config, 0, range(part), split).floors for split, part in parts]
    )


def cell_degrees(floors):
    """Free neighbours of each free cell, 0 for walls; [mazes, height, width]."""
    around = np.pad(floors, ((0, 0), (1, 1), (1, 1))).astype(np.int64)
    total = around[:, :-2, 1:-1] + around[:, 2:, 1:-1] + around[:, 1:-1, :-2] + around[:, 1:-1, 2:]
    return total * floors


def degree_counts(floors):
    """Cells of degree 1, 2, 3, 4 per maze; [mazes, 4]."""
    degrees = cell_degrees(floors)
    return np.stack([(degrees == degree).sum((1, 2)) for degree in (1, 2, 3, 4)], axis=1)


def uniform_tree_degrees(side):
    """Expected number of rooms of degree 1..4 in a uniform spanning tree of side x side rooms.

    The edges of the tree are a determinantal process with kernel b_e L^+ b_f, so the number of
    edges at a room is a sum of independent coins with the eigenvalues of the kernel at its edges.
    """
    room = np.arange(side * side).reshape(side, side)
    edges = [(a, b) for a, b in zip(room[:, :-1].flat, room[:, 1:].flat, strict=True)]
    edges += [(a, b) for a, b in zip(room[:-1].flat, room[1:].flat, strict=True)]
    incidence = np.zeros((len(edges), side * side))
    for place, (a, b) in enumerate(edges):
        incidence[place, a], incidence[place, b] = 1, -1
    kernel = (
        incidence
        @ np.linalg.pinv(incidence.T @ incidence, rcond=1e-10, hermitian=True)
        @ incidence.T
    )
    expected = np.zeros(5)
    for vertex in range(side * side):
        at = np.flatnonzero(incidence[:, vertex])
        distribution = np.ones(1)
        for chance in np.linalg.eigvalsh(kernel[np.ix_(at, at)]):
            distribution = np.convolve(distribution, [1 - chance, chance])
        expected[: distribution.size] += distribution
    assert abs(expected[0]) < 1e-8
    return expected[1:]


def tree_codes(floors):
    """The 12 connectors of 6x6 mazes (3x3 rooms) as a number, whatever the lattice's offset."""
    shifted = floors[:, -1].any(1)
    aligned = np.where(shifted[:, None, None], np.roll(floors, -1, (1, 2)), floors)[:, :5, :5]
    y, x = np.nonzero(np.add.outer(np.arange(5), np.arange(5)) % 2)
    return aligned[:, y, x] @ (1 << np.arange(12))


def tree_frequencies(generator, samples):
    return np.unique(tree_codes(batch_floors(generator, 6, samples)), return_counts=True)[1]


def test_the_oracle_gives_the_published_expectation_of_15x15_rooms():
    np.testing.assert_allclose(
        uniform_tree_degrees(15), [65.3093, 103.4142, 49.2438, 7.0327], atol=1e-4
    )


@pytest.mark.parametrize(("rooms", "count"), [(3, 20_000), (10, 5_000), (15, 4_000)])
def test_wilson_has_the_degrees_of_a_uniform_spanning_tree(rooms, count):
    counts = degree_counts(batch_floors("wilson", 2 * rooms, count))
    counts[:, 1] -= rooms * rooms - 1  # connectors have degree 2
    standard_error = counts.std(0) / np.sqrt(len(counts))
    deviation = np.abs(counts.mean(0) - uniform_tree_degrees(rooms))
    assert (deviation < 4 * standard_error).all()


@pytest.mark.parametrize("generator", ["kruskal", "dfs"])
def test_the_other_perfect_mazes_have_not(generator):
    leaves = degree_counts(batch_floors(generator, 30, 1_000))[:, 0]
    standard_error = leaves.std() / np.sqrt(len(leaves))
    assert abs(leaves.mean() - uniform_tree_degrees(15)[0]) > 8 * standard_error


def test_wilson_draws_each_of_the_192_trees_of_3x3_rooms_equally_often():
    frequencies = tree_frequencies("wilson", 38_400)
    assert len(frequencies) == 192
    assert stats.chisquare(frequencies).pvalue > 1e-3


def test_kruskal_draws_all_192_trees_but_far_from_equally_often():
    frequencies = tree_frequencies("kruskal", 38_400)
    assert len(frequencies) == 192
    assert stats.chisquare(frequencies).statistic > 800
    assert 0.5 < frequencies.min() / 200 < 0.75
    assert 1.25 < frequencies.max() / 200 < 1.6


def test_depth_first_search_reaches_88_trees_and_from_a_fixed_corner_14():
    assert len(tree_frequencies("dfs", 20_000)) == 88
    corner = np.stack([problem.floor for problem in islice(paper_problems("dfs", 6), 2_000)])
    assert len(np.unique(tree_codes(corner))) == 14


# Mean and standard error of the authors' mazes; the start room of dfs and the strict path length
# of searchformer differ here, hence the extra tolerance.
MEASURED = {
    "wilson": ((65.34, 0.09), (49.39, 0.10), (6.98, 0.05), 0.0),
    "kruskal": ((67.95, 0.09), (49.72, 0.10), (8.11, 0.06), 0.0),
    "dfs": ((24.58, 0.06), (22.04, 0.07), (0.27, 0.012), 0.15),
    "drunkards_walk": ((7.62, 0.07), (126.0, 0.4), (260.3, 0.5), 0.0),
    "searchformer": ((85.95, 0.42), (189.8, 0.3), (74.0, 0.7), 1.0),
}


@pytest.mark.parametrize("generator", MEASURED)
def test_dead_ends_and_junctions_agree_with_the_authors_mazes(generator):
    *measured, tolerance = MEASURED[generator]
    counts = degree_counts(batch_floors(generator, 30, 2_000))[:, [0, 2, 3]]
    own_error = counts.std(0) / np.sqrt(len(counts))
    for mean, error, (expected, expected_error) in zip(
        counts.mean(0), own_error, measured, strict=True
    ):
        assert abs(mean - expected) < 4 * np.hypot(error, expected_error) + tolerance


@pytest.mark.parametrize(
    ("generator", "trace_tokens", "plan_cells"),
    [("wilson", 1500, 48), ("kruskal", 1422, 45), ("dfs", 1977, 98), ("drunkards_walk", 866, 20)],
)
def test_traces_are_as_long_as_the_authors(generator, trace_tokens, plan_cells):
    batch = generate_solved_batch(MazeConfig(generator), 0, range(3_000))
    tokens, cells = 5 * np.diff(batch.event_offsets), np.diff(batch.plan_offsets)
    # Both means carry an error: 3,000 problems here, 2,000 there.
    error = np.sqrt(1 / 3_000 + 1 / 2_000)
    assert abs(tokens.mean() - trace_tokens) < 4 * tokens.std() * error
    assert abs(cells.mean() - plan_cells) < 4 * cells.std() * error + 0.5


def test_endpoints_are_uniform_over_the_free_cells():
    config = MazeConfig("free_space", 5, 5)
    parts = [("train", 16_000), ("validation", 2_000), ("test", 2_000)]
    endpoints = np.concatenate(
        [generate_solved_batch(config, 0, range(part), split).endpoints for split, part in parts]
    )
    for x, y in ((0, 1), (2, 3)):
        counts = np.bincount(endpoints[:, y] * 5 + endpoints[:, x], minlength=25)
        assert stats.chisquare(counts).pvalue > 1e-3
