"""Pictures to train an image tokenizer on: mazes of this library, or scikit-learn's digits."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from jaxreason.data.orders import epoch_order
from jaxreason.data.shares import share_rows
from jaxreason.errors import InputError
from jaxreason.mazes.generators import SPLITS, MazeConfig, generate_solved_batch
from jaxreason.mazes.kernels.random_numbers import key
from jaxreason.mazes.rasters import cell_classes, check_cell_pixels, paint

KINDS = ("mazes", "digits")

# Generation of a problem counts attempts from 0; this one it never reaches.
_PLAN_ATTEMPT = 2**48


@dataclass(frozen=True)
class PictureData:
    """A data set of pictures; with an index it determines every pixel.

    Attributes:
        kind: "mazes", or "digits": the 1797 handwritten digits that scikit-learn ships, grey,
            resized.
        generator, width, height, coverage, wall_fraction, minimum_path_cells: of mazes, see
            `MazeConfig`.
        cell_pixels: of mazes, pixels on each side of a cell.
        plan_share: of mazes, share of the pictures that show a shortest plan too.
        count: of mazes, number of pictures.
        side: of digits, pixels on each side.
        seed: of the mazes.
        split: "train", "validation" or "test"; disjoint.

    Raises:
        InputError: a field outside its range.
    """

    kind: str = "mazes"
    generator: str = "wilson"
    width: int = 6
    height: int = 6
    coverage: float = 0.5
    wall_fraction: tuple[float, float] = (0.3, 0.5)
    minimum_path_cells: int | None = None
    cell_pixels: int = 4
    plan_share: float = 0.5
    count: int = 50_000
    side: int = 24
    seed: int = 0
    split: str = "train"

    def __post_init__(self) -> None:
        _ = self.maze  # checks the fields that describe the maze
        check_cell_pixels(self.cell_pixels)
        for field, choices in (("kind", KINDS), ("split", SPLITS)):
            if getattr(self, field) not in choices:
                raise InputError(
                    f"data.{field} is {getattr(self, field)!r}; expected one of "
                    + ", ".join(choices)
                )
        for field in ("count", "side"):
            if getattr(self, field) < 1:
                raise InputError(f"data.{field} is {getattr(self, field)}; expected at least 1")
        if not 0 <= self.plan_share <= 1:
            raise InputError(f"data.plan_share is {self.plan_share}; expected a share in [0, 1]")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"data.seed is {self.seed}; expected a whole number in 0..2^63-1")

    @property
    def maze(self) -> MazeConfig:
        """What kind of maze to draw."""
        return MazeConfig(
            generator=self.generator,
            width=self.width,
            height=self.height,
            coverage=self.coverage,
            wall_fraction=self.wall_fraction,
            minimum_path_cells=self.minimum_path_cells,
        )

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns of a picture in pixels."""
        if self.kind == "digits":
            return self.side, self.side
        return self.height * self.cell_pixels, self.width * self.cell_pixels


class PictureSource(Protocol):
    """Random access to pictures; picture i depends on the data set and i alone.

    Attributes:
        identity: what a saved data position must agree with; plain JSON.
    """

    identity: dict[str, Any]

    def __len__(self) -> int: ...

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n, rows, columns, 3]."""
        ...


class MazePictures:
    """Pictures of generated mazes; see `picture_source`."""

    def __init__(self, data: PictureData):
        self.data = data
        self.identity = _identity(data)

    def __len__(self) -> int:
        return self.data.count

    def cells(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """int8 [n, height, width] of the classes of `mazes.rasters`."""
        indices = _checked(indices, len(self))
        data = self.data
        solved = generate_solved_batch(data.maze, data.seed, indices, data.split)
        rows = []
        for place, index in enumerate(indices.tolist()):
            problem, trace = solved[place]
            draw = int(key(data.seed, index, _PLAN_ATTEMPT)) / 2**64
            rows.append(cell_classes(problem, trace.plan if draw < data.plan_share else None))
        return np.stack(rows) if rows else np.zeros((0, data.height, data.width), np.int8)

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n, rows, columns, 3]."""
        return paint(self.cells(indices), self.data.cell_pixels)


class DigitPictures:
    """Handwritten digits (Alpaydin and Kaynak 1998, as scikit-learn ships them), resized."""

    def __init__(self, data: PictureData):
        self.data = data
        self.identity = _identity(data)
        everything, labels = _digits()
        # Every tenth picture is for testing, the one after it for validation.
        of_ten = {"test": (0,), "validation": (1,), "train": tuple(range(2, 10))}[data.split]
        mine = np.flatnonzero(np.isin(np.arange(len(labels)) % 10, of_ten))
        self.labels = labels[mine]
        self._grey = everything[mine]

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n, side, side, 3], white on black, the three channels equal."""
        chosen = self._grey[_checked(indices, len(self))]
        side = self.data.side
        large = [
            np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR))
            for grey in chosen
        ]
        grey = np.stack(large) if large else np.zeros((0, side, side), np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)


def picture_source(data: PictureData) -> MazePictures | DigitPictures:
    """The pictures of a data set.

    Raises:
        InputError: digits without scikit-learn.
    """
    return DigitPictures(data) if data.kind == "digits" else MazePictures(data)


class PictureBatches:
    """Endless batches `{images: uint8 [pictures of the share, rows, columns, 3]}`.

    Every epoch visits all pictures in a new order; a batch may hold pictures of two epochs.

    Args:
        source: the pictures.
        batch_size: pictures per batch, of all shares together.
        share_index: which part of every batch to make.
        share_count: number of equal parts.

    Raises:
        InputError: a batch size below 1, more than the pictures there are, or one that cannot be
            shared out evenly.
    """

    def __init__(
        self,
        source: PictureSource,
        batch_size: int,
        share_index: int = 0,
        share_count: int = 1,
    ):
        if not 1 <= batch_size <= len(source):
            raise InputError(
                f"batch_size is {batch_size}; it must be 1 to {len(source)}, the number of pictures"
            )
        self.source, self.batch_size = source, batch_size
        self.own = share_rows("batch_size", batch_size, share_index, share_count)

    def __iter__(self) -> "PictureIterator":
        """A new iterator at the start of the stream."""
        return PictureIterator(self)


class PictureIterator(Iterator[dict[str, np.ndarray]]):
    """Batches, from a place that can be saved and set again."""

    def __init__(self, batches: PictureBatches):
        self._batches = batches
        self._given = 0
        identity = batches.source.identity
        self._identity = {**identity, "rows": batches.batch_size}
        # A batch may hold pictures of two epochs.
        self._order = functools.lru_cache(maxsize=2)(
            functools.partial(epoch_order, len(batches.source), identity["seed"])
        )

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch; there is always one."""
        b = self._batches
        first = self._given * b.batch_size
        self._given += 1
        count = len(b.source)
        places = (divmod(first + row, count) for row in b.own)
        indices = [int(self._order(epoch)[place]) for epoch, place in places]
        return {"images": b.source.images(indices)}

    def get_state(self) -> dict[str, Any]:
        """Plain JSON: where the stream is just after the last batch."""
        return {"batches": self._given, "identity": self._identity}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues after the batch at which `state` was taken.

        Raises:
            InputError: the state comes from other pictures or batches.
        """
        for field, value in self._identity.items():
            saved = state["identity"].get(field)
            if saved != value:
                raise InputError(
                    f"the saved data position belongs to pictures with {field} {saved!r}, these "
                    f"have {value!r}; resume with the same value or start a new run"
                )
        self._given = int(state["batches"])


def _identity(data: PictureData) -> dict[str, Any]:
    # JSON turns tuples into lists; compare like with like.
    return {**asdict(data), "wall_fraction": list(data.wall_fraction)}


def _checked(indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    wanted = np.asarray(indices, np.int64)
    if wanted.size and not (wanted.min() >= 0 and wanted.max() < count):
        raise IndexError(f"indices go to {wanted.max()}; the data set has {count} pictures")
    return wanted


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 [1797, 8, 8] grey values and [1797] labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            'data.kind is "digits", which needs scikit-learn: install jaxreason[images], or use '
            '"mazes"'
        ) from error
    digits = load_digits()
    # They are 0..16.
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target
