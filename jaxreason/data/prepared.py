"""Writing a maze data set to disk once, and reading it back by index."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from google.protobuf.json_format import ParseError

from jaxreason.data.maze_traces.maze_traces_dataset_builder import (
    HELD_OUT,
    Builder,
    MazeTracesConfig,
    make_config,
)
from jaxreason.data.sources import CACHE_BYTES, MazeData, MazeSource
from jaxreason.errors import FailureError, InputError
from jaxreason.mazes.problem import Problem
from jaxreason.paths import local_path


def prepare(
    data: MazeData,
    directory: str | Path,
    validation: int = HELD_OUT,
    test: int = HELD_OUT,
    on_example: Callable[[], None] | None = None,
) -> Path:
    """Writes the data set under `directory`, unless it is there already; returns its folder.

    The folder gets its name only when it is complete; a broken-off preparation leaves at most a
    folder with "incomplete" in its name, which no reader looks at.

    Args:
        data: the training split; the others differ in `split` and `count` alone.
        directory: of any number of data sets.
        validation: examples of the validation split, 0 for none.
        test: examples of the test split, 0 for none.
        on_example: called after each example.

    Raises:
        InputError: a bad size of a split, or `data` names a split other than train.
        FailureError: the folder cannot be written.
    """
    if data.split != "train":
        raise InputError(
            f"split is {data.split!r}; prepare takes the training split and makes all three"
        )
    config = make_config(data, validation, test)
    for name in ("validation", "test"):
        count = getattr(config, name)
        if count < 0 or (count == 1 and data.regime == "swapped"):
            least = "0, or at least 2" if data.regime == "swapped" else "at least 0"
            raise InputError(f"{name} is {count} examples; expected {least}")
    try:
        with _quiet():
            builder = Builder(
                config=config,
                data_dir=str(local_path(directory, "data set directory").absolute()),
                file_format="array_record",
            )
            builder.on_example = on_example
            builder.download_and_prepare()
    except FailureError:
        raise
    except (OSError, RuntimeError) as error:  # ArrayRecord reports a full disk as RuntimeError
        raise FailureError(
            f"directory {str(directory)!r} cannot hold the data set: {error}; free space or "
            "choose another directory"
        ) from error
    return Path(builder.data_dir)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the bars, prints and custom-configuration warning of TFDS off the terminal."""
    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def prepared_source(
    data: MazeData, directory: str | Path, cache_bytes: int = CACHE_BYTES
) -> MazeSource:
    """The examples of `data` from a data set that `prepare` wrote under `directory`.

    Raises:
        FailureError: no such data set there, or its records cannot be read.
    """
    folder = _find(data, local_path(directory, "data set directory"))
    with _reading(folder):
        records = tfds.builder_from_directory(str(folder)).as_data_source(data.split)

    def read(index: int) -> tuple[Problem, int]:
        with _reading(folder):
            example = records[index]
        walls = np.unpackbits(example["walls"], count=data.width * data.height)
        start_x, start_y, goal_x, goal_y = example["endpoints"].tolist()
        floor = ~walls.astype(np.bool_).reshape(data.height, data.width)
        problem = Problem(floor, (start_x, start_y), (goal_x, goal_y), data.generator)
        return problem, int(example["donor"])

    return MazeSource(data, read, cache_bytes)


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    # What TFDS, protobuf, JSON and ArrayRecord (whose errors are RuntimeErrors) raise.
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ParseError) as error:
        raise FailureError(
            f"data set {str(folder)!r} is damaged ({error}); delete the folder and prepare it again"
        ) from error


def _find(data: MazeData, directory: Path) -> Path:
    """The folder of the complete data set that has `data` as one of its splits."""
    version = str(Builder.VERSION)
    for path in sorted(directory.glob(f"{Builder.name}/*/{version}/metadata.json")):
        with _reading(path.parent):
            settings = json.loads(path.read_text())
            walls = tuple(settings["data"]["wall_fraction"])  # JSON has made it a list
            config = MazeTracesConfig(
                name="found",
                data=MazeData(**settings["data"] | {"wall_fraction": walls}),
                validation=settings["validation"],
                test=settings["test"],
            )
        if data.split in config.splits and config.split(data.split) == data:
            return path.parent
    raise FailureError(
        f"no prepared data set for the {data.split} split of {data.count} {data.generator} "
        f"{data.width}x{data.height} examples, regime {data.regime}, seed {data.seed}, under "
        f"{str(directory)!r}; run `jaxreason data prepare` with the same settings"
    )
