"""Countdown problems on demand: each a pure function of (configuration, seed, index, split)."""

import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from jaxreason.countdown.problem import SPLITS, Problem, split_of
from jaxreason.countdown.solver import MOST_NUMBERS
from jaxreason.errors import InputError

_ATTEMPTS = 10_000


@dataclass(frozen=True)
class CountdownConfig:
    """What kind of problem to draw.

    Attributes:
        numbers: how many are given, 2..5.
        largest: each is drawn from 1..largest, equal ones allowed.
        largest_target: the target lies in 1..largest_target.

    Raises:
        InputError: a field outside its range.
    """

    numbers: int = 3
    largest: int = 20
    largest_target: int = 100

    def __post_init__(self) -> None:
        most = {"numbers": MOST_NUMBERS, "largest": 10**6, "largest_target": 10**6}
        for field, value in asdict(self).items():
            least = 2 if field == "numbers" else 1
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not least <= value <= most[field]:
                raise InputError(
                    f"{field} is {value!r}; expected a whole number in {least}..{most[field]}"
                )

    @property
    def limit(self) -> int:
        """The largest number or target that can occur."""
        return max(self.largest, self.largest_target)


class _Draws:
    """Uniform numbers out of one 512-bit hash; what a draw loses in uniformity is beyond sight."""

    def __init__(self, seed: int, index: int, attempt: int):
        key = np.array([seed, index, attempt], "<u8").tobytes()
        self._left = int.from_bytes(hashlib.blake2b(key).digest(), "little")

    def below(self, count: int) -> int:
        self._left, drawn = divmod(self._left, count)
        return drawn


def generate(config: CountdownConfig, seed: int, index: int, split: str = "train") -> Problem:
    """Problem `index` of a data set: the same for the same arguments, in any order.

    The target is the value of a random expression, so every problem has a solution: two of the
    numbers left are replaced by their sum, positive difference, product or whole quotient, all
    that exist equally likely, until one is left. (Stream of Search draws the target first and
    searches.) The splits are disjoint by content: a hash of numbers and target decides to which
    split a problem belongs (8 : 1 : 1), and drawing goes on until it falls into the one asked for.

    Args:
        config: kind of problem.
        seed: data set, 0..2^64-1.
        index: example, at least 0.
        split: "train", "validation" or "test".

    Raises:
        InputError: arguments out of range, or a configuration with no such problem.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    for name, value, bits in (("seed", seed, 64), ("index", index, 63)):
        if not 0 <= value < 2**bits:
            raise InputError(f"{name} is {value}; expected a whole number in 0..2^{bits}-1")
    for attempt in range(_ATTEMPTS):
        draws = _Draws(seed, index, attempt)
        numbers = tuple(1 + draws.below(config.largest) for _ in range(config.numbers))
        target = _value_of_random_expression(numbers, draws)
        if target <= config.largest_target:
            problem = Problem(numbers, target)
            if split_of(problem) == split:
                return problem
    raise InputError(
        f"largest is {config.largest} and largest_target {config.largest_target}: too few "
        f"problems of {config.numbers} numbers to find one of the {split} split; raise one of them"
    )


def _value_of_random_expression(numbers: tuple[int, ...], draws: _Draws) -> int:
    left = list(numbers)
    while len(left) > 1:
        pair = (left.pop(draws.below(len(left))), left.pop(draws.below(len(left))))
        small, large = sorted(pair)
        results = [large + small, large * small]
        if large > small:
            results.append(large - small)
        if large % small == 0:
            results.append(large // small)
        left.append(results[draws.below(len(results))])
    return left[0]
