"""Maze examples by index: a problem, the trace its regime shows, its plan, as token ids."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.astar import Trace, find_tie_break, search
from jaxreason.mazes.generators import SPLITS, MazeConfig, generate
from jaxreason.mazes.kernels.random_numbers import mix
from jaxreason.mazes.problem import Problem
from jaxreason.mazes.regimes import REGIMES, derangement, for_regime
from jaxreason.tokens.maze_vocabulary import MazeVocabulary

CACHE_BYTES = 256 * 2**20
"""Default bound on the memory for encoded examples that later epochs use again."""


@dataclass(frozen=True)
class MazeData:
    """A data set of maze examples; with an index it determines every token.

    Attributes:
        generator, width, height, coverage, wall_fraction, minimum_path_cells: see `MazeConfig`.
        count: number of examples.
        seed: of the problems, of the swap and of what is dropped.
        split: "train", "validation" or "test"; disjoint by content.
        regime: "solution_only" shows no trace, "correct" that of the problem, "swapped" that of
            another problem of the data set, "dropped" the problem's with parts left out.
        drop_level: 1 to 4, for "dropped" only.
        tie_break: which A* made the traces; see `mazes.astar.TIE_BREAKS`.

    Raises:
        InputError: a field outside its range.
    """

    generator: str = "wilson"
    width: int = 30
    height: int = 30
    coverage: float = 0.5
    wall_fraction: tuple[float, float] = (0.3, 0.5)
    minimum_path_cells: int | None = None
    count: int = 50_000
    seed: int = 0
    split: str = "train"
    regime: str = "correct"
    drop_level: int | None = None
    tie_break: str = "paper"

    def __post_init__(self) -> None:
        _ = self.maze  # checks the fields that describe the maze
        find_tie_break(self.tie_break)
        for field, choices in (("split", SPLITS), ("regime", REGIMES)):
            if getattr(self, field) not in choices:
                raise InputError(
                    f"{field} is {getattr(self, field)!r}; expected one of {', '.join(choices)}"
                )
        least = 2 if self.regime == "swapped" else 1
        if self.count < least:
            raise InputError(
                f"count is {self.count}; it must be at least {least} for regime {self.regime!r}"
            )
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; expected a whole number in 0..2^63-1")
        if (self.regime == "dropped") != (self.drop_level is not None):
            raise InputError(
                f"drop_level is {self.drop_level} with regime {self.regime!r}; it is needed for "
                "regime 'dropped' and for no other"
            )
        if self.drop_level not in (None, 1, 2, 3, 4):
            raise InputError(f"drop_level is {self.drop_level}; expected 1, 2, 3 or 4")

    @property
    def maze(self) -> MazeConfig:
        """What kind of problem to draw."""
        return MazeConfig(
            generator=self.generator,
            width=self.width,
            height=self.height,
            coverage=self.coverage,
            wall_fraction=self.wall_fraction,
            minimum_path_cells=self.minimum_path_cells,
        )

    def donors(self) -> np.ndarray:
        """[count] int64: whose trace each example shows (its own unless swapped)."""
        if self.regime == "swapped":
            return derangement(self.count, self.seed)
        return np.arange(self.count, dtype=np.int64)


class MazeSource:
    """Random access to the encoded examples of a `MazeData`; see `maze_source`.

    Attributes:
        config: the data set.
        vocabulary: the words of its grid size.
        identity: what a saved data position must agree with; equal for generated and prepared.
    """

    def __init__(
        self,
        config: MazeData,
        read: Callable[[int], tuple[Problem, int]],
        cache_bytes: int,
    ):
        self.config = config
        self.vocabulary = MazeVocabulary(config.width, config.height)
        self.identity = {**asdict(config), "wall_fraction": list(config.wall_fraction)}
        self._read = read  # index to (problem, donor)
        self._cache: dict[int, tuple[np.ndarray, int, int]] = {}
        self._cache_room = cache_bytes
        self._stored = np.uint16 if self.vocabulary.size <= 2**16 else np.int32

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`tokens` int32 [n] from bos to eos, `prompt_length` (to and with `reasoning`), `index`,
        `donor` (index of the problem whose trace is shown).
        """
        index = self._checked(index)
        entry = self._cache.get(index)
        if entry is None:
            entry = self._encode(index)
            # An epoch visits every example once, so evicting to make room would gain nothing.
            if entry[0].nbytes <= self._cache_room:
                self._cache_room -= entry[0].nbytes
                self._cache[index] = entry
        tokens, prompt_length, donor = entry
        return {
            "tokens": tokens.astype(np.int32),
            "prompt_length": prompt_length,
            "index": index,
            "donor": donor,
        }

    def problem(self, index: int) -> Problem:
        """Problem `index`."""
        return self._read(self._checked(index))[0]

    def trace(self, index: int) -> Trace:
        """The A* trace of problem `index`, whatever the regime shows."""
        return self._solve(self._checked(index), self.problem(index))

    def _checked(self, index: int) -> int:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the data set of {len(self)} examples")
        return index

    def _solve(self, index: int, problem: Problem) -> Trace:
        # The seed of the random tie-break, as in `generate_solved`.
        seed = int(mix(np.uint64(self.config.seed ^ index)))
        return search(problem, self.config.tie_break, seed)

    def _encode(self, index: int) -> tuple[np.ndarray, int, int]:
        problem, donor = self._read(index)
        own = self._solve(index, problem)
        other = own if donor == index else self._solve(donor, self._read(donor)[0])
        shown = for_regime(
            self.config.regime,
            own,
            other,
            level=self.config.drop_level or 0,
            seed=self.config.seed,
            index=index,
        )
        prompt = self.vocabulary.encode_prompt(problem)
        completion = self.vocabulary.encode_completion(shown.events, shown.plan)
        tokens = np.concatenate([prompt, completion]).astype(self._stored)
        return tokens, len(prompt), donor


def maze_source(
    config: MazeData, directory: str | Path | None = None, cache_bytes: int = CACHE_BYTES
) -> MazeSource:
    """The examples of a data set, generated on the fly or read from a prepared copy.

    Both give the same examples: a prepared set saves generation, not tokens.

    Args:
        config: the data set.
        directory: where `prepare` put data sets; None generates.
        cache_bytes: bound on the memory for encoded examples; 0 encodes anew each time.

    Raises:
        FailureError: `directory` does not hold this data set.
    """
    if directory is not None:
        # TensorFlow Datasets takes a second to import; only those who ask for it wait.
        from jaxreason.data.prepared import prepared_source

        return prepared_source(config, directory, cache_bytes)
    maze, donors = config.maze, config.donors()

    def read(index: int) -> tuple[Problem, int]:
        return generate(maze, config.seed, index, config.split), int(donors[index])

    return MazeSource(config, read, cache_bytes)
