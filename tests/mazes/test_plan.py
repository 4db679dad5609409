"""What counts as a plan, and what is wrong with it."""

import numpy as np
import pytest

from jaxreason.mazes import Problem
from jaxreason.mazes.validation import shortest_path_cells, validate_plan

# Start s, goal g:   s . #
#                    # . g
FLOOR = np.array([[True, True, False], [False, True, True]])
PROBLEM = Problem(FLOOR, (0, 0), (2, 1))
GOOD = "plan 0 0 plan 1 0 plan 1 1 plan 2 1"


def error(text, **options):
    return validate_plan(PROBLEM, text, **options).error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"solution {GOOD} end", None),
        (GOOD, None),
        (f"reasoning solution {GOOD} end", None),
        (f"close 0 0 c0 c3 solution {GOOD} end", None),
        (f"plan 9 9 close 0 0 c0 c3 solution {GOOD} end", None),
        (f"plan 9 9 junk {GOOD}", "illegal_start"),
        ("", "plan_syntax_error"),
        ("solution end", "plan_syntax_error"),
        (f"{GOOD} close 0 0 c0 c3", "plan_syntax_error"),
        (f"{GOOD} plan 1", "plan_syntax_error"),
        (f"{GOOD} plan 1 x", "plan_syntax_error"),
        (f"plan 1 close 0 0 c0 c3 {GOOD}", "plan_syntax_error"),
        ("plan 1 0 plan 1 1 plan 2 1", "illegal_start"),
        ("plan 0 0 plan 1 1 plan 2 1", "illegal_move"),
        ("plan 0 0 plan 0 1 plan 1 1 plan 2 1", "illegal_move"),
        ("plan 0 0 plan 0 0 plan 1 0 plan 1 1 plan 2 1", "illegal_move"),
        ("plan 0 0 plan -1 0 plan 0 0 plan 1 0 plan 1 1 plan 2 1", "illegal_move"),
        ("plan 0 0 plan 1 0 plan 1 1", "goal_not_reached"),
        (f"{GOOD} plan 1 1", "goal_not_reached"),
    ],
)
def test_plan_codes(text, expected):
    assert error(text) == expected
    assert error(text.split()) == expected


def test_a_detour_is_suboptimal_only_when_asked():
    detour = "plan 0 0 plan 1 0 plan 0 0 plan 1 0 plan 1 1 plan 2 1"
    assert error(detour) is None
    assert error(detour, require_optimal=True) == "suboptimal_path"
    assert error(GOOD, require_optimal=True) is None


def test_a_verdict_carries_cells_step_and_words():
    verdict = validate_plan(PROBLEM, "plan 0 0 plan 1 0 plan 2 0")
    assert verdict.cells.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert verdict.step == 2
    assert verdict.detail == "step 2 goes from (1, 0) to (2, 0), which is no free neighbour"


def test_shortest_path_counts_both_ends():
    assert shortest_path_cells(PROBLEM) == 4
    assert shortest_path_cells(Problem(FLOOR, (0, 0), (0, 0))) == 1
    assert shortest_path_cells(Problem(np.array([[True, False, True]]), (0, 0), (2, 0))) == 0
