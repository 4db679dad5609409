"""Two checkpoints compared: sparsity, norms and rank of every tensor they have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxreason.analysis.equality import Equality, Mode
from jaxreason.analysis.names import MATRIX_TYPES, Place, place
from jaxreason.analysis.pairing import Together, align
from jaxreason.analysis.rank import RankReport, update_rank
from jaxreason.analysis.sparsity import Counts, count_unchanged, grouped, reading_of, readings
from jaxreason.analysis.tensors import Checkpoint


@dataclass(frozen=True)
class CompareSettings:
    """What a comparison counts.

    Attributes:
        mode: the rule that tables and pictures by layer follow; all rules are always counted.
        tolerance: of the modes `absolute` and `paper`.
        rank: whether singular values are computed; most of the time goes into them.

    Raises:
        InputError: see `Equality`.
    """

    mode: Mode = "absolute"
    tolerance: float = 1e-5
    rank: bool = True

    def __post_init__(self) -> None:
        Equality(self.mode)
        Equality("absolute", self.tolerance)

    @property
    def reading(self) -> str:
        """The name of the mode's counts."""
        return reading_of(self.mode)


@dataclass(frozen=True)
class TensorReport:
    """What changed in one tensor.

    Attributes:
        name: as the checkpoint before spells it.
        place: layer and matrix type.
        shape: of one layer's tensor.
        dtypes: before and after.
        counts: of unchanged weights, and norms.
        rank: None for vectors, or where singular values are not asked for.
    """

    name: str
    place: Place
    shape: tuple[int, ...]
    dtypes: tuple[str, str]
    counts: Counts
    rank: RankReport | None


@dataclass(frozen=True)
class Comparison:
    """What changed between two checkpoints.

    Attributes:
        settings: what was counted.
        together: the checkpoints, and what only one of them has.
        tensors: one report per common tensor, by layer and then matrix type.
    """

    settings: CompareSettings
    together: Together
    tensors: tuple[TensorReport, ...]

    @property
    def before(self) -> Checkpoint:
        """The checkpoint before."""
        return self.together.checkpoints[0]

    @property
    def after(self) -> Checkpoint:
        """The checkpoint after."""
        return self.together.checkpoints[1]

    def total(self) -> Counts:
        """Counts of all common tensors."""
        return sum((tensor.counts for tensor in self.tensors), Counts())

    def by_layer(self) -> dict[int, Counts]:
        """Counts by layer; what lies outside the layers is not in it."""
        return dict(sorted(self._grouped(lambda spot: spot.layer).items()))

    def by_matrix(self) -> dict[str, Counts]:
        """Counts by matrix type."""
        found = self._grouped(lambda spot: spot.matrix)
        return {name: found[name] for name in MATRIX_TYPES if name in found}

    def by_place(self) -> dict[Place, Counts]:
        """Counts by layer and matrix type."""
        return self._grouped(lambda spot: spot)

    def _grouped(self, group_of: Callable[[Place], object]) -> dict:
        named = ((tensor.name, tensor.counts) for tensor in self.tensors)
        return grouped(named, lambda name: group_of(place(name)))

    def paper_layers(self) -> dict[int, float]:
        """What the authors' script prints as layer-wise sparsity.

        It is the mean, over a layer's tensors alike whatever their size and with its norms, of the
        share whose bfloat16 difference is not zero: a density, and without tolerance.
        """
        shares: dict[int, list[float]] = {}
        for tensor in self.tensors:
            if tensor.place.layer is not None and tensor.counts.size:
                nonzero = tensor.counts.size - tensor.counts.paper_zero
                shares.setdefault(tensor.place.layer, []).append(nonzero / tensor.counts.size)
        return {layer: sum(all_) / len(all_) for layer, all_ in sorted(shares.items())}

    def paper_rank(self) -> float | None:
        """What the authors' script prints as rank: the mean over matrices of rank / min(shape).

        Ranks are of bfloat16 differences; names with "layernorm" and tensors of one dimension or
        less are left out; None if no rank was computed.
        """
        shares = [
            tensor.rank.matrix_rank_bf16 / tensor.rank.full
            for tensor in self.tensors
            if tensor.rank is not None
            and tensor.rank.matrix_rank_bf16 is not None
            and "layernorm" not in tensor.name
        ]
        return sum(shares) / len(shares) if shares else None


def compare(
    before: Checkpoint,
    after: Checkpoint,
    settings: CompareSettings | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Comparison:
    """Compares two checkpoints, one tensor in memory at a time.

    Args:
        before: from `open_checkpoint`.
        after: likewise.
        settings: what to count.
        progress: told the name of a tensor and its number of weights when it is done.

    Raises:
        InputError: they have nothing in common: another model.
        FailureError: a tensor cannot be read.
    """
    settings = settings or CompareSettings()
    together = align(before, after)
    rules = readings(settings.tolerance)
    reports = []
    for name, (old, new) in together:
        counts = count_unchanged(old, new, rules)
        rank = update_rank(name, old, new) if settings.rank else None
        dtypes = (str(old.dtype), str(new.dtype))
        reports.append(TensorReport(name, place(name), old.shape, dtypes, counts, rank))
        del old, new  # before the next are read
        if progress is not None:
            progress(name, counts.size)
    reports.sort(key=lambda report: _order(report.place))
    return Comparison(settings, together, tuple(reports))


def _order(spot: Place) -> tuple[bool, int, int]:
    """Embedding first, then layers, then what else stands outside them."""
    matrix = MATRIX_TYPES.index(spot.matrix)
    if spot.layer is None:
        return matrix > 0, 1 << 30, matrix
    return True, spot.layer, matrix
