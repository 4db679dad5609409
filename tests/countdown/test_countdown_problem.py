"""Countdown problems: their content, their generator, their splits."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.countdown import SPLITS, CountdownConfig, Problem, generate, solutions, split_of
from jaxreason.errors import InputError

numbers = st.lists(st.integers(0, 30), min_size=1, max_size=5)


@given(numbers, st.integers(0, 200), st.randoms())
def test_a_problem_is_its_numbers_in_any_order_and_its_target(listed, target, random):
    problem = Problem(tuple(listed), target)
    random.shuffle(listed)
    again = Problem(tuple(listed), target)
    assert again == problem
    assert again.digest() == problem.digest()
    assert problem.numbers == tuple(sorted(listed))


def test_different_content_has_a_different_digest():
    content = [
        (chosen, target)
        for count in (1, 2, 3)
        for chosen in itertools.combinations_with_replacement(range(5), count)
        for target in range(5)
    ]
    assert len({Problem(*each).digest() for each in content}) == len(content)


def test_problems_and_splits_never_change():
    # Runs trained before must find the same problems, and the same ones held out.
    splits = [split_of(Problem((2, 3, 7), target)) for target in range(8)]
    assert splits == ["test", "test", "train", "train", "train", "train", "validation", "train"]
    drawn = [generate(CountdownConfig(3, 20, 100), 0, index) for index in range(3)]
    assert [(p.numbers, p.target) for p in drawn] == [
        ((7, 12, 18), 37),
        ((1, 3, 20), 23),
        ((1, 13, 17), 4),
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_examples_do_not_depend_on_the_order_in_which_they_are_asked_for(split):
    config = CountdownConfig(3, 15, 60)
    forwards = [generate(config, 5, index, split) for index in range(50)]
    backwards = [generate(config, 5, index, split) for index in reversed(range(50))]
    assert forwards == backwards[::-1]
    assert all(split_of(problem) == split for problem in forwards)
    assert forwards != [generate(config, 6, index, split) for index in range(50)]


def test_splits_share_no_problem_and_have_their_shares():
    config = CountdownConfig(3, 20, 100)
    drawn = {split: {generate(config, 0, i, split) for i in range(600)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not drawn[one] & drawn[other]
        contents = [{(p.numbers, p.target) for p in drawn[split]} for split in (one, other)]
        assert not contents[0] & contents[1]
    every = [Problem((a, b), t) for a in range(9) for b in range(9, 18) for t in range(30)]
    shares = [sum(split_of(p) == split for p in every) / len(every) for split in SPLITS]
    # Three standard deviations of a binomial share.
    for share, expected in zip(shares, (0.8, 0.1, 0.1), strict=True):
        assert abs(share - expected) < 3 * (expected * (1 - expected) / len(every)) ** 0.5


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 4), st.integers(4, 40), st.integers(10, 200), st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1), st.sampled_from(SPLITS),
)  # fmt: skip
def test_every_problem_is_in_range_and_can_be_solved(count, largest, target, seed, index, split):
    config = CountdownConfig(count, largest, target)
    problem = generate(config, seed, index, split)
    assert len(problem.numbers) == count
    assert 1 <= problem.numbers[0] <= problem.numbers[-1] <= largest
    assert 1 <= problem.target <= target
    assert max(*problem.numbers, problem.target) <= config.limit
    assert solutions(problem)


def test_all_numbers_and_all_operations_occur():
    problems = [generate(CountdownConfig(2, 6, 40), 0, index) for index in range(2000)]
    kinds = set()
    for problem in problems:
        low, high = problem.numbers
        values = {"+": low + high, "-": high - low, "*": low * high, "/": Fraction(high, low)}
        kinds |= {sign for sign, value in values.items() if value == problem.target}
    assert {n for problem in problems for n in problem.numbers} == set(range(1, 7))
    assert kinds == set("+-*/")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Problem((), 3), "numbers is empty"),
        (lambda: Problem((1, -2), 3), r"numbers has -2; expected whole numbers in 0\.\."),
        (lambda: Problem((1, 2.0), 3), r"numbers has 2\.0"),
        (lambda: Problem((True,), 3), "numbers has True"),
        (lambda: Problem((1,), 2**63), f"target is {2**63}"),
        (lambda: CountdownConfig(1), r"numbers is 1; expected a whole number in 2\.\.5"),
        (lambda: CountdownConfig(6), "numbers is 6"),
        (lambda: CountdownConfig(3, 0), "largest is 0"),
        (lambda: CountdownConfig(3, 20, 0), "largest_target is 0"),
        (lambda: CountdownConfig(3, 20, 10.5), r"largest_target is 10\.5"),
        (lambda: generate(CountdownConfig(), -1, 0), "seed is -1"),
        (lambda: generate(CountdownConfig(), 0, -1), "index is -1"),
        (lambda: generate(CountdownConfig(), 0, 0, "dev"), "split 'dev' is unknown"),
        # 1 and 1 make 2 and 1 only, and neither is in the test split.
        (lambda: generate(CountdownConfig(2, 1, 5), 0, 0, "test"), "too few problems of 2 numbers"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
