"""Several data sets as one, in fixed proportions."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.reading import Records, read_records
from jaxreason.data.orders import epoch_order
from jaxreason.errors import InputError

BLOCK = 1000
"""Positions after which the proportions are exact; weights are shares in whole thousandths."""


def mixture_weights(
    sizes: Sequence[int], weights: Sequence[float] = (), temperature: float = 1.0
) -> np.ndarray:
    """[sources] float64 shares that sum to 1.

    Args:
        sizes: examples of each data set.
        weights: the shares, up to a factor; all 0 or none: by size.
        temperature: shares proportional to size^(1 / temperature): 1 by size, larger values favour
            the small ones (Devlin et al., multilingual BERT; T5, arXiv:1910.10683, section 3.5.2).

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


def mixed_source(
    sources: Mapping[str, Any], weights: Sequence[float] = (), temperature: float = 1.0
) -> "MixtureSource":
    """Sources of examples as one for `training_batches`, which counts examples by data set.

    Every thousand positions of the stream hold each data set in its proportion, in a seeded order.
    Each data set is gone through in epochs of its own, in a new order each, so that small ones are
    repeated and large ones are not cut short. An epoch of the mixture is as many examples as there
    are in all.

    Args:
        sources: name to source (`len`, `[i]`, `identity`).
        weights, temperature: see `mixture_weights`.

    Raises:
        InputError: no source, an empty one, or a share of less than half a thousandth.
    """
    if not sources:
        raise InputError("a mixture needs at least one data set")
    for name, source in sources.items():
        if not len(source):
            raise InputError(f"data set {name!r} of the mixture has no example")
    shares = mixture_weights([len(s) for s in sources.values()], weights, temperature)
    return MixtureSource(sources, _apportioned(shares, list(sources)))


class MixtureSource:
    """What `mixed_source` returns.

    Attributes:
        counts: data set to its examples in every thousand.
        identity: what a saved data position must agree with.
    """

    def __init__(self, sources: Mapping[str, Any], counts: np.ndarray) -> None:
        self._names, self._sources = list(sources), list(sources.values())
        self.counts = dict(zip(self._names, counts.tolist(), strict=True))
        sizes = [len(source) for source in self._sources]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._share = counts
        self.identity = {
            "counts": self.counts,
            "sources": {
                name: getattr(source, "identity", None) for name, source in sources.items()
            },
        }
        self._block = functools.lru_cache(maxsize=4)(self._order_of_block)
        # Of each data set two epochs: a block may lie over the end of one.
        self._epochs = functools.lru_cache(maxsize=2 * len(sizes))(self._order_of_epoch)

    @property
    def vocabulary(self) -> Any:
        """Of the first source; all have the same."""
        return self._sources[0].vocabulary

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """An example, the data sets lying one after the other; `part` is the data set's name."""
        number, place = self.find(int(index))
        example = self._sources[number][place]
        return {**example, "index": int(index), "part": self._names[number]}

    def problem(self, index: int) -> Any:
        """The problem of an example, for sources that have problems."""
        number, place = self.find(int(index))
        return self._sources[number].problem(place)

    def find(self, index: int) -> tuple[int, int]:
        """Which data set an example belongs to, and its place there."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the mixture of {len(self)} examples")
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return number, index - int(self._starts[number])

    def visit(self, position: int, seed: int) -> int:
        """The example at a position of the endless stream."""
        block, place = divmod(position, BLOCK)
        numbers, ranks = self._block(block, seed)
        number = int(numbers[place])
        drawn = block * int(self._share[number]) + int(ranks[place])
        epoch, rank = divmod(drawn, len(self._sources[number]))
        return int(self._starts[number] + self._epochs(number, seed, epoch)[rank])

    def _order_of_block(self, block: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each place in a block: the data set, and how many of it come before in the block."""
        laid_out = np.repeat(np.arange(len(self._share)), self._share)
        numbers = laid_out[epoch_order(BLOCK, _seed(seed, 0), block)]
        ranks = np.empty(BLOCK, np.int64)
        for number in range(len(self._share)):
            where = numbers == number
            ranks[where] = np.arange(where.sum())
        return numbers, ranks

    def _order_of_epoch(self, number: int, seed: int, epoch: int) -> np.ndarray:
        return epoch_order(len(self._sources[number]), _seed(seed, number + 1), epoch)


def _seed(seed: int, number: int) -> int:
    """Seeds of the orders within one seed, apart from those of every other."""
    return seed * 1009 + number


def _apportioned(shares: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Whole thousandths that sum to a thousand, by largest remainders."""
    if len(names) > BLOCK:
        raise InputError(f"a mixture has {len(names)} data sets; expected at most {BLOCK}")
    exact = shares * BLOCK
    counts = np.floor(exact).astype(np.int64)
    rest = BLOCK - int(counts.sum())
    counts[np.argsort(-(exact - counts), kind="stable")[:rest]] += 1
    for name, share, count in zip(names, shares, counts, strict=True):
        if not count:
            raise InputError(
                f"data set {name!r} has a share of {share:.2g} of the mixture; expected at least "
                f"{1 / BLOCK}: raise its weight or the temperature, or leave it out"
            )
    return counts


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


def open_sources(
    configs: Sequence[DataConfig], make: Callable[[Records], Any], temperature: float = 1.0
) -> Any:
    """The source of a data set, or of the mixture of several by their `weight`.

    Args:
        configs: of one kind, all with a weight or none.
        make: from records to a source, such as `language_source` with a tokenizer.
        temperature: see `mixture_weights`.

    Raises:
        InputError: no data set, or as `read_records`, `make` and `mixed_source`.
        FailureError: a file cannot be read.
    """
    if not configs:
        raise InputError("data is empty; expected at least one data set")
    sources = [make(read_records(config)) for config in configs]
    if len(sources) == 1:
        return sources[0]
    named = dict(zip(mixture_names(configs), sources, strict=True))
    return mixed_source(named, [config.weight for config in configs], temperature)
