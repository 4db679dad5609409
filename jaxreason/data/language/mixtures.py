"""Several data sets as one, in fixed proportions."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.reading import read_records
from jaxreason.data.orders import epoch_order
from jaxreason.errors import InputError

MOST_REPEATED = 1000
"""How much larger a mixture may be than its data sets together."""


def mixture_weights(
    sizes: Sequence[int], weights: Sequence[float] = (), temperature: float = 1.0
) -> np.ndarray:
    """[sets] float64 shares that sum to 1.

    Args:
        sizes: records of each data set.
        weights: the shares, up to a factor; all 0 or none: by size.
        temperature: shares proportional to size^(1 / temperature): 1 by size, larger values favour
            the small ones (T5, arXiv:1910.10683, section 3.5.2).

    Raises:
        InputError: some weights given and others not, or a temperature besides weights or out of
            range.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature is {temperature}; it must be finite and above 0")
    if any(weights):
        if len(weights) != len(sizes) or not all(0 < w < float("inf") for w in weights):
            raise InputError(
                f"weights are {tuple(weights)}; expected {len(sizes)} numbers above 0, or 0 for all"
            )
        if temperature != 1:
            raise InputError(
                f"temperature is {temperature} and weights are {tuple(weights)}; expected one of "
                "the two"
            )
        shares = np.asarray(weights, np.float64)
    else:
        shares = np.asarray(sizes, np.float64) ** (1.0 / temperature)
    return shares / shares.sum()


class MixedRecords(Sequence[Any]):
    """Records of several data sets, repeated until they stand in the proportions asked for.

    Every record is there at least once, those of one data set exactly once. The others are repeated
    whole, and at last in part: some records in a seeded choice once more. Whoever visits all
    records in a shuffled order, as training does, sees the proportions in each of its epochs.

    Args:
        parts: name to records (`len`, `[i]`, `identity`).
        weights, temperature: see `mixture_weights`.
        seed: of the choice.

    Attributes:
        counts: name to how many records of it are in the mixture.

    Raises:
        InputError: no data set, an empty one, or proportions that repeat records without end.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        weights: Sequence[float] = (),
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not parts:
            raise InputError("a mixture needs at least one data set")
        for name, part in parts.items():
            if not len(part):
                raise InputError(f"data set {name!r} of the mixture has no record")
        self._names, self._parts = list(parts), list(parts.values())
        sizes = np.array([len(part) for part in self._parts])
        shares = mixture_weights(sizes.tolist(), weights, temperature)
        wanted = shares * (sizes / shares).max()
        if wanted.sum() > MOST_REPEATED * sizes.sum():
            name = self._names[int(np.argmin(shares / sizes))]
            raise InputError(
                f"data set {name!r} has {len(parts[name]):,} records and a share of "
                f"{shares.min():.2g}: the others would be repeated more than {MOST_REPEATED}-fold; "
                "raise its weight, or take fewer of its records (data.count)"
            )
        counts = np.maximum(np.rint(wanted).astype(np.int64), sizes)
        self.counts = dict(zip(self._names, counts.tolist(), strict=True))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._seed = seed
        self._choice = lru_cache(maxsize=len(sizes))(self._chosen)
        self.identity = {
            "counts": self.counts,
            "seed": seed,
            "parts": {name: getattr(part, "identity", None) for name, part in parts.items()},
        }

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        """Record `index`, the data sets lying one after the other; of a slice, a list."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        number, place = self.find(index)
        return self._parts[number][place]

    def part(self, index: int) -> str:
        """The name of the data set that a record belongs to."""
        return self._names[self.find(index)[0]]

    def find(self, index: int) -> tuple[int, int]:
        """The number of a record's data set, and its place there."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        size = len(self._parts[number])
        rounds, place = divmod(index - int(self._starts[number]), size)
        last = int(self._starts[number + 1] - self._starts[number]) // size
        return number, int(self._choice(number)[place]) if rounds == last else place

    def _chosen(self, number: int) -> np.ndarray:
        return epoch_order(len(self._parts[number]), self._seed, number)


def mixture_names(configs: Sequence[DataConfig]) -> list[str]:
    """A name for each data set of a mixture: of its file, made different where need be."""
    names: list[str] = []
    for config in configs:
        given = config.known or config.tfds or config.path
        base = given.rstrip("/").rsplit("/", 1)[-1].split(".")[0] or "data"
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base} {number}"
        names.append(name)
    return names


def read_mixture(
    configs: Sequence[DataConfig], temperature: float = 1.0, seed: int = 0
) -> MixedRecords:
    """The records of several data sets by their `weight`.

    Args:
        configs: of one kind, or of kinds text and chat; all with a weight, or none.
        temperature, seed: see `MixedRecords`.

    Raises:
        InputError: kinds that cannot be learnt from together, or as `read_records` and
            `MixedRecords`.
        FailureError: a file cannot be read.
    """
    check_kinds(configs)
    parts = [read_records(config) for config in configs]
    named = dict(zip(mixture_names(configs), parts, strict=True))
    return MixedRecords(named, [config.weight for config in configs], temperature, seed)


def check_kinds(configs: Sequence[DataConfig]) -> None:
    """That the data sets of a mixture can be learnt from together.

    Raises:
        InputError: they are of several kinds, other than text and chat.
    """
    kinds = sorted({config.kind for config in configs})
    if len(kinds) > 1 and kinds != ["chat", "text"]:
        raise InputError(
            f"the data sets of a mixture are of the kinds {', '.join(kinds)}; expected one kind"
        )
