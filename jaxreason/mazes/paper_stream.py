"""The data of Stechly et al. 2025 (arXiv 2505.13775), byte for byte.

One 32-bit LCG stream feeds all mazes of a split in sequence, so problem k needs the k before it,
and a stream runs into the other split's numbers after some 638,000 Wilson or 86,000
Searchformer-style mazes. The authors' quirks stay: a Wilson or Kruskal maze may begin at its goal,
depth-first rooms always lie on even cells, and 2 % of the Searchformer-style problems are shorter
than asked for. For anything but comparison with that data, take `generators`.
"""

import json
from collections.abc import Iterator

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.astar import MAXIMUM_CELLS, search
from jaxreason.mazes.formats import to_text
from jaxreason.mazes.kernels import carving
from jaxreason.mazes.kernels.paper import next_paper_problem
from jaxreason.mazes.kernels.random_numbers import LCG
from jaxreason.mazes.problem import Problem

PAPER_GENERATORS = {
    "wilson": carving.WILSON,
    "kruskal": carving.KRUSKAL,
    "dfs": carving.DFS,
    "drunkards_walk": carving.DRUNKARDS_WALK,
    "searchformer": carving.SEARCHFORMER,
}
"""The generators of the paper, and the codes of their kernels."""


def paper_problems(
    generator: str, size: int = 30, seed: int = 42, split: str = "train"
) -> Iterator[Problem]:
    """The authors' endless stream of problems.

    Args:
        generator: one of `PAPER_GENERATORS`.
        size: columns and rows.
        seed: the stream starts at 2 * seed (train) or 2 * seed + 1 (test), modulo 2^32.
        split: "train" or "test".

    Raises:
        InputError: unknown generator or split, a size below 3 or of more cells than A* takes, a
            negative seed.
    """
    if generator not in PAPER_GENERATORS:
        raise InputError(
            f"generator {generator!r} has no paper-compatible stream; "
            f"expected one of {', '.join(PAPER_GENERATORS)}"
        )
    if split not in ("train", "test"):
        raise InputError(f"split {split!r} has no paper-compatible stream; expected train or test")
    if size < 3:
        raise InputError(f"size is {size}; the paper-compatible generators need at least 3")
    if size * size > MAXIMUM_CELLS:
        raise InputError(f"size is {size}: {size}x{size}; at most {MAXIMUM_CELLS} cells")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected a whole number of at least 0")
    return _problems(generator, size, (2 * seed + (split == "test")) % 2**32)


def _problems(generator: str, size: int, state: int) -> Iterator[Problem]:
    stream = np.array([state, LCG], np.uint64)
    while True:
        floor = np.empty((size, size), np.bool_)
        start, goal = next_paper_problem(PAPER_GENERATORS[generator], floor, stream)
        yield Problem(floor, (start % size, start // size), (goal % size, goal // size), generator)


def json_line(text: str) -> str:
    """One line of the authors' files: a JSON object with the key `text`, no spaces, newline."""
    return json.dumps({"text": text}, separators=(",", ":")) + "\n"


def paper_lines(
    generator: str, size: int = 30, seed: int = 42, split: str = "train"
) -> Iterator[str]:
    """The lines of the authors' JSONL files, newline included; arguments as `paper_problems`."""
    problems = paper_problems(generator, size, seed, split)
    return (json_line(to_text(problem, search(problem, "paper"))) for problem in problems)
