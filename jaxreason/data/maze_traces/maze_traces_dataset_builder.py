"""`maze_traces`: maze problems as packed walls and endpoints; traces are made again on reading.

A 30x30 problem takes 113 bytes of walls where its tokens as 16-bit ids take 6,000. A* is
deterministic and takes tens of microseconds, so the trace need not be stored.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxreason.data.sources import MazeData
from jaxreason.mazes.generators import GENERATORS, SPLITS, generate
from jaxreason.mazes.problem import Problem

SIZES = (10, 20, 30)
REGIMES = ("solution_only", "correct", "swapped")
HELD_OUT = 1_000


def config_name(data: MazeData, validation: int, test: int) -> str:
    """A folder name that differs whenever any example may differ."""
    fields = {**asdict(data), "split": None, "validation": validation, "test": test}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]
    return f"{data.generator}_{data.width}x{data.height}_{data.regime}_{digest}"


@dataclass(eq=False)
class MazeTracesConfig(tfds.core.BuilderConfig):
    """A data set with its three splits.

    Attributes:
        data: the training split; the others differ in `split` and `count` alone.
        validation: examples of the validation split.
        test: examples of the test split.
    """

    data: MazeData = field(default_factory=MazeData)
    validation: int = HELD_OUT
    test: int = HELD_OUT

    def split(self, name: str) -> MazeData:
        """The data set of one split."""
        count = {"train": self.data.count, "validation": self.validation, "test": self.test}[name]
        return replace(self.data, split=name, count=count)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have examples."""
        counts = (self.data.count, self.validation, self.test)
        return tuple(name for name, count in zip(SPLITS, counts, strict=True) if count)


def make_config(
    data: MazeData, validation: int = HELD_OUT, test: int = HELD_OUT, name: str | None = None
) -> MazeTracesConfig:
    """The builder configuration of any `MazeData`."""
    return MazeTracesConfig(
        name=name or config_name(data, validation, test),
        description=f"{data.generator} {data.width}x{data.height}, regime {data.regime}",
        data=data,
        validation=validation,
        test=test,
    )


def record(problem: Problem, donor: int) -> dict[str, Any]:
    """What is stored of one example."""
    return {
        "walls": np.packbits(~problem.floor),
        "endpoints": np.array([*problem.start, *problem.goal], np.int32),
        "donor": donor,
    }


class Builder(tfds.core.GeneratorBasedBuilder):
    """Mazes with start and goal, and the index of the problem whose trace each example shows."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        make_config(
            MazeData(generator=generator, width=size, height=size, regime=regime),
            name=f"{generator}_{size}x{size}_{regime}",
        )
        for generator in GENERATORS
        for size in SIZES
        for regime in REGIMES
    ]

    on_example: Callable[[], None] | None = None
    """Called after each example, for a progress display."""

    def _info(self) -> tfds.core.DatasetInfo:
        data = self.builder_config.data
        features = tfds.features.FeaturesDict(
            {
                "walls": tfds.features.Tensor(
                    shape=(-(-data.width * data.height // 8),), dtype=np.uint8, encoding="bytes"
                ),
                "endpoints": tfds.features.Tensor(shape=(4,), dtype=np.int32),
                "donor": tfds.features.Scalar(dtype=np.int64),
            }
        )
        settings = {
            "data": asdict(data),
            "validation": self.builder_config.validation,
            "test": self.builder_config.test,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Mazes with the A* traces of Stechly et al. 2025 (arXiv 2505.13775); the trace is "
                "recomputed from the problem on reading."
            ),
            features=features,
            # Example i of the data set is record i of the file.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(settings),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        return {name: self._generate_examples(name) for name in self.builder_config.splits}

    def _generate_examples(self, name: str) -> Iterator[tuple[int, dict]]:
        data = self.builder_config.split(name)
        maze, donors = data.maze, data.donors()
        for index in range(data.count):
            yield index, record(generate(maze, data.seed, index, name), int(donors[index]))
            if self.on_example is not None:
                self.on_example()
