"""A Countdown problem: the numbers at hand and the target to make of them."""

import hashlib
from dataclasses import dataclass

import numpy as np

from jaxreason.errors import InputError

SPLITS = ("train", "validation", "test")

_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Problem:
    """Make `target` from `numbers`, each used exactly once.

    Numbers have no order, so they are kept in ascending order: problems that differ only in how
    their numbers were listed are equal.

    Attributes:
        numbers: whole numbers of at least 0, ascending; equal ones are different numbers.
        target: a whole number of at least 0.

    Raises:
        InputError: no numbers, or one that is negative, not whole or above 2^63 - 1.
    """

    numbers: tuple[int, ...]
    target: int

    def __post_init__(self) -> None:
        if not self.numbers:
            raise InputError("numbers is empty; expected at least one number")
        for field, value in (*(("numbers", n) for n in self.numbers), ("target", self.target)):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or not 0 <= value <= _LARGEST:
                raise InputError(
                    f"{field} has {value!r}; expected whole numbers in 0..2^63-1"
                    if field == "numbers"
                    else f"target is {value!r}; expected a whole number in 0..2^63-1"
                )
        object.__setattr__(self, "numbers", tuple(sorted(int(n) for n in self.numbers)))
        object.__setattr__(self, "target", int(self.target))

    def digest(self) -> bytes:
        """SHA-256 of numbers and target: equal exactly when two problems are the same."""
        content = np.array([self.target, *self.numbers], "<i8")
        return hashlib.sha256(content.tobytes()).digest()


def split_of(problem: Problem) -> str:
    """The split to which a problem's content (numbers and target) belongs, 8 : 1 : 1."""
    share = int.from_bytes(problem.digest()[:8], "little") % 10
    return {0: "test", 1: "validation"}.get(share, "train")
